"""The two windows of one look for drift, whole: what has lost its vector is embedded again, as far as it is cheap."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from pipelines.errors import FixConfiguration
from pipelines.stages import canary
from pipelines.store import drift as store
from pipelines.store import past, vectors
from pipelines.store.drift import Sample

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.store.spaces import Space

EMBEDDED = 5_000  # texts of one window, at most: a minute or two on two cores


def read(ctx: Context, space: Space, source: str, since: datetime, until: datetime) -> tuple[Sample, Sample]:
    """What was served in the days before the window, and what became current in it.

    Raises FixConfiguration where the collection does not keep its past so long, FailRun where vectors have to be made and
    the embedder is not the one any more that made the others.
    """
    span = timedelta(days=ctx.settings.drift.reference_days)
    forgotten = past.forgotten(ctx.pool, space.collection, tenant=space.tenant)
    if forgotten is not None and since - span < forgotten:
        raise FixConfiguration(
            f"{since.date()} is compared with what was served since {(since - span).date()}, and of passages replaced "
            f"before {forgotten.date()} some are gone (keep_past_days); look at a later day, or have fewer reference_days"
        )
    before = store.served_before(ctx.pool, space, source, since, span)
    now = store.became_current(ctx.pool, space, source, since, until)
    return _whole(ctx, space, before), _whole(ctx, space, now)


def _whole(ctx: Context, space: Space, sample: Sample) -> Sample:
    """The sample with vectors for what has lost them; they are cached again for the next look. Beyond EMBEDDED they stay
    lost, the same ones every time."""
    texts = {entry.text_sha: entry.body for entry in sample.lost if entry.body}
    chosen = sorted(texts)[:EMBEDDED]
    if not chosen:
        return sample
    embedder = ctx.embedder(space.collection)
    canary.check(ctx.pool, embedder)
    made = embedder.embed([texts[sha] for sha in chosen])
    usable = np.flatnonzero(np.isfinite(made).all(axis=1))
    shas = [chosen[row] for row in usable.tolist()]
    vectors.remember(ctx.pool, space.embedder_fingerprint, shas, made[usable], tenant=space.tenant)
    place = {sha: row for row, sha in enumerate(shas)}
    found = [entry for entry in sample.lost if entry.text_sha in place]
    return replace(
        sample,
        rows=[*sample.rows, *(entry.row for entry in found)],
        vectors=np.concatenate([sample.vectors, made[usable][[place[entry.text_sha] for entry in found]]]),
        lost=[entry for entry in sample.lost if entry.text_sha not in place],
    )

"""Before a run keeps its first new vector: does the embedder still give the canary texts the vectors it gave first?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipelines.embed.canary import LEAST_COSINE, NOISE, SAME, SHAS, Drift, drift, texts
from pipelines.errors import FailRun
from pipelines.store import canary as stored

if TYPE_CHECKING:
    from pipelines.ports import Embedder
    from pipelines.store.database import Pool


def check(pool: Pool, embedder: Embedder) -> Drift | None:
    """Compare; an embedder seen for the first time has its vectors stored. None for the deterministic embedder.

    Raises FailRun when the vectors have moved, and whatever the embedder raises.
    """
    if embedder.dtype == "hash":  # computes the same everywhere by definition
        return None
    asked = texts(embedder.max_tokens)
    shas = tuple(SHAS[text] for text in asked)
    now = embedder.embed(asked)
    first = stored.known(pool, embedder.fingerprint, shas, embedder.dim)
    if first is None and np.isfinite(now).all():
        stored.remember(pool, embedder.fingerprint, shas, now)
        first = stored.known(pool, embedder.fingerprint, shas, embedder.dim)  # another task may have been first
    found = drift(now, now if first is None else first)
    if found.same:
        return found
    alone = drift(np.concatenate([embedder.embed([text]) for text in asked]), now)
    if not found.within(alone):
        raise FailRun(
            f"the embedder {embedder.model} ({embedder.dtype}) has changed: the canary texts' least cosine to their first "
            f"vectors is {found.cosine:.6f}, the limit {LEAST_COSINE}, their largest distance {found.distance:.2g}, the "
            f"limit {max(SAME, NOISE * alone.distance):.2g}; no vector was kept: go back to the device, library or server "
            "that made them, or move the collection to another models.yaml entry with `millrace reembed`"
        )
    return found

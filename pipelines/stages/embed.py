"""Stage embed: a vector for every text of a shard that has none, then the vector suite.

Each batch is committed to the embedding cache before the next begins, so a killed task repeats at most one batch. A text
whose vector is not finite or not of unit length is embedded again alone; if it fails again its document is quarantined.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.embed.checks import check_vectors
from pipelines.records import Reason, ShardRef, Summary
from pipelines.stages import plan, validate
from pipelines.stages.files import VECTORS
from pipelines.stages.pipeline import Pipeline, pipeline, space_of
from pipelines.store import vectors

if TYPE_CHECKING:
    from pipelines.context import Context, Step


def run(ctx: Context, shard: ShardRef) -> Summary:
    """Embed what `validate` let through. Raises Retry when the device or server fails, FailRun when the suite does."""
    with ctx.step(shard.run_id, "embed", shard.shard) as step:
        files = ctx.files(shard)
        prepared, validated = files.require("prepare"), files.require("validate")
        settings = pipeline(ctx, plan.manifest(ctx, shard)["collection"])
        dropped = set(validated["failed"])
        rows = [row for row in files.read_table(prepared["chunks"]).to_pylist() if row["doc_id"] not in dropped]
        rejections = validate.Rejections()
        notes: tuple[str, ...] = ()
        if rows:
            ctx.validator.start()
            failed = _embed(ctx, settings, rows, step)
            rejections = validate.reject(ctx, shard, "embed", Reason.EMBED_NAN, failed)
            kept = [row for row in rows if row["doc_id"] not in failed]
            if kept:
                suite = _vector_rows(ctx, settings, kept)
                validate.check(ctx, shard, "vectors", suite, dim=ctx.embedder(settings.collection).dim)
                notes = (validate.data_docs(shard, "vectors"),)
        files.write_manifest("embed", {"fence": prepared["fence"], "counts": step.counts, **rejections.as_dict()})
    return Summary("embed", str(shard.run_id), step.counts, step.seconds, notes)


def _embed(ctx: Context, settings: Pipeline, rows: list[dict[str, Any]], step: Step) -> dict[str, tuple[str, ...]]:
    """Fill the cache; returns the documents whose texts have no valid vector."""
    space = space_of(ctx, settings)
    texts = {bytes.fromhex(row["text_sha"]): row["text"] for row in rows}
    missing = sorted(vectors.missing(ctx.pool, space, list(texts)))
    step.total, step.done = len(texts), len(texts) - len(missing)
    step.counts = {"texts": len(texts), "reused": len(texts) - len(missing), "embedded": 0}
    bad: dict[bytes, str] = {}
    size = ctx.settings.limits.embed_batch_texts
    # Texts of like length share a batch, so that little padding is computed.
    missing.sort(key=lambda sha: len(texts[sha]))
    for start in range(0, len(missing), size):
        batch = missing[start : start + size]
        bad |= _embed_batch(ctx, settings, batch, [texts[sha] for sha in batch])
        step.counts["embedded"] += len(batch)
        step.advance(len(batch))
    return {row["doc_id"]: (bad[sha],) for row in rows if (sha := bytes.fromhex(row["text_sha"])) in bad}


def _embed_batch(ctx: Context, settings: Pipeline, shas: Sequence[bytes], texts: Sequence[str]) -> dict[bytes, str]:
    embedder = ctx.embedder(settings.collection)
    matrix = embedder.embed(texts)
    bad: dict[bytes, str] = {}
    for row, reason in check_vectors(matrix, embedder.dim):
        alone = embedder.embed([texts[row]])
        if check_vectors(alone, embedder.dim):
            bad[shas[row]] = f"{reason.value} for a text of {len(texts[row])} characters, alone and in its batch"
        else:
            matrix[row] = alone[0]
    keep = [row for row, sha in enumerate(shas) if sha not in bad]
    if keep:
        vectors.remember(ctx.pool, embedder.fingerprint, [shas[row] for row in keep], matrix[keep])
    return bad


def _vector_rows(ctx: Context, settings: Pipeline, rows: list[dict[str, Any]]) -> bytes:
    """The table that the vector suite reads: one row per distinct text, from the database, not from memory."""
    owner = {row["text_sha"]: row["doc_id"] for row in rows}
    shas = list(owner)
    matrix = vectors.load_vectors(ctx.pool, space_of(ctx, settings), [bytes.fromhex(sha) for sha in shas])
    norms = np.linalg.norm(matrix.astype(np.float64), axis=1)
    finite = np.isfinite(matrix).all(axis=1)
    table = pa.table(
        {
            "text_sha": shas,
            "doc_id": [owner[sha] for sha in shas],
            "dim": np.full(len(shas), matrix.shape[1], dtype=np.int32),
            "norm": norms,
            "finite": finite,
        },
        schema=VECTORS,
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()

"""Stage embed: a vector for every text of a shard that has none, then the vector suite.

Each batch is committed to the embedding cache before the next begins, so a killed task repeats at most one batch. A batch
that the embedder refuses is divided down to the offending text, and a text whose vector is not finite or not of unit length
is embedded again alone; if it fails again its document is quarantined. An embedder that refuses even a harmless text is
down: that is charged to it, not to the documents. Before the first new vector is kept, the canary texts show that the
embedder is still the one that made the stored ones.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.embed import extra, tolerant
from pipelines.portions import Portions
from pipelines.ports import Metered
from pipelines.records import Reason, ShardRef, Summary
from pipelines.stages import canary, validate
from pipelines.stages.files import VECTORS
from pipelines.stages.pipeline import of_space
from pipelines.store import ledger, spaces, vectors

if TYPE_CHECKING:
    from pipelines.context import Context, Step
    from pipelines.ports import Embedder
    from pipelines.store.spaces import Space


def run(ctx: Context, shard: ShardRef) -> Summary:
    """Embed what `validate` let through. Raises Retry when the device or server fails, FailRun when the suite does."""
    with ctx.step(shard.run_id, "embed", shard.shard) as step:
        files = ctx.files(shard)
        chain = files.require("validate")
        prepared, validated = chain["prepare"], chain["validate"]
        space = spaces.get(ctx.pool, prepared["space"])
        settings = of_space(ctx, space)
        dropped = set(validated["failed"])
        rows = [row for row in files.read_table(prepared["chunks"]).to_pylist() if row["doc_id"] not in dropped]
        rejections = validate.Rejections()
        notes: tuple[str, ...] = ()
        if rows:
            extra.require(ctx.models.entry(settings.model), ctx.settings.placement.gpu.queue)
            ctx.validator.start()
            failed = _embed(ctx, space, ctx.models.embedder(settings.model), rows, step)
            rejections = validate.reject(ctx, shard, "embed", prepared, failed)
            kept = [row for row in rows if row["doc_id"] not in rejections.doc_ids]
            if kept:
                suite = _vector_rows(ctx, space, kept)
                validate.check(ctx, shard, "vectors", suite, dim=space.dim)
                notes = (validate.data_docs(shard, "vectors"),)
        files.write_manifest("embed", {**chain, "embed": {"counts": step.counts, **rejections.as_dict()}})
    return Summary("embed", str(shard.run_id), step.counts, step.seconds, notes)


def _embed(
    ctx: Context, space: Space, embedder: Embedder, rows: list[dict[str, Any]], step: Step
) -> dict[Reason, dict[str, tuple[str, ...]]]:
    """Fill the cache; returns, by reason, the documents that have a text without a valid vector."""
    texts = {bytes.fromhex(row["text_sha"]): row["text"] for row in rows}
    missing = sorted(vectors.keep(ctx.pool, space, list(texts)))
    step.total, step.done = len(texts), len(texts) - len(missing)
    step.counts = {"texts": len(texts), "reused": len(texts) - len(missing), "embedded": 0}
    bad: dict[bytes, tuple[Reason, str]] = {}
    portions = Portions()
    size = max(ctx.settings.limits.embed_batch_texts, embedder.at_once)
    if missing:
        share_budget(ctx, embedder, step)
        check_canaries(ctx, embedder, step)
    # Texts of like length share a batch, so that little padding is computed.
    missing.sort(key=lambda sha: len(texts[sha]))
    for start in range(0, len(missing), size):
        batch = missing[start : start + size]
        bad |= embed_batch(ctx, embedder, batch, [texts[sha] for sha in batch], step, portions)
        step.counts["embedded"] += len(batch)
        step.advance(len(batch))
    failed: dict[Reason, dict[str, tuple[str, ...]]] = {}
    for row in rows:
        if (sha := bytes.fromhex(row["text_sha"])) in bad:
            reason, detail = bad[sha]
            failed.setdefault(reason, {}).setdefault(row["doc_id"], (f"chunk {row['ordinal']}: {detail}",))
    return failed


def share_budget(ctx: Context, embedder: Embedder, step: Step) -> None:
    """Tell an embedder with a budget what the run's other shards have spent of it."""
    if isinstance(embedder, Metered):
        others = [
            stage.counts
            for stage in ledger.progress(ctx.pool, step.run_id)
            if stage.stage == step.stage and stage.shard != step.shard
        ]
        embedder.spent = dict.fromkeys(embedder.spent, 0)
        embedder.elsewhere = {name: sum(counts.get(name, 0) for counts in others) for name in embedder.spent}


def check_canaries(ctx: Context, embedder: Embedder, step: Step) -> None:
    """Raise FailRun when the embedder no longer gives the vectors that it gave first."""
    found = canary.check(ctx.pool, embedder)
    if found is not None:
        step.counts |= {"canaries": found.texts, "canaries_exact": found.exact}


def embed_batch(
    ctx: Context, embedder: Embedder, shas: Sequence[bytes], texts: Sequence[str], step: Step, portions: Portions
) -> dict[bytes, tuple[Reason, str]]:
    """Commit the vectors of a batch to the cache; returns the texts that the embedder refuses, and why.

    `portions` is the same for all batches of a shard or space.
    """
    began = time.monotonic()
    try:
        found = tolerant.embed(embedder, texts, portions)
    finally:
        if isinstance(embedder, Metered):  # what was sent was spent, whatever came back
            step.counts |= embedder.spent
    spent = max(1, round((time.monotonic() - began) * 1000))
    step.counts["milliseconds"] = step.counts.get("milliseconds", 0) + spent
    keep = [row for row in range(len(shas)) if row not in found.refused]
    if keep:
        vectors.remember(ctx.pool, embedder.fingerprint, [shas[row] for row in keep], found.matrix[keep])
    return {shas[row]: why for row, why in found.refused.items()}


def _vector_rows(ctx: Context, space: Space, rows: list[dict[str, Any]]) -> bytes:
    """The table that the vector suite reads: one row per distinct text, from the database, not from memory."""
    owner = {row["text_sha"]: row["doc_id"] for row in rows}
    shas = list(owner)
    matrix = vectors.load_vectors(ctx.pool, space, [bytes.fromhex(sha) for sha in shas])
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

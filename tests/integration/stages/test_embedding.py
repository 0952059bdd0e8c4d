"""The embed stage: canaries before the first vector, the budget of a run over its shards, and what reuse has saved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.embed.canary import SHAS, TEXTS
from pipelines.embed.hashing import Hashing
from pipelines.errors import FailRun
from pipelines.records import SyncRequest
from pipelines.stages import canary, sync
from pipelines.store import canary as stored

pytestmark = pytest.mark.integration


class Drifting(Hashing):
    """An embedder with an arithmetic of its own, which can be moved a little; its budget is a number of texts."""

    dtype = "f32"

    def __init__(self) -> None:
        super().__init__()
        self.moved = 0.0
        self.spent = {"requests": 0, "tokens": 0}
        self.elsewhere: dict[str, int] | None = None

    def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
        self.spent = {name: count + len(texts) for name, count in self.spent.items()}
        matrix = super().embed(texts)
        matrix[:, 0] += np.float32(self.moved)
        moved: npt.NDArray[np.float32] = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
        return moved


@pytest.fixture
def drifting(ctx):
    embedder = Drifting()
    ctx.models.use("hash", embedder)
    return embedder


def cached(ctx) -> int:
    with ctx.pool.connection() as conn:
        return int(conn.execute("SELECT count(*) FROM embedding_cache").fetchone()[0])


def test_an_embedder_that_changed_keeps_no_vector_and_says_so(ctx, folder, run, drifting):
    (folder / "a.md").write_text("# A\n\nThe first text is embedded.")
    first = run()
    assert (first.stats["canaries"], first.stats["canaries_exact"]) == (len(TEXTS), len(TEXTS))
    before = cached(ctx)
    (folder / "b.md").write_text("# B\n\nThe second text meets another library.")
    drifting.moved = 0.1
    with pytest.raises(FailRun, match=r"has changed: the canary texts' least cosine .* is 0\.\d+, the limit 0\.9999"):
        run()
    assert cached(ctx) == before
    drifting.moved = 1e-6  # sums in another order
    third = run()
    assert third.counts["loaded"] == 1
    assert third.stats["canaries_exact"] < len(TEXTS)


def test_the_first_vectors_stay(ctx, drifting):
    assert canary.check(ctx.pool, Hashing()) is None  # which cannot change
    assert stored.known(ctx.pool, drifting.fingerprint, tuple(SHAS.values()), drifting.dim) is None
    first = drifting.embed(TEXTS)
    canary.check(ctx.pool, drifting)
    stored.remember(ctx.pool, drifting.fingerprint, tuple(SHAS.values()), -first)
    known = stored.known(ctx.pool, drifting.fingerprint, tuple(SHAS.values()), drifting.dim)
    assert known is not None
    assert np.array_equal(known, first)


def test_a_broken_embedder_stores_no_canaries(ctx, drifting):
    drifting.moved = float("nan")
    with pytest.raises(FailRun, match="has changed"):
        canary.check(ctx.pool, drifting)
    assert stored.known(ctx.pool, drifting.fingerprint, tuple(SHAS.values()), drifting.dim) is None


def test_what_was_sent_is_counted_over_the_runs_shards(make, folder):
    ctx = make({"docs": {"kind": "folder", "path": str(folder)}}, limits={"shard_documents": 1})
    embedder = Drifting()
    ctx.models.use("hash", embedder)
    for name in "abc":
        (folder / f"{name}.md").write_text(f"# {name}\n\nThe text of {name} is its own.")
    seen: list[dict[str, int]] = []
    embed = embedder.embed

    def told(texts: Sequence[str], **kind: bool) -> npt.NDArray[np.float32]:
        seen.append(dict(embedder.elsewhere or {}))
        return embed(texts, **kind)

    vars(embedder)["embed"] = told
    sync.run(ctx, SyncRequest("docs"))
    each = 1 + len(TEXTS)
    assert sorted({entry["tokens"] for entry in seen}) == [0, each, 2 * each]


def test_reuse_is_reported(ctx, folder, run):
    (folder / "a.md").write_text("# A\n\nOne text.")
    first = run()
    assert (first.stats["reuse_rate"], first.stats["embedded"]) == (0.0, 1)
    (folder / "a.md").rename(folder / "b.md")
    second = run()
    assert (second.stats["embedded"], second.stats["reused"], second.stats["reuse_rate"]) == (0, 1, 1.0)
    assert second.stats["saved_seconds"] >= 0

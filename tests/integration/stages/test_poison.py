"""Poison is explained, tried within a budget and healed; an outage is charged to what is out, not to a document."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

from bench.faults import dying
from bench.faults.sick import NAN, RAISES, SHORT, Sick
from pipelines.context import Context
from pipelines.errors import MillraceError, Retry
from pipelines.records import MAX_ATTEMPTS, Reason, SyncRequest
from pipelines.sources.memory import Memory
from pipelines.stages import sync
from pipelines.store import quarantine
from pipelines.text.sandbox import ParsePool

pytestmark = pytest.mark.integration

_FINE = b"The lock at Hexley opens at eight and closes at dusk."


@pytest.fixture
def source() -> Memory:
    return Memory({"a.md": _FINE, "b.md": _FINE + b" Ask the keeper."})


@pytest.fixture
def ctx(make, folder, source, monkeypatch) -> Context:
    """A Context on a source in memory, a parser that dies of marked bytes and an embedder that fails on marked texts."""
    made: Context = make({"docs": {"kind": "folder", "path": str(folder)}})
    made.__dict__["source"] = lambda name, day=None: source
    made.__dict__["parsers"] = ParsePool(made.settings.limits, parser=dying.PARSER)
    made.models.use("hash", Sick(made.models.embedder("hash")))
    monkeypatch.setattr(sync, "PAUSES", ())
    return made


def _sync(ctx: Context):
    return sync.run(ctx, SyncRequest("docs"))


def _ledger(ctx: Context) -> dict[str, tuple[str, str | None, int]]:
    with ctx.pool.connection() as conn:
        rows = conn.execute("SELECT uri, state, reason, attempts FROM document").fetchall()
    return {uri.rpartition("/")[2]: tuple(rest) for uri, *rest in rows}


def test_poison_is_tried_within_its_budget_and_costs_nothing_afterwards(ctx, source):
    source.objects["bad.md"] = dying.EXIT
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert _sync(ctx).counts["quarantined"] == 1
        assert _ledger(ctx)["bad.md"] == ("quarantined", "parse_crash", attempt)
    source.reads.clear()
    assert _sync(ctx).reasons == {"parse_crash": 1}
    assert source.reads == []
    assert quarantine.request_replay(ctx.pool, reason="parse_crash") == 1
    _sync(ctx)
    _sync(ctx)
    assert source.reads == ["bad.md"]  # one asked try, not a new budget
    source.objects["bad.md"] = _FINE + b" Cured."
    assert _sync(ctx).counts["loaded"] == 1
    assert quarantine.open_items(ctx.pool) == []


@pytest.mark.parametrize(
    ("mark", "reason"), [(RAISES, Reason.EMBED_FAILED), (NAN, Reason.EMBED_NAN), (SHORT, Reason.EMBED_DIM)]
)
def test_a_text_that_the_embedder_refuses_is_named_and_heals_by_replay(ctx, source, mark, reason):
    source.objects["bad.md"] = _FINE + f" But {mark}.".encode()
    assert (_sync(ctx).counts["loaded"], _sync(ctx).counts["unchanged"]) == (2, 2)
    assert _ledger(ctx)["bad.md"] == ("quarantined", reason.value, 1)
    (item,) = quarantine.open_items(ctx.pool)
    assert (item.stage, item.attempt) == ("embed", 1)
    ctx.embedder("knowledge").cured = True
    assert quarantine.request_replay(ctx.pool, ids=[item.id]) == 1
    assert _sync(ctx).counts["loaded"] == 1
    assert quarantine.open_items(ctx.pool) == []


def test_the_failure_is_counted_although_its_transaction_aborted(ctx, source):
    """As pgedge-vectorizer#51 did not: there attempts never moved, and the item was retried for ever."""
    with ctx.pool.connection() as conn:
        conn.execute("ALTER TABLE text ADD CONSTRAINT refused CHECK (strpos(body, 'poison') = 0)")
    source.objects["bad.md"] = b"\n\n".join([_FINE * 8] * 6 + [b"This is poison."] + [_FINE * 8] * 3)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert _sync(ctx).counts["quarantined"] == 1
        assert _ledger(ctx)["bad.md"] == ("quarantined", "db_rejected", attempt)
    (item,) = quarantine.open_items(ctx.pool)
    assert item.detail.startswith("SQLSTATE 23514: chunk ")
    with ctx.pool.connection() as conn:
        conn.execute("ALTER TABLE text DROP CONSTRAINT refused")
    quarantine.request_replay(ctx.pool, source="docs")
    assert _sync(ctx).counts["loaded"] == 1
    assert _ledger(ctx)["bad.md"] == ("loaded", None, 0)


def test_what_was_served_stays_served_while_its_successor_is_poison(ctx, source):
    _sync(ctx)
    source.objects["a.md"] = dying.SEGFAULT
    _sync(ctx)
    with ctx.pool.connection() as conn:
        served = conn.execute("SELECT count(*) FROM chunk JOIN document d USING (doc_id) WHERE d.state = 'quarantined'")
        assert served.fetchone() == (1,)


def _no_embedder(ctx: Context, source: Memory) -> None:
    def embed(texts: object) -> np.ndarray:
        raise RuntimeError("device lost")

    vars(ctx.embedder("knowledge"))["embed"] = embed


def _no_source(ctx: Context, source: Memory) -> None:
    source.errors["c.md"] = Retry("503 slow down")


def _no_database(ctx: Context, source: Memory) -> None:
    """Publishing finds the database away."""

    def connection(*_: object, **__: object) -> None:
        raise psycopg.OperationalError("the server is away")

    embed = ctx.embedder("knowledge").embed

    def embed_then_lose(texts: list[str]) -> np.ndarray:
        vars(ctx.pool)["connection"] = connection
        return embed(texts)

    vars(ctx.embedder("knowledge"))["embed"] = embed_then_lose


@pytest.mark.parametrize("outage", [_no_embedder, _no_source, _no_database])
def test_an_outage_moves_no_documents_attempts(ctx, source, outage):
    _sync(ctx)
    source.objects["c.md"] = _FINE + b" Ring twice."
    outage(ctx, source)
    for _ in range(MAX_ATTEMPTS + 1):
        with pytest.raises(MillraceError):
            _sync(ctx)
        vars(ctx.pool).pop("connection", None)
    assert "c.md" not in _ledger(ctx)
    assert quarantine.open_items(ctx.pool) == []
    vars(ctx.embedder("knowledge")).pop("embed", None)
    source.errors.clear()
    assert _sync(ctx).counts["loaded"] == 1

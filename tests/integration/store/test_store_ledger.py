"""Runs, fences, progress and what is known of a source."""

from __future__ import annotations

from contextlib import closing

import pytest

from pipelines.errors import FixConfiguration
from pipelines.records import Reason
from pipelines.store import deletions, ledger
from pipelines.store.database import Pool, connection
from tests.integration.store.corpus import SOURCE, Corpus, doc

pytestmark = pytest.mark.integration


def start(pool: Pool, source: str = SOURCE, external_id: str = "", door: ledger.Door = "airflow") -> ledger.Run:
    return ledger.start_run(
        pool,
        source=source,
        collection="knowledge",
        door=door,
        scope="mem://",
        fence=ledger.next_fence(pool),
        external_id=external_id,
        request={"day": "x"},
    )


def test_fences_only_grow_and_a_run_has_one(pool: Pool) -> None:
    run = start(pool)
    fences = [run.fence, ledger.next_fence(pool), start(pool).fence, ledger.next_fence(pool)]
    assert fences == sorted(set(fences))


def test_a_restarted_run_abandons_its_earlier_self_only(pool: Pool) -> None:
    first, other, nameless = start(pool, external_id="r1"), start(pool, "second", "r1"), start(pool)
    again = start(pool, external_id="r1")
    start(pool)
    states = [ledger.run(pool, run.id).state for run in (first, other, nameless, again)]
    assert states == ["abandoned", "running", "running", "running"]


def test_a_command_is_abandoned_when_its_process_is_gone_and_not_before(pool: Pool, dsn: str) -> None:
    alive, killed = start(pool, door="cli"), start(pool, "killed", door="cli")
    with closing(ledger.sign_of_life(dsn, alive.fence)):
        ledger.sign_of_life(dsn, killed.fence).close()  # as the server sees a killed process
        start(pool, door="cli")
        start(pool, "killed", door="cli")
        assert [ledger.run(pool, run.id).state for run in (alive, killed)] == ["running", "abandoned"]
    start(pool)
    assert ledger.run(pool, alive.id).state == "abandoned"


def test_an_airflow_run_that_was_silent_for_a_day_is_abandoned(pool: Pool) -> None:
    silent, talking = start(pool, external_id="r1"), start(pool, external_id="r2")
    ledger.record_stage(pool, talking.id, "embed", "0001", state="running")
    with connection(pool) as conn:
        conn.execute("UPDATE run SET started_at = started_at - interval '25 hours'")
    start(pool, external_id="r3")
    assert [ledger.run(pool, run.id).state for run in (silent, talking)] == ["abandoned", "running"]


def test_a_finished_run_keeps_its_accounting(pool: Pool) -> None:
    run = start(pool)
    ledger.finish_run(
        pool,
        run.id,
        "succeeded",
        listed=3,
        counts={"loaded": 2, "excluded": 1},
        reasons={"excluded_pattern": 1},
        stats={"chunks": 9},
        notes=["first"],
    )
    stored = ledger.run(pool, run.id)
    assert (stored.state, stored.listed, stored.counts) == ("succeeded", 3, {"loaded": 2, "excluded": 1})
    assert (stored.reasons, stored.stats, stored.notes) == ({"excluded_pattern": 1}, {"chunks": 9}, ["first"])
    assert stored.request == {"day": "x"}
    assert stored.finished_at is not None
    assert stored.finished_at > stored.started_at


def test_runs_and_history_are_newest_first(pool: Pool) -> None:
    ids = [start(pool).id for _ in range(3)]
    start(pool, "second")
    ledger.finish_run(pool, ids[0], "succeeded", listed=0, counts={}, stats={"chunks": 1})
    ledger.finish_run(pool, ids[1], "failed", listed=0, counts={}, stats={"chunks": 1})
    assert [run.id for run in ledger.runs(pool, SOURCE)] == ids[::-1]
    assert len(ledger.runs(pool)) == 4
    assert [run.id for run in ledger.runs(pool, limit=1)] == [ids[2] + 1]
    assert [run.id for run in ledger.history(pool, SOURCE)] == [ids[0]]


def test_an_unknown_run_is_a_wrong_parameter(pool: Pool) -> None:
    with pytest.raises(FixConfiguration, match="run 77"):
        ledger.run(pool, 77)


def test_progress_is_the_last_word_of_each_stage_in_order(pool: Pool) -> None:
    run = start(pool)
    ledger.record_stage(pool, run.id, "plan", state="succeeded", done=5, total=5)
    ledger.record_stage(pool, run.id, "prepare", "0001", state="running", done=1, total=5)
    ledger.record_stage(pool, run.id, "prepare", "0001", state="failed", done=4, total=5, counts={"chunks": 9}, error="boom")
    rows = ledger.progress(pool, run.id)
    assert [(row.stage, row.shard, row.state, row.done, row.total) for row in rows] == [
        ("plan", "", "succeeded", 5, 5),
        ("prepare", "0001", "failed", 4, 5),
    ]
    assert (rows[1].counts, rows[1].error) == ({"chunks": 9}, "boom")


def test_only_suites_that_passed_on_rows_count(pool: Pool) -> None:
    run = start(pool)
    for suite, success, rows in [("documents", True, 3), ("chunks", False, 9), ("vectors", True, 0)]:
        ledger.record_validation(pool, run.id, "0001", suite, success=success, rows=rows, failed=[{"expectation": "x"}])
    assert ledger.passed_suites(pool, run.id, "0001") == {"documents"}
    ledger.record_validation(pool, run.id, "0001", "chunks", success=True, rows=9, failed=[])
    assert ledger.passed_suites(pool, run.id, "0001") == {"documents", "chunks"}
    assert ledger.passed_suites(pool, run.id, "0002") == frozenset()


def test_known_is_every_top_level_document_below_the_scope(corpus: Corpus) -> None:
    corpus.load(
        {"mem://in/a_%": ["a"], ("mem://in/a_%", "x"): ["x"], "mem://in/b": ["b"], "mem://im/c": ["c"], "mem://in": ["d"]}
    )
    deletions.delete(corpus.pool, run_id=corpus.run.id, fence=corpus.fence(), doc_ids=[doc("mem://in/b")])
    corpus.reject("mem://in/q", Reason.NEEDS_OCR)
    known = {row.uri: row for row in ledger.known(corpus.pool, "public", SOURCE, "mem://in/")}
    assert {uri: (row.state, row.reason, row.chunk_count) for uri, row in known.items()} == {
        "mem://in/a_%": ("loaded", None, 1),
        "mem://in/b": ("deleted", None, 0),
        "mem://in/q": ("quarantined", "needs_ocr", 0),
    }
    assert known["mem://in/a_%"].doc_id == doc("mem://in/a_%")
    assert [row.uri for row in ledger.known(corpus.pool, "public", SOURCE, "mem://in/a_")] == ["mem://in/a_%"]
    assert ledger.known(corpus.pool, "public", "other", "mem://") == []
    assert ledger.known(corpus.pool, "tenant2", SOURCE, "mem://") == []


def test_addresses_longer_than_an_index_row_are_stored_and_scoped(corpus: Corpus) -> None:
    stem = "mem://" + "".join(chr(0x4E00 + i * 7 % 20000) for i in range(4000))
    corpus.load({stem + "/a": ["a"], stem + "/b": ["b"]})
    assert [row.uri for row in ledger.known(corpus.pool, "public", SOURCE, stem + "/a")] == [stem + "/a"]
    assert len(ledger.known(corpus.pool, "public", SOURCE, stem)) == 2


def test_source_status_counts_states_and_what_waits(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a", "b"], "mem://b": ["b"], "mem://c": ["c"]})
    corpus.reject("mem://b", Reason.MALFORMED, version="v2")
    corpus.reject("mem://b", Reason.MALFORMED, version="v2")
    deletions.delete(corpus.pool, run_id=corpus.run.id, fence=corpus.fence(), doc_ids=[doc("mem://c")])
    deletions.hold(corpus.pool, corpus.run.id, SOURCE, [(doc("mem://a"), "mem://a")])
    done = ledger.finish_run(corpus.pool, corpus.run.id, "succeeded", listed=0, counts={})
    last = start(corpus.pool)
    start(corpus.pool, "another")
    another, status = ledger.source_status(corpus.pool)
    assert (another.source, another.loaded, another.last_success) == ("another", 0, None)
    assert (status.loaded, status.quarantined, status.deleted, status.served, status.chunks) == (1, 1, 1, 2, 3)
    assert (status.open_quarantine, status.held_deletions, status.running) == (1, 1, 1)
    assert (status.last_run, status.last_state, status.last_success) == (last.id, "running", done.finished_at)
    assert ledger.source_status(corpus.pool, SOURCE) == [status]

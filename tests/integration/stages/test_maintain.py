"""Maintenance: leftovers dropped, worn indexes rebuilt, dead rows gone, recall measured, and red when it stays low."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.context import Context
from pipelines.errors import FailRun, Retry
from pipelines.records import SyncRequest
from pipelines.stages import maintain, sync
from pipelines.store import database, maintenance
from tests.integration.stages.conftest import Make

pytestmark = pytest.mark.integration


@pytest.fixture
def loaded(make: Make, tmp_path: Path) -> Context:
    """A folder of forty documents, synced."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.md").write_text(f"# Note {number}\n\nThe valve {number} was replaced on day {number * 7}.\n")
    ctx = make({"notes": {"kind": "folder", "path": str(folder)}})
    sync.run(ctx, SyncRequest("notes"))
    ctx.pool.close()  # what its sessions counted reaches the server's statistics now, not some time during a test
    del ctx.__dict__["pool"]
    while rows(ctx, "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'space_1'") != [(40,)]:
        pass
    return ctx


def entry(report: maintain.Report, table: str) -> maintain.Kept:
    return next(kept for kept in report.tables if kept.table == table)


def rows(ctx: Context, statement: str) -> list[tuple[Any, ...]]:
    with database.unbounded(ctx.pool) as conn:
        cursor = conn.execute(statement.encode())
        found = cursor.fetchall() if cursor.description else []
        conn.execute("SELECT pg_stat_force_next_flush()")
        return found


def test_a_fresh_corpus_is_vacuumed_and_its_index_measured(loaded: Context) -> None:
    report = maintain.run(loaded)
    space = entry(report, "space_1")
    assert (space.rows, space.rebuilt, report.dropped, report.failures) == (40, "", (), ())
    assert space.recall == pytest.approx(1.0)
    assert rows(
        loaded, "SELECT count(*) > 0 FROM pg_stat_user_tables WHERE relname = 'chunk' AND last_vacuum IS NOT NULL"
    ) == [(True,)]
    kept = rows(loaded, "SELECT rows, recall, rebuilt FROM maintenance WHERE relation = 'space_1'")
    assert kept == [(40, pytest.approx(1.0), False)]
    maintain.require(report)


def test_an_index_is_rebuilt_once_a_fifth_of_its_rows_changed_and_counts_anew(loaded: Context) -> None:
    maintain.run(loaded)
    rows(loaded, "DELETE FROM space_1 WHERE text_sha IN (SELECT text_sha FROM space_1 ORDER BY text_sha LIMIT 12)")
    before = rows(loaded, "SELECT 'space_1_embedding_idx'::regclass::oid, pg_relation_filenode('space_1_embedding_idx')")
    report = maintain.run(loaded)
    assert entry(report, "space_1").rebuilt == "30% of the rows changed"
    assert entry(report, "text").rebuilt == ""
    assert rows(loaded, "SELECT pg_relation_filenode('space_1_embedding_idx')") != [(before[0][1],)]
    again = entry(maintain.run(loaded), "space_1")
    assert (again.rebuilt, again.churn) == ("", 0)


def test_what_an_interrupted_rebuild_left_is_dropped(loaded: Context) -> None:
    rows(loaded, "CREATE INDEX lexical_tsv_ccnew ON lexical USING gin (tsv)")
    rows(loaded, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'lexical_tsv_ccnew'::regclass")
    assert maintain.run(loaded).dropped == ("lexical_tsv_ccnew",)
    assert rows(loaded, "SELECT to_regclass('lexical_tsv_ccnew')") == [(None,)]


def test_a_missing_index_is_built(loaded: Context) -> None:
    rows(loaded, "DROP INDEX space_1_embedding_idx")
    assert entry(maintain.run(loaded), "space_1").rebuilt == "there was none"
    assert rows(loaded, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'space_1_embedding_idx'::regclass") == [(True,)]


def test_low_recall_is_answered_by_a_rebuild_and_is_red_when_that_does_not_help(
    loaded: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([0.80, 1.0, 0.80, 0.90])
    monkeypatch.setattr(maintain, "recall_at_10", lambda *_: (100, next(answers)))
    healed = maintain.run(loaded)
    assert (entry(healed, "space_1").rebuilt, healed.failures) == ("recall@10 was 0.800", ())
    left = maintain.run(loaded)
    assert entry(left, "space_1").recall == 0.90
    with pytest.raises(FailRun, match=r"space_1: recall@10 of its index is 0\.900 just after a rebuild, at least 0\.95"):
        maintain.require(left)


def test_two_at_once_are_not_let(loaded: Context) -> None:
    with maintenance.at_work(loaded.pool), pytest.raises(Retry, match="another one is at work"):
        maintain.run(loaded)


def test_a_first_load_leaves_statistics_for_the_planner(loaded: Context) -> None:
    known = "SELECT relname FROM pg_class WHERE relname IN ('chunk', 'document', 'lexical', 'text') AND reltuples = 40"
    assert len(rows(loaded, known)) == 4
    assert maintenance.analyse_unknown(loaded.pool) == []

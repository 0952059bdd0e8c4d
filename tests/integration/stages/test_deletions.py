"""Deletions of whole syncs: what persons decide, listings that miss pages, sources that move, chunks left behind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bench.faults.listings import Faulty
from pipelines.context import Context
from pipelines.errors import FailRun, FixConfiguration, Held, SkipDocument
from pipelines.records import Accounting, Reason, SyncRequest
from pipelines.stages import audit, plan, status, sync
from pipelines.store import ledger

pytestmark = pytest.mark.integration
Run = Callable[..., Accounting]


def write(folder: Path, *names: str, text: str = "Text") -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text} of {name}.")


def remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def counts(accounting: Accounting) -> dict[str, int]:
    return {state: number for state, number in accounting.counts.items() if number}


def held(ctx: Context, decision: str | None = None) -> set[str]:
    return {hold.uri.rsplit("/", 1)[1] for hold in status.held(ctx, "docs") if hold.decision == decision}


@pytest.fixture
def half_gone(ctx: Context, run: Run, folder: Path) -> int:
    """Six documents, three of which, a.txt, b.txt and c.txt, and a fourth are gone and held; the run that holds them."""
    write(folder, *(f"{name}.txt" for name in "abcdefgh"))
    run()
    remove(folder, "a.txt", "b.txt", "c.txt", "d.txt")
    with pytest.raises(Held, match=r"--approve \d+` or the DAG's approve_held, keep them served with .*--reject \d+`"):
        run()
    return ledger.runs(ctx.pool, "docs")[0].id


def test_what_is_held_names_its_run_and_reason(ctx: Context, half_gone: int) -> None:
    holds = status.held(ctx)
    assert {(hold.run_id, hold.why) for hold in holds} == {(half_gone, "4 of 8 documents (50%) exceed the limit of 10%")}
    assert held(ctx) == {"a.txt", "b.txt", "c.txt", "d.txt"}


def test_rejected_documents_stay_served_and_are_not_held_again(ctx: Context, run: Run, folder: Path, half_gone: int) -> None:
    for request in ({"reject": half_gone, "decided_by": "ada"}, {}):
        done = run(**request)
        assert counts(done) == {"unchanged": 4}
        assert done.notes[0].startswith("4 documents that the source no longer has are kept, as decided")
    assert {hold.decided_by for hold in status.held(ctx)} == {"ada"}
    assert [(entry.served, entry.held_deletions, entry.kept_deletions) for entry in status.run(ctx)] == [(8, 0, 4)]
    write(folder, "a.txt")  # listed again: what was said about it is over
    run()
    assert held(ctx, "rejected") == {"b.txt", "c.txt", "d.txt"}
    remove(folder, "a.txt")
    assert counts(run()) == {"unchanged": 4, "deleted": 1}
    assert counts(run(approve=half_gone)) == {"unchanged": 4, "deleted": 3}


def test_an_approval_may_be_repeated_but_not_contradicted(ctx: Context, run: Run, half_gone: int) -> None:
    with pytest.raises(FixConfiguration, match="approved and rejected"):
        run(approve=half_gone, reject=half_gone)
    for _ in range(2):  # a task that died after it had recorded the approval plans again
        plan.run(ctx, SyncRequest("docs", approve=half_gone))
    assert held(ctx, "approved") == {"a.txt", "b.txt", "c.txt", "d.txt"}
    assert counts(run(approve=half_gone)) == {"unchanged": 4, "deleted": 4}
    assert counts(run(approve=half_gone)) == {"unchanged": 4}
    with pytest.raises(FixConfiguration, match="holds no deletions; `millrace held docs`"):
        run(reject=half_gone)


def test_a_narrowed_run_ends_the_holds_of_what_it_lists(ctx: Context, run: Run, folder: Path, half_gone: int) -> None:
    write(folder, "a.txt", "b.txt")
    run(prefix="a")
    remove(folder, "a.txt")
    assert held(ctx) == {"b.txt", "c.txt", "d.txt"}
    assert counts(run(approve=half_gone)) == {"unchanged": 5, "deleted": 3}


def faulty(ctx: Context, monkeypatch: pytest.MonkeyPatch, *hidden: Path) -> Faulty:
    source = Faulty(ctx.source("docs"))
    source.hidden = frozenset(path.as_uri() for path in hidden)
    monkeypatch.setattr(ctx, "source", lambda name, day=None: source)
    return source


def test_a_listing_that_misses_objects_deletes_nothing_and_is_red(
    ctx: Context, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "a.txt", "b.txt", "c.txt")
    run()
    write(folder, "new.txt")
    source = faulty(ctx, monkeypatch, folder / "a.txt")
    with pytest.raises(FailRun, match=r"1 documents, such as file:\S+/a.txt, are in the source, but its listing"):
        run()
    assert status.run(ctx)[0].served == 4
    write(folder, "a.txt", text="Changed text")  # or it would be served stale for as long as the listing misses it
    with pytest.raises(FailRun, match="but its listing left them out"):
        run()
    source.refuses = SkipDocument(Reason.DEPENDENCY_DOWN, "denied")
    with pytest.raises(FailRun, match="the source would not say whether they are gone"):
        run()
    source.hidden, source.refuses = frozenset(), None
    assert counts(run()) == {"loaded": 1, "unchanged": 3}


def test_a_source_that_moved_asks_before_its_old_documents_go(make: Any, ctx: Context, run: Run, folder: Path) -> None:
    write(folder, "a.txt", "b.txt", "sub/c.txt")
    run()
    elsewhere = folder.with_name("elsewhere")
    write(elsewhere, "a.txt", "z.txt")
    moved = make({"docs": {"kind": "folder", "path": str(elsewhere)}})
    with pytest.raises(Held, match=r"3 of 3 documents \(100%\).*3 of them lie outside the source's present root file:"):
        sync.run(moved, SyncRequest("docs"))
    assert status.run(moved)[0].served == 5
    last = ledger.runs(ctx.pool, "docs")[0].id
    assert counts(sync.run(moved, SyncRequest("docs", approve=last))) == {"unchanged": 2, "deleted": 3}
    assert counts(sync.run(moved, SyncRequest("docs"))) == {"unchanged": 2}


def test_a_narrower_root_deletes_what_is_outside_it_within_the_guard(make: Any, run: Run, folder: Path) -> None:
    write(folder, "old.txt", *(f"kept/{index}.txt" for index in range(20)))
    run()
    narrow = make({"docs": {"kind": "folder", "path": str(folder / "kept")}})
    preview = plan.preview(narrow, SyncRequest("docs"))
    assert "1 of the deletions lie outside the source's present root" in preview.text()
    assert counts(sync.run(narrow, SyncRequest("docs"))) == {"unchanged": 20, "deleted": 1}


def test_a_dated_source_answers_for_its_day_only(make: Any, folder: Path) -> None:
    ctx = make({"docs": {"kind": "folder", "path": f"{folder}/{{{{ ds }}}}"}})
    write(folder, "2026-10-01/a.txt", "2026-10-02/b.txt")
    for day in (1, 2):
        assert counts(sync.run(ctx, SyncRequest("docs", day=date(2026, 10, day)))) == {"loaded": 1}
    assert counts(sync.run(ctx, SyncRequest("docs", day=date(2026, 10, 3)))) == {}, "never seen and empty is green"
    remove(folder, "2026-10-01/a.txt")
    assert counts(sync.run(ctx, SyncRequest("docs", day=date(2026, 10, 2)))) == {"unchanged": 1}
    with pytest.raises(Held, match="the listing is empty where 1 documents are known"):
        sync.run(ctx, SyncRequest("docs", day=date(2026, 10, 1)))


def test_chunks_left_of_a_deleted_document_are_deleted_again(ctx: Context, run: Run, folder: Path) -> None:
    write(folder, "a.txt", "b.txt")
    run()
    remove(folder, "a.txt")
    with ctx.pool.connection() as conn:
        conn.execute("CREATE TEMP TABLE spare AS SELECT * FROM chunk WHERE doc_id IN (SELECT doc_id FROM document)")
        run()
        again = (
            "INSERT INTO text (tenant, text_sha, body) SELECT tenant, text_sha, 'again' FROM spare ON CONFLICT DO NOTHING"
        )
        conn.execute(again)
        conn.execute("INSERT INTO chunk SELECT * FROM spare ON CONFLICT DO NOTHING")
    assert {finding.check for finding in audit.run(ctx)} >= {"unserved_chunks"}
    assert run().counts["unchanged"] == 1  # whether its chunks are removed by a repair or by a second deletion
    assert not audit.run(ctx)


def test_a_source_that_is_not_configured_any_more_is_shown(make: Any, run: Run, folder: Path) -> None:
    write(folder, "a.txt")
    run()
    other = make({"other": {"kind": "folder", "path": str(folder)}})
    assert [(entry.source, entry.configured, entry.served) for entry in status.run(other)] == [
        ("other", True, 0),
        ("docs", False, 1),
    ]
    assert status.run(other, "docs")[0].configured is False

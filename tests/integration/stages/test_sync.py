"""Whole syncs of a folder: accounting, work in proportion to change, deletions, quarantine, repair."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.context import Context
from pipelines.errors import FailRun, FixConfiguration, Held, Retry
from pipelines.records import Accounting, Reason, SyncRequest
from pipelines.search.hybrid import Query
from pipelines.stages import audit, embed, plan, prepare, publish, settle, status, sync, validate
from pipelines.stages.search import run as search
from pipelines.store import ledger
from pipelines.store.audit import fingerprint

pytestmark = pytest.mark.integration
Run = Callable[..., Accounting]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def counts(accounting: Accounting) -> dict[str, int]:
    return {state: number for state, number in accounting.counts.items() if number}


def rows(ctx: Context, statement: str) -> list[tuple[Any, ...]]:
    with ctx.pool.connection() as conn:
        return conn.execute(statement.encode()).fetchall()


def passages(ctx: Context, text: str) -> list[str]:
    return [hit.passage for hit in search(ctx, Query(text=text, collection="knowledge", k=5))]


def test_every_object_ends_in_one_state_with_its_reason(ctx: Context, run: Run, folder: Path) -> None:
    write(folder, a_md="# Locks\n\nThe lock opens at six.", b_txt="Barges pay toll.", empty_txt="  \n", drafts__x_md="draft")
    (folder / "logo.svg").write_text("<svg/>")
    (folder / "broken.json").write_text('{"a": ')
    done = run()
    assert done.listed == 6
    assert counts(done) == {"loaded": 2, "quarantined": 2, "excluded": 2}
    assert done.reasons == {"empty_text": 1, "malformed": 1, "excluded_pattern": 1, "type_unsupported": 1}
    assert done.changed
    assert any("six" in passage for passage in passages(ctx, "lock opens"))
    assert not audit.run(ctx)


def test_a_second_run_finds_everything_unchanged_and_writes_nothing(ctx: Context, run: Run, folder: Path) -> None:
    write(folder, **{f"d{index}_md": f"# Title {index}\n\nText number {index}." for index in range(20)})
    run()
    before = rows(ctx, "SELECT doc_id, ordinal, xmin::text FROM chunk ORDER BY 1, 2")
    again = run()
    assert counts(again) == {"unchanged": 20}
    assert (again.stats["embedded"], again.changed) == (0, False)
    assert rows(ctx, "SELECT doc_id, ordinal, xmin::text FROM chunk ORDER BY 1, 2") == before


def test_work_is_proportional_to_change(ctx: Context, run: Run, folder: Path) -> None:
    write(folder, **{f"d{index}_md": f"# Title {index}\n\nText number {index}." for index in range(10)})
    run()
    write(folder, d3_md="# Title 3\n\nA new text.")
    done = run()
    assert counts(done) == {"loaded": 1, "unchanged": 9}
    assert done.stats["embedded"] == 1
    assert any("new text" in passage for passage in passages(ctx, "A new text"))
    assert not any("number 3" in passage for passage in passages(ctx, "Text number 3"))


def test_a_touched_file_with_the_same_bytes_is_unchanged_once_and_for_all(ctx: Context, run: Run, folder: Path) -> None:
    write(folder, a_txt="Same bytes.")
    run()
    (folder / "a.txt").write_text("Same bytes.")
    assert counts(run()) == {"unchanged": 1}
    assert plan.preview(ctx, SyncRequest("docs")).decisions.unchanged == 1


def test_a_renamed_file_computes_no_embedding(run: Run, folder: Path) -> None:
    write(folder, **{f"d{index}_txt": f"Text number {index} about barges." for index in range(3)})
    run()
    (folder / "d1.txt").rename(folder / "e1.txt")
    done = run()
    assert counts(done) == {"loaded": 1, "unchanged": 2, "deleted": 1}
    assert done.stats["embedded"] == 0


def test_a_deleted_file_leaves_retrieval(ctx: Context, run: Run, folder: Path) -> None:
    write(folder, a_txt="The weir keeper lives here.", b_txt="Tolls are due.")
    run()
    (folder / "a.txt").unlink()
    assert counts(run()) == {"unchanged": 1, "deleted": 1}
    assert not any("weir" in passage for passage in passages(ctx, "weir keeper"))


def test_an_empty_listing_deletes_nothing_and_is_red(ctx: Context, run: Run, folder: Path) -> None:
    write(folder, **{f"d{index}_txt": f"Text number {index}." for index in range(30)})
    run()
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(Held, match=r"30 deletions are held because the listing is empty where 30 documents are known"):
        run()
    assert len(rows(ctx, "SELECT 1 FROM document WHERE state = 'loaded'")) == 30
    assert passages(ctx, "Text number 7.")


def test_held_deletions_let_additions_flow_and_approval_covers_exactly_them(ctx: Context, run: Run, folder: Path) -> None:
    write(folder, **{f"d{index}_txt": f"Text number {index}." for index in range(20)})
    run()
    for index in range(10):
        (folder / f"d{index}.txt").unlink()
    write(folder, new_txt="A newcomer arrives.")
    with pytest.raises(Held):
        run()
    assert any("newcomer" in passage for passage in passages(ctx, "A newcomer arrives"))
    held = ledger.runs(ctx.pool, "docs")[0].id
    (folder / "d15.txt").unlink()  # not among the held: it is judged on its own
    write(folder, d0_txt="Back again.")  # held, but listed again: it stays
    done = run(approve=held)
    assert counts(done) == {"loaded": 1, "unchanged": 10, "deleted": 10}
    assert any("Back again" in passage for passage in passages(ctx, "Back again."))
    assert counts(run()) == {"unchanged": 11}


def test_approving_a_run_that_holds_nothing_is_a_mistake(run: Run, folder: Path) -> None:
    write(folder, a_txt="Text.")
    run()
    with pytest.raises(FixConfiguration, match="holds no deletions"):
        run(approve=1)


def test_quarantine_keeps_the_last_good_version_and_heals(ctx: Context, run: Run, folder: Path) -> None:
    write(folder, a_json='{"rule": "Bridges open at eight."}')
    run()
    write(folder, a_json='{"rule": ')
    assert counts(run()) == {"quarantined": 1}
    assert any("eight" in passage for passage in passages(ctx, "Bridges open"))
    assert counts(run()) == {"quarantined": 1}, "the same bytes are not tried again"
    write(folder, a_json='{"rule": "Bridges open at nine."}')
    assert counts(run()) == {"loaded": 1}
    assert not status.quarantined(ctx)
    assert not any("eight" in passage for passage in passages(ctx, "Bridges open"))


def test_replay_tries_the_very_same_bytes_again(ctx: Context, run: Run, folder: Path) -> None:
    write(folder, a_txt=" ", b_json="{")
    run()
    assert status.replay(ctx, "docs", reason=Reason.EMPTY_TEXT.value) == 1
    assert plan.preview(ctx, SyncRequest("docs")).decisions.updated == 1
    assert counts(run()) == {"quarantined": 2}
    assert plan.preview(ctx, SyncRequest("docs")).decisions.updated == 0


@pytest.mark.parametrize(
    ("damage", "loaded"),
    [
        ("DELETE FROM chunk WHERE ordinal = 0 AND doc_id = (SELECT min(doc_id::text)::bytea FROM chunk)", 1),
        # restored from the embedding cache, in place
        ("DELETE FROM space_1 WHERE text_sha = (SELECT min(text_sha::text)::bytea FROM space_1)", 0),
    ],
)
def test_rows_that_vanish_behind_the_ledger_are_found_and_repaired(
    ctx: Context, run: Run, folder: Path, damage: str, loaded: int
) -> None:
    write(folder, **{f"d{index}_md": f"# Title {index}\n\nText number {index}." for index in range(5)})
    run()
    whole = fingerprint(ctx.pool, "knowledge")
    with ctx.pool.connection() as conn:
        assert conn.execute(damage.encode()).rowcount == 1
    assert audit.run(ctx)
    done = run()
    assert (done.counts["loaded"], done.counts["unchanged"]) == (loaded, 5 - loaded)
    assert "1 damages were found before the run" in done.notes[0]
    assert fingerprint(ctx.pool, "knowledge") == whole


def test_plan_changes_nothing_and_exact_counts_what_a_sync_then_writes(ctx: Context, run: Run, folder: Path) -> None:
    write(folder, **{f"d{index}_md": f"# Title {index}\n\n" + "A sentence of text. " * 40 for index in range(4)})
    tables = "SELECT (SELECT count(*) FROM run), (SELECT count(*) FROM document), (SELECT count(*) FROM space)"
    before = rows(ctx, tables)
    exact = plan.preview(ctx, SyncRequest("docs"), exact=True)
    assert rows(ctx, tables) == before
    assert not (ctx.settings.home / "objects").exists()
    done = run()
    assert exact.estimate.chunks.value == done.stats["chunks"]
    assert exact.estimate.tokens.value == done.stats["tokens"]
    assert exact.estimate.embeddings.value == done.stats["embedded"]


def test_a_prefix_narrows_both_listing_and_deletions(run: Run, folder: Path) -> None:
    write(folder, north__a_txt="North text.", south__a_txt="South text.", south__b_txt="More south.")
    run()
    (folder / "north/a.txt").unlink()
    (folder / "south/b.txt").unlink()
    assert counts(run(prefix="south/")) == {"unchanged": 1, "deleted": 1}
    assert counts(run()) == {"unchanged": 1, "deleted": 1}


def test_many_shards_and_batches_end_like_one(make: Any, folder: Path) -> None:
    write(folder, **{f"d{index}_md": f"# Title {index}\n\nText number {index}." for index in range(23)})
    small = make(
        {"docs": {"kind": "folder", "path": str(folder)}},
        limits={"shard_documents": 5, "publish_batch_documents": 2, "embed_batch_texts": 3},
    )
    done = sync.run(small, SyncRequest("docs"))
    assert counts(done) == {"loaded": 23}
    assert done.stats["embedded"] == 23


def test_a_failed_shard_makes_the_run_red_and_the_others_load(make: Any, folder: Path) -> None:
    write(folder, **{f"d{index}_txt": f"Text number {index}." for index in range(6)})
    ctx = make({"docs": {"kind": "folder", "path": str(folder)}}, limits={"shard_documents": 2})
    planned = plan.run(ctx, SyncRequest("docs"))
    for shard in planned.shards[1:]:
        for stage in (prepare, validate, embed, publish):
            stage.run(ctx, shard)
    with pytest.raises(FailRun, match="shard 0001 stopped at prepare: 2 documents have no outcome"):
        settle.run(ctx, planned.run_id)
    assert counts(sync.run(ctx, SyncRequest("docs"))) == {"loaded": 2, "unchanged": 4}


def test_publish_refuses_a_shard_without_passed_suites(ctx: Context, folder: Path) -> None:
    write(folder, a_txt="Text.")
    planned = plan.run(ctx, SyncRequest("docs"))
    (shard,) = planned.shards
    for stage in (prepare, validate, embed):
        stage.run(ctx, shard)
    with ctx.pool.connection() as conn:
        conn.execute("UPDATE validation SET success = false WHERE suite = 'vectors'")
    with pytest.raises(FailRun, match="no passed result of suite vectors"):
        publish.run(ctx, shard)
    assert not rows(ctx, "SELECT 1 FROM chunk")


def test_stages_may_be_repeated(ctx: Context, folder: Path) -> None:
    write(folder, a_txt="Text one.", b_txt=" ")
    planned = plan.run(ctx, SyncRequest("docs"))
    (shard,) = planned.shards
    for stage in (prepare, prepare, validate, validate, embed, embed, publish, publish):
        stage.run(ctx, shard)
    first = settle.run(ctx, planned.run_id)
    assert counts(settle.run(ctx, planned.run_id)) == counts(first) == {"loaded": 1, "quarantined": 1}


def test_an_object_that_vanishes_after_the_plan_is_quarantined_then_deleted(ctx: Context, run: Run, folder: Path) -> None:
    write(folder, a_txt="Text one.", b_txt="Text two.")
    planned = plan.run(ctx, SyncRequest("docs"))
    (folder / "a.txt").unlink()
    (shard,) = planned.shards
    for stage in (prepare, validate, embed, publish):
        stage.run(ctx, shard)
    done = settle.run(ctx, planned.run_id)
    assert (counts(done), done.reasons) == ({"loaded": 1, "quarantined": 1}, {"source_vanished": 1})
    assert counts(run()) == {"unchanged": 1, "deleted": 1}


def test_an_object_that_changes_after_the_plan_is_loaded_as_it_is_now(ctx: Context, run: Run, folder: Path) -> None:
    write(folder, a_txt="Text one.")
    planned = plan.run(ctx, SyncRequest("docs"))
    write(folder, a_txt="Text two, longer.")
    (shard,) = planned.shards
    for stage in (prepare, validate, embed, publish):
        stage.run(ctx, shard)
    settle.run(ctx, planned.run_id)
    assert any("Text two" in passage for passage in passages(ctx, "Text two"))
    assert counts(run()) == {"unchanged": 1}


def test_overlapping_runs_end_in_the_newer_state(ctx: Context, folder: Path) -> None:
    write(folder, a_txt="Old text.")
    early = plan.run(ctx, SyncRequest("docs"))
    (old,) = early.shards
    for stage in (prepare, validate, embed):
        stage.run(ctx, old)
    write(folder, a_txt="New text.")
    sync.run(ctx, SyncRequest("docs"))
    publish.run(ctx, old)  # the zombie wakes up
    done = settle.run(ctx, early.run_id)
    assert done.stats["superseded"] == 1
    assert passages(ctx, "text") == ["New text."]


def test_an_unknown_source_names_the_nearest(ctx: Context) -> None:
    with pytest.raises(FixConfiguration, match="no source 'dogs'; did you mean 'docs'"):
        sync.run(ctx, SyncRequest("dogs"))


def test_a_missing_folder_keeps_the_corpus(ctx: Context, run: Run, folder: Path) -> None:
    write(folder, a_txt="Text one.")
    run()
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises((FixConfiguration, Retry), match="docs"):
        run()
    assert passages(ctx, "Text one.") == ["Text one."]
    assert ledger.runs(ctx.pool, "docs")[0].state == "failed"


def test_changed_chunk_settings_change_nothing_until_a_reembedding(make: Any, ctx: Context, run: Run, folder: Path) -> None:
    write(folder, a_txt="Text one.")
    run()
    other = make({"docs": {"kind": "folder", "path": str(folder)}})
    other.settings = other.settings.model_copy(
        update={"chunking": other.settings.chunking.model_copy(update={"target_tokens": 99})}
    )
    done = sync.run(other, SyncRequest("docs"))
    assert done.counts["unchanged"] == 1
    assert any("millrace reembed knowledge" in note for note in done.notes)

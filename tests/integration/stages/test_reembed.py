"""Another model or other passages beside those that serve: filled, verified, switched, rolled back, retired."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import Chunking, Collection, Model
from pipelines.context import Context
from pipelines.errors import FailRun, FixConfiguration, Retry
from pipelines.records import Accounting, Budget, ReembedRequest, SyncRequest
from pipelines.search.query import Query
from pipelines.stages import audit, plan, reembed, search, switch, sync
from pipelines.stages import publish as publish_stage
from pipelines.store import collect, spaces

pytestmark = pytest.mark.integration
Run = Callable[..., Accounting]
LONG = " ".join(f"Word{n} is about ropes and sails, number {n}." for n in range(60))


@pytest.fixture
def docs(ctx: Context, folder: Path) -> Path:
    """Three documents, and a second model to go over to."""
    (folder / "a.txt").write_text("The harbour closes at nine. Ropes are checked daily.")
    (folder / "b.txt").write_text(LONG)
    (folder / "c.txt").write_text("Sails are white.")
    configure(ctx, models={"hash": Model(tier="hash"), "second": Model(tier="hash", seed=7)})
    return folder


def configure(ctx: Context, **changed: Any) -> None:
    """Change the configuration as an edit of the files between two commands would."""
    ctx.settings = ctx.settings.model_copy(update=changed)
    ctx.__dict__.pop("models", None)


def wants(ctx: Context, model: str) -> None:
    configure(ctx, collections={"knowledge": Collection(model=model)})


def rows(ctx: Context, statement: str) -> list[tuple[Any, ...]]:
    with ctx.pool.connection() as conn:
        return conn.execute(statement.encode()).fetchall()


def states(ctx: Context) -> dict[int, str]:
    return {entry.space.id: entry.space.state for entry in switch.overview(ctx)}


def similarity(ctx: Context, text: str) -> float:
    """The cosine of a text to itself, through the whole search path: 1 only if question and passage are of one model."""
    hits = search.run(ctx, Query(text, "knowledge", mode="dense", k=1))
    assert hits[0].similarity is not None
    return hits[0].similarity


def test_what_serves_decides_and_the_configuration_is_a_note(ctx: Context, docs: Path, run: Run) -> None:
    run()
    wants(ctx, "second")
    (docs / "d.txt").write_text("A new document.")
    done = run()
    said = "collection 'knowledge' is served by hash; configured is second: run `millrace reembed knowledge`"
    assert done.counts["loaded"] == 1
    assert said in done.notes
    assert plan.preview(ctx, SyncRequest("docs")).notes == (said,)
    assert similarity(ctx, "A new document.") == pytest.approx(1, abs=1e-3)
    configure(ctx, models={"second": Model(tier="hash", seed=7)})
    with pytest.raises(FixConfiguration, match=r"made by hashing.*no entry under models.*restore its entry"):
        run()


def test_a_new_model_is_filled_beside_switched_and_rolled_back(ctx: Context, docs: Path, run: Run) -> None:
    run()
    before = rows(ctx, "SELECT xmin::text, doc_id, fence FROM document ORDER BY doc_id")
    wants(ctx, "second")
    done = reembed.run(ctx, ReembedRequest("knowledge"))
    assert (done.state, done.left, done.report["passed"]) == ("shadow", 0, True)
    assert done.report["recall_at_10"] == 1.0
    assert done.counts["embedded"] == done.report["texts"] > 0
    assert "millrace switch knowledge 2" in done.notes[0]
    assert states(ctx) == {1: "active", 2: "shadow"}
    assert similarity(ctx, "Sails are white.") == pytest.approx(1, abs=1e-3)
    assert switch.switch(ctx, "knowledge", 2, "ana").serves == 2
    assert states(ctx) == {1: "previous", 2: "active"}
    assert similarity(ctx, "Sails are white.") == pytest.approx(1, abs=1e-3)
    assert rows(ctx, "SELECT xmin::text, doc_id, fence FROM document ORDER BY doc_id") == before
    assert run().counts["unchanged"] == 3
    assert audit.run(ctx) == []
    assert switch.rollback(ctx, "knowledge", "ana").serves == 1
    assert states(ctx) == {1: "active", 2: "previous"}
    assert similarity(ctx, "Sails are white.") == pytest.approx(1, abs=1e-3)
    history = rows(ctx, "SELECT space_id, state, by FROM space_history ORDER BY id")
    assert [(number, state) for number, state, _ in history][:4] == [
        (1, "active"), (2, "building"), (2, "shadow"), (1, "previous"),
    ]  # fmt: skip
    assert {by for _, state, by in history if state == "previous"} == {"ana"}


def test_a_sync_keeps_the_other_spaces_complete(ctx: Context, docs: Path, run: Run) -> None:
    run()
    reembed.run(ctx, ReembedRequest("knowledge", model="second", switch=True))
    assert states(ctx) == {1: "previous", 2: "active"}
    (docs / "a.txt").write_text("The harbour closes at ten now.")
    (docs / "c.txt").unlink()
    done = run()
    assert (done.counts["loaded"], done.counts["deleted"]) == (1, 1)
    assert done.stats["caught_up"] == 1
    assert [(entry.missing_documents, entry.missing_texts) for entry in switch.overview(ctx)] == [(0, 0), (0, 0)]
    switch.rollback(ctx, "knowledge")
    assert similarity(ctx, "The harbour closes at ten now.") == pytest.approx(1, abs=1e-3)
    assert audit.run(ctx) == []


def test_a_failing_model_that_does_not_serve_costs_a_note_and_the_way_back(ctx: Context, docs: Path, run: Run) -> None:
    run()
    reembed.run(ctx, ReembedRequest("knowledge", model="second", switch=True))

    def embed(*_: object, **__: object) -> None:
        raise RuntimeError("device lost")

    vars(ctx.models.embedder("hash"))["embed"] = embed
    (docs / "a.txt").write_text("The harbour closes at ten now.")
    done = run()
    assert (done.state, done.counts["loaded"]) == ("succeeded", 1)
    assert any("space 1 (previous) could not be caught up" in note for note in done.notes)
    with pytest.raises(FailRun, match=r"space 1 .* not complete: 0 documents .* 1 texts no vector; nothing was switched"):
        switch.rollback(ctx, "knowledge")
    assert states(ctx) == {1: "previous", 2: "active"}
    vars(ctx.models.embedder("hash")).pop("embed")
    run()
    assert switch.rollback(ctx, "knowledge").serves == 1


def test_a_budget_ends_the_fill_and_the_next_run_goes_on(ctx: Context, docs: Path, run: Run) -> None:
    run()
    wants(ctx, "second")
    first = reembed.run(ctx, ReembedRequest("knowledge", budget=Budget(texts=2), switch=True))
    assert (first.counts["embedded"], first.state) == (2, "building")
    assert first.left > 0
    assert "`millrace reembed knowledge` goes on" in first.notes[0]
    (docs / "d.txt").write_text("A new document.")
    run()  # catches up with its own document only: the rest is the re-embedding's, by its budget
    assert switch.overview(ctx)[1].missing_texts == first.left
    with pytest.raises(FixConfiguration, match="building; finish it"):
        switch.switch(ctx, "knowledge", 2)
    second = reembed.run(ctx, ReembedRequest("knowledge", switch=True))
    assert second.counts["embedded"] == first.left
    assert (second.state, second.left) == ("active", 0)
    for empty in (Budget(tokens=0), Budget(seconds=0), Budget(cost=0.0)):
        reembed.run(ctx, ReembedRequest("knowledge", model="hash"))
        switch.retire(ctx, "knowledge", 1)
        rows_before = reembed.run(ctx, ReembedRequest("knowledge", model="hash", budget=empty))
        assert rows_before.counts["embedded"] == 0  # everything comes from the cache, which costs nothing
        assert rows_before.left == 0


def test_a_space_that_finds_less_does_not_serve(ctx: Context, docs: Path, run: Run, tmp_path: Path) -> None:
    run()
    golden = tmp_path / "golden.jsonl"
    golden.write_text('{"question": "harbour closes", "answerable": true, "answers": [{"path": "docs/a.txt"}]}\n')
    configure(ctx, collections={"knowledge": Collection(model="second", golden=str(golden))})
    good = reembed.run(ctx, ReembedRequest("knowledge"))
    assert (good.report["questions"], good.report["ndcg_at_10"], good.report["ndcg_at_10_serving"]) == (1, 1.0, 1.0)
    with ctx.pool.connection() as conn:
        conn.execute("DELETE FROM space_2 WHERE text_sha IN (SELECT text_sha FROM space_2 LIMIT 1)")
    with pytest.raises(FailRun, match=r"not complete"):
        switch.switch(ctx, "knowledge", 2)
    golden.write_text("not json")
    with pytest.raises(FixConfiguration, match="no golden questions"):
        reembed.run(ctx, ReembedRequest("knowledge"))


def test_other_passages_are_made_beside_and_switched_with_the_documents(ctx: Context, docs: Path, run: Run) -> None:
    run()
    served = rows(ctx, "SELECT doc_id, ordinal, text_sha FROM chunk ORDER BY 1, 2")
    configure(ctx, chunking=Chunking(target_tokens=32))
    assert "other chunk settings" in run().notes[0]
    done = reembed.run(ctx, ReembedRequest("knowledge", switch=True))
    assert (done.counts["rechunked"], done.state) == (3, "active")
    assert len(rows(ctx, "SELECT 1 FROM chunk WHERE chunk_set = 2")) > len(served)
    assert rows(ctx, "SELECT DISTINCT chunk_set FROM document") == [(2,)]
    assert rows(ctx, "SELECT count(*) FROM chunk_past") == [(0,)]
    assert audit.run(ctx) == []
    assert run().counts["unchanged"] == 3
    (docs / "a.txt").write_text("The harbour closes at ten now.")
    assert run().counts == {"loaded": 1, "unchanged": 2, "quarantined": 0, "deleted": 0, "excluded": 0}
    assert rows(ctx, "SELECT DISTINCT chunk_set FROM chunk_past") == [(2,)]
    assert collect.collect(ctx.pool, cache_days=30).texts == 0  # what stands by needs its texts
    assert audit.run(ctx) == []
    switch.rollback(ctx, "knowledge")
    kept = [row for row in rows(ctx, "SELECT doc_id, ordinal, text_sha FROM chunk WHERE chunk_set = 1") if row in served]
    assert len(kept) == len(served) - 1
    assert run().counts["unchanged"] == 3
    assert audit.run(ctx) == []
    assert similarity(ctx, "The harbour closes at ten now.") == pytest.approx(1, abs=1e-3)
    switch.retire(ctx, "knowledge", 2)
    assert rows(ctx, "SELECT DISTINCT chunk_set FROM chunk") == [(1,)]
    assert rows(ctx, "SELECT count(*) FROM standby") == [(0,)]
    assert audit.run(ctx) == []


def test_what_cannot_be_read_again_is_carried_or_left_to_the_next_sync(ctx: Context, docs: Path, run: Run) -> None:
    run()
    (docs / "a.txt").write_bytes(b"PK\x03\x04 no text")
    assert run().counts["quarantined"] == 1  # its former version is served
    configure(ctx, chunking=Chunking(target_tokens=32))
    (docs / "c.txt").write_text("Sails are red.")
    with pytest.raises(FailRun, match=r"lacks 1 documents and 0 texts \(1 changed\); sync"):
        reembed.run(ctx, ReembedRequest("knowledge"))
    run()
    done = reembed.run(ctx, ReembedRequest("knowledge", switch=True))
    assert done.state == "active"
    assert [hit.uri[-5:] for hit in search.run(ctx, Query("The harbour closes", "knowledge", k=1))] == ["a.txt"]
    assert run().counts == {"loaded": 0, "unchanged": 2, "quarantined": 1, "deleted": 0, "excluded": 0}
    assert audit.run(ctx) == []


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM chunk WHERE chunk_set = 2 AND ordinal = 0 AND doc_id = (SELECT min(doc_id::text)::bytea FROM standby)",
        "UPDATE chunk SET char_end = char_end + 1 WHERE chunk_set = 2 AND ordinal = 0",
        "DELETE FROM standby WHERE doc_id = (SELECT min(doc_id::text)::bytea FROM standby)",
    ],
)
def test_damage_beside_what_is_served_is_found_and_mended(ctx: Context, docs: Path, run: Run, damage: str) -> None:
    run()
    configure(ctx, chunking=Chunking(target_tokens=32))
    reembed.run(ctx, ReembedRequest("knowledge"))
    with ctx.pool.connection() as conn:
        conn.execute(damage.encode())
    assert {finding.check for finding in audit.run(ctx)} <= {"standby_chunks", "unserved_chunks"} != set()
    done = run()
    assert (done.state, done.counts["loaded"]) == ("succeeded", 0)
    assert audit.run(ctx) == []
    assert switch.switch(ctx, "knowledge", 2).serves == 2
    assert run().counts["unchanged"] == 3


def test_a_switch_between_embed_and_publish_makes_the_shard_anew(
    ctx: Context, docs: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    configure(ctx, chunking=Chunking(target_tokens=32), collections={"knowledge": Collection(model="second")})
    reembed.run(ctx, ReembedRequest("knowledge"))
    (docs / "a.txt").write_text("The harbour closes at ten now.")
    real = publish_stage._run
    switched: list[Any] = []

    def late(*given: Any) -> Any:
        if not switched:
            switched.append(switch.switch(ctx, "knowledge", 2))
        return real(*given)

    monkeypatch.setattr(publish_stage, "_run", late)
    done = run()
    assert (done.state, done.counts["loaded"], done.counts["unchanged"]) == ("succeeded", 1, 2)
    assert rows(ctx, "SELECT DISTINCT chunk_set FROM document") == [(2,)]
    assert similarity(ctx, "The harbour closes at ten now.") == pytest.approx(1, abs=1e-3)
    assert run().counts["unchanged"] == 3


def test_a_search_across_a_switch_asks_the_new_space(
    ctx: Context, docs: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    reembed.run(ctx, ReembedRequest("knowledge", model="second"))
    real = search.embedded
    switched: list[Any] = []

    def slow(*given: Any) -> Any:
        vector = real(*given)
        if not switched:
            switched.append(switch.switch(ctx, "knowledge", 2))
            switch.retire(ctx, "knowledge", 1)
        return vector

    monkeypatch.setattr(search, "embedded", slow)
    assert similarity(ctx, "Sails are white.") == pytest.approx(1, abs=1e-3)
    assert spaces.active(ctx.pool, "knowledge").id == 2  # type: ignore[union-attr]
    monkeypatch.setattr(search, "SWITCHES", 0)
    with pytest.raises(Retry, match="ask again"):
        search.run(ctx, Query("x", "knowledge"))


def test_old_spaces_are_retired_after_their_days_and_can_be_made_anew(ctx: Context, docs: Path, run: Run) -> None:
    run()
    assert reembed.run(ctx, ReembedRequest("knowledge", model="second", switch=True, keep_days=7)).retired == ()
    with ctx.pool.connection() as conn:
        conn.execute("UPDATE space SET changed_at = changed_at - interval '8 days' WHERE id = 1")
    assert reembed.run(ctx, ReembedRequest("knowledge", model="second", keep_days=7)).retired == (1,)
    assert states(ctx) == {2: "active", 1: "retired"}
    assert rows(ctx, "SELECT to_regclass('millrace.space_1')::text") == [(None,)]
    assert audit.run(ctx) == []
    with pytest.raises(FixConfiguration, match="no previous space to go back to"):
        switch.rollback(ctx, "knowledge")
    with pytest.raises(FixConfiguration, match="retired; make it anew with `millrace reembed knowledge`"):
        switch.switch(ctx, "knowledge", 1)
    with pytest.raises(FixConfiguration, match="space 2 .* is active"):
        switch.retire(ctx, "knowledge", 2)
    again = reembed.run(ctx, ReembedRequest("knowledge", model="hash", switch=True))
    assert (again.space, again.state, again.counts["embedded"]) == (1, "active", 0)  # all from the cache


def test_an_empty_collection_and_an_unknown_model_are_refused(ctx: Context, docs: Path, run: Run) -> None:
    with pytest.raises(FixConfiguration, match="is empty; its first sync"):
        reembed.run(ctx, ReembedRequest("knowledge"))
    with pytest.raises(FixConfiguration, match=r"no model 'third'; known: hash, second"):
        reembed.run(ctx, ReembedRequest("knowledge", model="third"))
    with pytest.raises(FixConfiguration, match="no collection 'other'"):
        reembed.run(ctx, ReembedRequest("other"))


@pytest.fixture(autouse=True)
def warm(validator: Any) -> None:
    """The validation worker imports once for all tests."""


def test_sync_reports_no_catch_up_where_one_space_is_kept(ctx: Context, docs: Path) -> None:
    assert "caught_up" not in sync.run(ctx, SyncRequest("docs")).stats

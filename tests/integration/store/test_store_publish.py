"""Publishing: replaced whole or not at all, fenced, idempotent, and one bad document does not hold up the others."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from pipelines.errors import Retry
from pipelines.records import Reason, sha256
from pipelines.store import audit, vectors
from pipelines.store.batch import Batch, ChunkRow, chunk_digest
from pipelines.store.publish import publish
from pipelines.store.quarantine import Quarantined
from tests.integration.store.corpus import Corpus, chunk_rows, doc, everything, nothing, unit_vectors

pytestmark = pytest.mark.integration


def test_a_batch_is_served_with_vectors_and_passes_the_audit(corpus: Corpus) -> None:
    outcome = corpus.load({"mem://a": ["one", "two"], "mem://b": ["two", "three", "four"]})
    assert outcome.loaded == {doc("mem://a"), doc("mem://b")}
    assert (outcome.chunks_written, outcome.chunks_kept, outcome.vectors_written) == (5, 0, 4)
    assert corpus.served("mem://b") == ["two", "three", "four"]
    stored = vectors.load_vectors(corpus.pool, corpus.space, [sha256("three")])
    assert stored[0] == pytest.approx(unit_vectors([sha256("three")])[0], abs=1e-3)
    assert audit.audit(corpus.pool) == []


def test_the_stored_row_is_what_was_handed_over(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["one"]}, version="v7")
    (row,) = corpus.rows(
        "SELECT source_version, loaded_version, metadata, warnings, title, chunk_digest, attempts FROM document"
    )
    assert row == (
        "v7",
        "v7",
        {"version": "v7"},
        ["nul_removed"],
        "mem://a",
        chunk_digest(chunk_rows(doc("mem://a"), ["one"])),
        0,
    )
    (chunk,) = corpus.rows("SELECT ordinal, heading_path, char_start, char_end, tokens, lang, kind FROM chunk")
    assert chunk == (0, ["Guide", "Part"], 0, 9, 3, "en", "prose")


def test_a_parquet_table_of_chunks_is_as_good_as_rows(corpus: Corpus) -> None:
    corpus.embed(["one", "two"])
    batch = corpus.batch({"mem://a": ["one", "two"]}, fence=corpus.fence())
    columns = {name: [getattr(row, name) for row in batch.chunks] for name in ChunkRow._fields}
    table = pa.table(columns)
    publish(corpus.pool, Batch(batch.run_id, batch.fence, batch.space, batch.documents, table), everything)
    assert corpus.served("mem://a") == ["one", "two"]
    assert audit.audit(corpus.pool) == []


def test_unchanged_chunks_are_not_rewritten_and_replaced_ones_go_to_the_past(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["keep", "old", "tail"]})
    before = dict(corpus.rows("SELECT ordinal, xmin::text FROM chunk"))
    outcome = corpus.load({"mem://a": ["keep", "new"]}, version="v2")
    after = dict(corpus.rows("SELECT ordinal, xmin::text FROM chunk"))
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert (outcome.chunks_kept, outcome.chunks_written, outcome.chunks_retired) == (1, 1, 2)
    past = corpus.rows("SELECT ordinal, body, run_id, valid_from < valid_to FROM chunk_past ORDER BY ordinal")
    assert past == [(1, "old", corpus.run.id, True), (2, "tail", corpus.run.id, True)]
    assert audit.audit(corpus.pool) == []


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_highest_fence_wins_whatever_the_order(corpus: Corpus, order: tuple[int, ...]) -> None:
    corpus.embed(["text 0", "text 1", "text 2"])
    fences = [corpus.fence() for _ in range(3)]
    batches = [corpus.batch({"mem://a": [f"text {i}"]}, fence=fences[i], version=f"v{i}") for i in range(3)]
    written: list[int] = []
    for i in order:
        outcome = publish(corpus.pool, batches[i], everything)
        expected_to_win = all(i > earlier for earlier in written)
        assert bool(outcome.loaded) is expected_to_win
        assert bool(outcome.superseded) is not expected_to_win
        written.append(i)
    assert corpus.served("mem://a") == ["text 2"]
    assert audit.audit(corpus.pool) == []


def test_a_zombie_changes_nothing(corpus: Corpus) -> None:
    stale = corpus.fence()
    corpus.load({"mem://a": ["new", "same"]}, version="v2")
    before = (
        corpus.rows("SELECT xmin::text, * FROM document"),
        corpus.rows("SELECT xmin::text, * FROM chunk ORDER BY ordinal"),
    )
    corpus.embed(["old"])
    outcome = publish(corpus.pool, corpus.batch({"mem://a": ["old"], "mem://z": ["old"]}, fence=stale), everything)
    assert outcome.superseded == {doc("mem://a")}
    assert outcome.loaded == {doc("mem://z")}
    corpus.rows("DELETE FROM chunk WHERE doc_id = %s", doc("mem://z"))
    after = (
        corpus.rows("SELECT xmin::text, * FROM document WHERE doc_id = %s", doc("mem://a")),
        corpus.rows("SELECT xmin::text, * FROM chunk ORDER BY ordinal"),
    )
    assert after == before


def test_a_repeated_attempt_reports_success_and_writes_nothing(corpus: Corpus) -> None:
    corpus.embed(["one"])
    batch = corpus.batch({"mem://a": ["one"]}, fence=corpus.fence())
    first = publish(corpus.pool, batch, everything)
    before = corpus.rows("SELECT xmin::text FROM document UNION ALL SELECT xmin::text FROM chunk")
    again = publish(corpus.pool, batch, nothing)
    assert again.loaded == first.loaded
    assert again.superseded == frozenset()
    assert corpus.rows("SELECT xmin::text FROM document UNION ALL SELECT xmin::text FROM chunk") == before


def test_a_document_written_since_the_plan_is_checked_at_the_source_first(corpus: Corpus) -> None:
    corpus.embed(["mine a", "mine b", "mine c"])
    planned = corpus.batch({f"mem://{n}": [f"mine {n}"] for n in "abc"}, fence=corpus.fence() + 100, expected=0)
    corpus.load({"mem://a": ["theirs"], "mem://b": ["theirs"]}, version="v9")
    asked: list[bytes] = []

    def only_a(doc_ids):
        asked.extend(doc_ids)
        return {doc("mem://a")}

    outcome = publish(corpus.pool, planned, only_a)
    assert sorted(asked) == sorted([doc("mem://a"), doc("mem://b")])
    assert outcome.loaded == {doc("mem://a"), doc("mem://c")}
    assert outcome.superseded == {doc("mem://b")}
    assert corpus.served("mem://a") == ["mine a"]
    assert corpus.served("mem://b") == ["theirs"]


def test_texts_without_vector_stop_the_batch_and_leave_no_trace(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["one"]})
    batch = corpus.batch({"mem://a": ["two", "three"], "mem://b": ["one"]}, fence=corpus.fence(), version="v2")
    with pytest.raises(Retry, match="2 texts have no vector"):
        publish(corpus.pool, batch, everything)
    assert corpus.served("mem://a") == ["one"]
    assert corpus.rows("SELECT count(*) FROM document") == [(1,)]
    assert corpus.rows("SELECT count(*) FROM text") == [(1,)]


@pytest.mark.parametrize("position", [0, 3, 6])
@pytest.mark.parametrize("poison", ["nul", "surrogate", "no_chunks", "twice", "offsets"])
def test_the_refused_document_is_found_and_the_others_load(corpus: Corpus, poison: str, position: int) -> None:
    names = [f"mem://{i}" for i in range(7)]
    corpus.embed([f"text of {name}" for name in names])
    batch = corpus.batch({name: [f"text of {name}"] for name in names}, fence=corpus.fence())
    bad = doc(names[position])
    documents, chunks = list(batch.documents), [row for row in batch.chunks if row.doc_id != bad]
    (own,) = (row for row in batch.chunks if row.doc_id == bad)
    replacement = {
        "nul": [own._replace(body="a\x00b")],
        "surrogate": [own._replace(body="a\ud800b")],
        "no_chunks": [],
        "twice": [own, own],
        "offsets": [own._replace(char_end=own.char_start)],
    }[poison]
    outcome = publish(
        corpus.pool, Batch(batch.run_id, batch.fence, batch.space, documents, chunks + replacement), everything
    )
    assert [row.doc_id for row in outcome.rejected] == [bad]
    assert outcome.rejected[0].detail
    assert outcome.rejected[0].sqlstate[:2] in {"22", "23"}
    assert outcome.loaded == {doc(name) for name in names} - {bad}
    assert audit.audit(corpus.pool) == []


def test_an_attachment_without_its_object_does_not_stand(corpus: Corpus) -> None:
    names = ["mem://0", "mem://1"]
    corpus.embed([f"text of {name}" for name in names])
    batch = corpus.batch({name: [f"text of {name}"] for name in names}, fence=corpus.fence())
    documents = [replace(row, parent_doc_id=bytes(32)) if row.uri == names[1] else row for row in batch.documents]
    outcome = publish(corpus.pool, Batch(batch.run_id, batch.fence, batch.space, documents, batch.chunks), everything)
    assert (set(outcome.loaded), set(outcome.superseded)) == ({doc(names[0])}, {doc(names[1])})


def refused(member: str) -> Quarantined:
    return Quarantined(
        doc_id=doc("mem://m", member),
        uri="mem://m",
        member=member,
        parent_doc_id=doc("mem://m"),
        source_version="v2",
        pipeline_fingerprint="p",
        stage="prepare",
        reason=Reason.EMPTY_TEXT,
    )


def test_a_refused_attachment_enters_quarantine_with_its_object_or_not_at_all(corpus: Corpus) -> None:
    """A kill between the two would lose it: its object is loaded, so nothing would ever look at it again."""
    corpus.embed(["mail"])
    batch = corpus.batch({"mem://m": ["mail"]}, fence=corpus.fence(), refused=[refused("new.txt")])
    publish(corpus.pool, batch, everything)
    rows = corpus.rows("SELECT member, state, members, xmin::text FROM document ORDER BY member")
    assert [row[:3] for row in rows] == [("", "loaded", 1), ("new.txt", "quarantined", None)]
    assert rows[0][3] == rows[1][3], "one transaction"
    assert audit.audit(corpus.pool) == []


def test_an_attachment_whose_row_is_lost_is_missed(corpus: Corpus) -> None:
    corpus.load({"mem://m": ["mail"], ("mem://m", "x.txt"): ["x"]})
    with corpus.pool.connection() as conn:
        conn.execute("DELETE FROM chunk WHERE doc_id = %s", [doc("mem://m", "x.txt")])
        conn.execute("DELETE FROM document WHERE doc_id = %s", [doc("mem://m", "x.txt")])
    found = {finding.check: finding for finding in audit.audit(corpus.pool)}
    assert found["attachments"].uri == "mem://m"
    assert found["attachments"].detail == "ledger says 1 attachments, found 0"


def test_attachments_that_an_object_no_longer_has_are_deleted_with_it(corpus: Corpus) -> None:
    corpus.load({"mem://m": ["mail"], ("mem://m", "x.txt"): ["x"], ("mem://m", "y.txt"): ["y"], ("mem://m", "z.txt"): ["z"]})
    corpus.load({("mem://other"): ["o"]})
    corpus.embed(["mail 2"])
    batch = corpus.batch(
        {"mem://m": ["mail 2"], ("mem://m", "x.txt"): ["x"]}, fence=corpus.fence(), version="v2", refused=[refused("z.txt")]
    )
    outcome = publish(corpus.pool, batch, everything)
    assert outcome.deleted_members == {doc("mem://m", "y.txt")}
    assert corpus.state("mem://m", "y.txt")[0] == "deleted"
    assert corpus.served("mem://m", "y.txt") == []
    assert corpus.served("mem://m", "z.txt") == ["z"]
    assert corpus.state("mem://m", "z.txt")[:2] == ("quarantined", "empty_text")
    assert corpus.served("mem://other") == ["o"]
    assert audit.audit(corpus.pool) == []


def test_a_chunk_of_another_shape_with_the_same_text_is_replaced(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["one"]})
    batch = corpus.batch({"mem://a": ["one"]}, fence=corpus.fence(), version="v2")
    moved = [row._replace(heading_path=("Other",), kind="table") for row in batch.chunks]
    publish(corpus.pool, Batch(batch.run_id, batch.fence, batch.space, batch.documents, moved), everything)
    assert corpus.rows("SELECT heading_path, kind FROM chunk") == [(["Other"], "table")]
    assert audit.audit(corpus.pool) == []


def test_a_connection_lost_around_commit_is_settled_by_the_commit_token(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.embed(["one"])
    batch = corpus.batch({"mem://a": ["one"]}, fence=corpus.fence())
    commit = psycopg.Connection.commit
    lost: list[int] = []

    def commit_and_lose_the_answer(conn: psycopg.Connection) -> None:
        commit(conn)
        if not lost:
            lost.append(1)
            conn.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(psycopg.Connection, "commit", commit_and_lose_the_answer)
    outcome = publish(corpus.pool, batch, nothing)
    assert lost
    assert outcome.loaded == {doc("mem://a")}
    assert corpus.served("mem://a") == ["one"]
    assert audit.audit(corpus.pool) == []


def test_a_backend_killed_before_commit_is_tried_again(corpus: Corpus, dsn: str) -> None:
    corpus.embed(["one", "mine"])
    corpus.load({"mem://a": ["one"]})
    batch = corpus.batch({"mem://a": ["mine"]}, fence=corpus.fence(), expected=0, version="v2")
    killed: list[tuple[bool]] = []

    def kill_the_writer(doc_ids):
        if not killed:
            with psycopg.connect(dsn, application_name="assassin") as conn:
                killed.extend(
                    conn.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND application_name = 'millrace' "
                        "AND state = 'idle in transaction'"
                    ).fetchall()
                )
        return set(doc_ids)

    assert publish(corpus.pool, batch, kill_the_writer).loaded == {doc("mem://a")}
    assert killed == [(True,)]
    assert corpus.served("mem://a") == ["mine"]
    assert audit.audit(corpus.pool) == []


def test_a_random_history_ends_as_its_highest_fences_say(corpus: Corpus) -> None:
    """Attempts of random documents in random order, some of them repeated."""
    rng = random.Random(20261122)
    texts = [f"sentence {i}" for i in range(12)]
    corpus.embed(texts)
    batches = []
    for fence in [corpus.fence() for _ in range(12)]:
        content = {f"mem://{n}": rng.sample(texts, rng.randint(1, 5)) for n in rng.sample("abcde", rng.randint(1, 4))}
        batches.append((content, corpus.batch(content, fence=fence, version=f"v{fence}", expected=0)))
    rng.shuffle(batches)
    truth: dict[str, tuple[int, list[str]]] = {}
    for content, batch in batches + rng.sample(batches, 4):
        publish(corpus.pool, batch, everything)
        for uri, parts in content.items():
            truth[uri] = max(truth.get(uri, (0, [])), (batch.fence, parts))
    assert {uri: corpus.served(uri) for uri in truth} == {uri: parts for uri, (_, parts) in truth.items()}
    assert audit.audit(corpus.pool) == []


def test_the_vector_table_holds_each_text_once(corpus: Corpus) -> None:
    corpus.load({f"mem://{i}": ["boilerplate", f"own {i}"] for i in range(5)})
    with corpus.pool.connection() as conn:
        rows = conn.execute(sql.SQL("SELECT count(*) FROM {}").format(corpus.space.table)).fetchone()
    assert rows == (6,)


@pytest.mark.parametrize("position", [0, 2, 6])
def test_a_refused_document_names_the_chunk_at_fault(corpus: Corpus, position: int) -> None:
    texts = [f"passage {number}" for number in range(7)]
    corpus.load({"mem://a": ["served before"]})
    corpus.embed(texts)
    batch = corpus.batch({"mem://a": texts, "mem://b": texts[:1]}, fence=corpus.fence(), version="v2")
    rows = [
        row._replace(body="a\x00b") if row.doc_id == doc("mem://a") and row.ordinal == position else row
        for row in batch.chunks
    ]
    outcome = publish(corpus.pool, replace(batch, chunks=rows), everything)
    (rejected,) = outcome.rejected
    assert rejected.detail.startswith(f"chunk {position + 1} of 7: ")
    assert outcome.loaded == {doc("mem://b")}
    assert corpus.served("mem://a") == ["served before"]
    assert audit.audit(corpus.pool) == []


def test_a_document_refused_for_itself_blames_no_chunk(corpus: Corpus) -> None:
    corpus.embed(["one", "two", "three"])
    batch = corpus.batch({"mem://a": ["one", "two", "three"]}, fence=corpus.fence())
    documents = [replace(row, content_sha=b"short", title="\ud800") for row in batch.documents]
    (rejected,) = publish(corpus.pool, replace(batch, documents=documents), everything).rejected
    assert "chunk" not in rejected.detail

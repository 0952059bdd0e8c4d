"""The two ways of publish: new documents straight into the tables, others merged; which is taken, what each leaves alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipelines.records import sha256
from pipelines.store import audit, writing
from pipelines.store.batch import Batch, commit_token
from pipelines.store.database import open_pool
from pipelines.store.publish import publish
from tests.integration.store.corpus import Corpus, doc, everything

pytestmark = pytest.mark.integration


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the COPY statements that publish runs."""
    names: list[str] = []
    copy = writing._copy

    def noted(conn: Any, statement: str, *rest: Any) -> None:
        names.append(statement)
        copy(conn, statement, *rest)

    monkeypatch.setattr(writing, "_copy", noted)
    return names


STRAIGHT = ["copy_documents", "copy_texts", "copy_chunks"]
MERGED = ["copy_staged_documents", "copy_staged_texts", "copy_chunks"]


def versions(corpus: Corpus, table: str, key: str) -> dict[Any, str]:
    return dict(corpus.rows(f"SELECT {key}, xmin::text || ctid::text FROM {table}"))


def test_new_documents_go_straight_into_the_tables_and_others_are_merged(corpus: Corpus, copied: list[str]) -> None:
    corpus.load({"mem://a": ["one"], "mem://b": ["two"]})
    assert copied == STRAIGHT
    copied.clear()
    corpus.load({"mem://c": ["one", "three"]})
    assert copied == STRAIGHT, "a known text does not make a document known"
    copied.clear()
    corpus.load({"mem://a": ["four"], "mem://d": ["five"]}, version="v2")
    assert copied == MERGED
    assert corpus.served("mem://a") == ["four"]
    assert audit.audit(corpus.pool) == []


def test_a_merge_touches_no_row_that_stays_as_it_is(corpus: Corpus) -> None:
    corpus.load({f"mem://{i}": [f"{i} stays", "shared", f"{i} goes"] for i in range(5)})
    space = f"millrace.space_{corpus.space.id}"
    tables = (("chunk", "(doc_id, ordinal)"), ("text", "text_sha"), (space, "text_sha"))
    before = [versions(corpus, *table) for table in tables]
    outcome = corpus.load({f"mem://{i}": [f"{i} stays", "shared", f"{i} comes"] for i in range(4)}, version="v2")
    after = [versions(corpus, *table) for table in tables]
    assert (outcome.chunks_written, outcome.chunks_kept, outcome.chunks_retired) == (4, 8, 4)
    assert [sum(then.get(key) == value for key, value in now.items()) for then, now in zip(before, after, strict=True)] == [
        11,  # chunks: 15, 4 of which replaced in place
        11,  # texts: all, as nothing is collected here
        11,
    ]
    assert len(after[1]) == len(after[2]) == 15
    assert audit.audit(corpus.pool) == []


def test_a_rival_that_was_first_with_a_document_turns_the_way_to_the_merge(corpus: Corpus, copied: list[str]) -> None:
    """Both find the document unknown; the one with the higher fence comes second and meets the other's row."""
    corpus.embed(["mine", "theirs", "mine too"])
    older, newer = corpus.fence(), corpus.fence()
    mine = corpus.batch({"mem://a": ["mine"], "mem://b": ["mine too"]}, fence=newer, version="v2", expected=0)
    with ThreadPoolExecutor(1) as background:
        with corpus.pool.connection() as rival:
            rival.execute(
                "INSERT INTO document (doc_id, collection, source, uri, source_version, pipeline_fingerprint, state, fence,"
                " commit_token, run_id) VALUES (%s, 'knowledge', 'memory', 'mem://a', 'v1', 'p', 'deleted', %s, %s, %s)",
                (doc("mem://a"), older, commit_token(older, doc("mem://a"), "deleted"), corpus.run.id),
            )
            waiting = background.submit(publish, corpus.pool, mine, everything)
            while not corpus.rows("SELECT 1 FROM pg_locks WHERE NOT granted"):
                pass
        assert waiting.result().loaded == {doc("mem://a"), doc("mem://b")}
    assert copied == ["copy_documents", *MERGED]
    assert corpus.served("mem://a") == ["mine"]
    assert audit.audit(corpus.pool) == []


def test_a_rival_that_was_first_with_a_text_turns_the_way_to_the_merge(corpus: Corpus, copied: list[str]) -> None:
    corpus.embed(["shared", "own"])
    batch = corpus.batch({"mem://a": ["shared", "own"]}, fence=corpus.fence())
    with ThreadPoolExecutor(1) as background:
        with corpus.pool.connection() as rival:
            rival.execute("INSERT INTO text (text_sha, body, lang) VALUES (%s, 'shared', 'en')", (sha256("shared"),))
            waiting = background.submit(publish, corpus.pool, batch, everything)
            while not corpus.rows("SELECT 1 FROM pg_locks WHERE NOT granted"):
                pass
        assert waiting.result().loaded == {doc("mem://a")}
    assert copied == ["copy_documents", "copy_texts", *MERGED]
    assert corpus.served("mem://a") == ["shared", "own"]
    assert audit.audit(corpus.pool) == []


def test_an_altered_text_is_restored_by_either_way(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["one"], "mem://b": ["two"]})
    corpus.damage("UPDATE text SET body = body || ' and a lie'")
    corpus.load({"mem://new": ["one"]})
    corpus.load({"mem://b": ["two", "three"]}, version="v2")
    assert (corpus.served("mem://new"), corpus.served("mem://b")) == (["one"], ["two", "three"])
    assert audit.audit(corpus.pool) == []


def test_a_body_that_is_not_the_text_of_its_hash_is_refused(corpus: Corpus) -> None:
    """It would stand for every document with that text."""
    corpus.embed(["one", "two"])
    batch = corpus.batch({"mem://a": ["one"], "mem://b": ["one", "two"]}, fence=corpus.fence())
    rows = [row._replace(body="a lie") if row.doc_id == doc("mem://b") and row.ordinal == 0 else row for row in batch.chunks]
    outcome = publish(corpus.pool, Batch(batch.run_id, batch.fence, batch.space, batch.documents, rows), everything)
    assert outcome.loaded == {doc("mem://a")}
    (rejected,) = outcome.rejected
    assert rejected.detail.startswith("chunk 1 of 2: ")
    assert corpus.served("mem://a") == ["one"]


def test_commit_tokens_are_the_databases(corpus: Corpus) -> None:
    for fence, doc_id, action in ((1, bytes(32), "loaded"), (2**40, sha256("x"), "deleted")):
        assert corpus.rows("SELECT commit_token(%s::bigint, %s, %s)", fence, doc_id, action) == [
            (commit_token(fence, doc_id, action),)
        ]


def test_what_publish_asks_is_answered_by_keys_even_when_the_planner_knows_nothing(corpus: Corpus, dsn: str) -> None:
    """No statement reads a whole table: that would cost more with each batch of a load, before anything analyses it."""
    names = ["document", "text", "chunk", f"space_{corpus.space.id}", "embedding_cache"]
    texts = [f"text {i}" for i in range(400)]
    with open_pool(dsn, 1) as pool:  # one session, so that its statistics can be had at once
        alone = Corpus(pool, corpus.space, corpus.run)

        def reads() -> dict[str, tuple[int, int]]:
            alone.rows("SELECT pg_stat_force_next_flush()")
            found = alone.rows(
                "SELECT relname, seq_tup_read, idx_tup_fetch FROM pg_stat_user_tables WHERE relname = ANY(%s)", names
            )
            return {name: (sequential, fetched) for name, sequential, fetched in found}

        alone.load({f"mem://{i}": texts[4 * i : 4 * i + 4] for i in range(100)})
        again = {f"mem://{i}": [f"other {i}", *texts[4 * i + 1 : 4 * i + 4]] for i in range(100)}
        alone.embed([parts[0] for parts in again.values()])
        batch = alone.batch(again, fence=alone.fence(), version="v2")
        single = alone.batch({"mem://1": texts[:4]}, fence=alone.fence(), version="v3", expected=batch.fence)
        before = reads()
        assert len(publish(pool, batch, everything).loaded) == 100
        between = reads()
        assert len(publish(pool, single, everything).loaded) == 1
        after = reads()
    assert {name: between[name][0] - before[name][0] for name in names} == dict.fromkeys(names, 0)
    assert {name: after[name][0] - between[name][0] for name in names} == dict.fromkeys(names, 0)
    assert all(after[name][1] - between[name][1] < 60 for name in names), (between, after)

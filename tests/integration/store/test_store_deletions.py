"""Deletions: fenced, with attachments, kept in the past; held ones wait for a person and never outlive a reappearance."""

from __future__ import annotations

import pytest

from pipelines.records import sha256
from pipelines.store import audit, collect, deletions, ledger, vectors
from tests.integration.store.corpus import SOURCE, Corpus, doc

pytestmark = pytest.mark.integration


def delete(corpus: Corpus, *uris: str, fence: int | None = None) -> deletions.Deleted:
    return deletions.delete(
        corpus.pool, run_id=corpus.run.id, fence=fence or corpus.fence(), doc_ids=[doc(uri) for uri in uris]
    )


def later_run(corpus: Corpus) -> ledger.Run:
    fence = ledger.next_fence(corpus.pool)
    return ledger.start_run(corpus.pool, source=SOURCE, collection="knowledge", door="cli", scope="mem://", fence=fence)


def decided(corpus: Corpus, decision: str | None) -> set[bytes]:
    return {hold.doc_id for hold in deletions.standing(corpus.pool, SOURCE) if hold.decision == decision}


def test_a_deleted_object_takes_its_attachments_and_leaves_the_past(corpus: Corpus) -> None:
    corpus.load({"mem://m": ["mail"], ("mem://m", "x"): ["x"], "mem://n": ["stays"]})
    result = delete(corpus, "mem://m", "mem://unknown")
    assert result.deleted == {doc("mem://m")}
    assert result.members == {doc("mem://m", "x")}
    assert corpus.rows("SELECT body FROM chunk_past ORDER BY body") == [("mail",), ("x",)]
    assert (corpus.served("mem://m"), corpus.served("mem://n")) == ([], ["stays"])
    assert audit.audit(corpus.pool) == []


def test_a_newer_document_survives_an_older_deletion_with_all_its_attachments(corpus: Corpus) -> None:
    stale = corpus.fence()
    corpus.load({"mem://m": ["mail"], ("mem://m", "x"): ["x"], "mem://n": ["n"]})
    corpus.rows("UPDATE document SET fence = 0 WHERE doc_id = ANY(%s)", [doc("mem://m", "x"), doc("mem://n")])
    result = delete(corpus, "mem://m", "mem://n", fence=stale)
    assert result.superseded == {doc("mem://m")}
    assert result.deleted == {doc("mem://n")}
    assert corpus.served("mem://m", "x") == ["x"]


def test_a_repeated_deletion_reports_the_same(corpus: Corpus) -> None:
    corpus.load({"mem://m": ["mail"], ("mem://m", "x"): ["x"]})
    fence = corpus.fence()
    assert delete(corpus, "mem://m", fence=fence) == delete(corpus, "mem://m", fence=fence)
    assert corpus.rows("SELECT count(*) FROM chunk_past") == [(2,)]


def test_a_deleted_document_can_come_back(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["one"]})
    delete(corpus, "mem://a")
    collect.collect(corpus.pool, cache_days=30)
    assert corpus.load({"mem://a": ["one"]}).loaded == {doc("mem://a")}
    assert corpus.served("mem://a") == ["one"]
    assert audit.audit(corpus.pool) == []


def test_held_deletions_wait_are_approved_and_then_carried_out_once(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a"], "mem://b": ["b"]})
    run = later_run(corpus)
    pairs = [(doc("mem://a"), "mem://a"), (doc("mem://b"), "mem://b")]
    assert deletions.hold(corpus.pool, run.id, SOURCE, pairs) == 2
    assert deletions.hold(corpus.pool, later_run(corpus).id, SOURCE, pairs) == 0
    assert [(hold.run_id, hold.uri) for hold in deletions.open_holds(corpus.pool)] == [
        (run.id, "mem://a"),
        (run.id, "mem://b"),
    ]
    assert decided(corpus, "approved") == set()
    assert deletions.approve(corpus.pool, run.id, "ada") == 2
    assert decided(corpus, "approved") == {doc("mem://a"), doc("mem://b")}
    delete(corpus, "mem://a")
    assert decided(corpus, "approved") == {doc("mem://b")}
    assert corpus.rows("SELECT DISTINCT decided_by FROM held_deletion") == [("ada",)]


def test_an_old_approval_does_not_reach_a_document_written_since(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a"]})
    run = later_run(corpus)
    deletions.hold(corpus.pool, run.id, SOURCE, [(doc("mem://a"), "mem://a")])
    deletions.approve(corpus.pool, run.id, "ada")
    corpus.load({"mem://a": ["a 2"]}, version="v2")
    assert decided(corpus, "approved") == set()


@pytest.mark.parametrize("first", [None, "approve", "reject"])
def test_a_reappearing_object_ends_its_hold_and_what_was_decided(corpus: Corpus, first: str | None) -> None:
    corpus.load({"mem://a": ["a"], "mem://b": ["b"]})
    run = later_run(corpus)
    deletions.hold(corpus.pool, run.id, SOURCE, [(doc("mem://a"), "mem://a"), (doc("mem://b"), "mem://b")])
    if first:
        getattr(deletions, first)(corpus.pool, run.id, "ada")
    assert deletions.reappeared(corpus.pool, SOURCE, [doc("mem://a")]) == 1
    assert (deletions.approve(corpus.pool, run.id, "bob"), first == "approve") in [(1, False), (0, True)]
    assert decided(corpus, "approved") == {doc("mem://b")}


def test_a_decision_can_be_replaced_until_it_is_carried_out_and_keeps_who_took_it(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a"]})
    run = later_run(corpus)
    deletions.hold(corpus.pool, run.id, SOURCE, [(doc("mem://a"), "mem://a")])
    assert deletions.reject(corpus.pool, run.id, "ada") == 1
    assert deletions.reject(corpus.pool, run.id, "eve") == 0
    assert (decided(corpus, None), decided(corpus, "rejected")) == (set(), {doc("mem://a")})
    assert [status.kept_deletions for status in ledger.source_status(corpus.pool)] == [1]
    assert corpus.rows("SELECT decided_by FROM held_deletion") == [("ada",)]
    assert deletions.approve(corpus.pool, run.id, "bob") == 1
    delete(corpus, "mem://a")
    assert deletions.reject(corpus.pool, run.id, "eve") == 0
    assert deletions.was_approved(corpus.pool, SOURCE, run.id)
    assert corpus.rows("SELECT decision, decided_by FROM held_deletion") == [("approved", "bob")]


def test_a_document_written_since_it_was_held_is_held_anew_by_the_next_run(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a"]})
    old = later_run(corpus)
    deletions.hold(corpus.pool, old.id, SOURCE, [(doc("mem://a"), "mem://a")])
    corpus.load({"mem://a": ["a 2"]}, version="v2")
    assert deletions.approve(corpus.pool, old.id, "ada") == 0
    new = later_run(corpus)
    assert deletions.hold(corpus.pool, new.id, SOURCE, [(doc("mem://a"), "mem://a")]) == 1
    assert [hold.run_id for hold in deletions.open_holds(corpus.pool)] == [new.id]


def test_nothing_is_left_to_decide_about_a_deleted_document(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a"]})
    deletions.hold(corpus.pool, later_run(corpus).id, SOURCE, [(doc("mem://a"), "mem://a")])
    delete(corpus, "mem://a")
    assert corpus.rows("SELECT decision FROM held_deletion") == [("superseded",)]
    assert [status.held_deletions for status in ledger.source_status(corpus.pool)] == [0]


def test_the_collector_removes_what_no_chunk_uses_and_keeps_the_cache_for_its_days(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["used", "shared"], "mem://b": ["shared", "gone"]})
    delete(corpus, "mem://b")
    assert collect.collect(corpus.pool, cache_days=30) == collect.Collected(texts=1, cached_vectors=0)
    assert corpus.rows("SELECT body FROM text ORDER BY body") == [("shared",), ("used",)]
    assert vectors.missing(corpus.pool, corpus.space, [sha256("gone"), sha256("never")]) == {sha256("never")}
    corpus.rows("UPDATE embedding_cache SET created_at = created_at - interval '31 days'")
    assert collect.collect(corpus.pool, cache_days=30) == collect.Collected(texts=0, cached_vectors=1)
    assert audit.audit(corpus.pool) == []

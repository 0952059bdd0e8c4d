"""The audit finds each damage by its name and nothing in a healthy corpus; the fingerprint compares final states."""

from __future__ import annotations

import pytest

from pipelines.records import Reason
from pipelines.store import audit, deletions, ledger, spaces
from pipelines.store.database import Pool
from tests.integration.store.corpus import SOURCE, Corpus, Identity, doc

pytestmark = pytest.mark.integration

A = doc("mem://a").hex()
OF_A0 = "WHERE text_sha = (SELECT text_sha FROM text WHERE body = 'a0')"
OF_A = f"WHERE doc_id = '\\x{A}'"

# check -> statements that plant it, and whether the finding names the document
DAMAGES = {
    "orphan_chunks": ([f"DELETE FROM document {OF_A}"], True),
    "orphan_chunks of texts": (
        [
            "DELETE FROM {space} WHERE text_sha = (SELECT text_sha FROM text WHERE body = 'a1')",
            "DELETE FROM text WHERE body = 'a1'",
        ],
        True,
    ),
    "chunk_count": ([f"DELETE FROM chunk {OF_A} AND ordinal = 2"], True),
    "chunk_count gap": ([f"UPDATE chunk SET ordinal = 9 {OF_A} AND ordinal = 2"], True),
    "chunk_digest": ([f"UPDATE chunk SET char_end = char_end + 1 {OF_A} AND ordinal = 1"], True),
    "mixed_chunk_sets": (
        [
            "INSERT INTO chunk_set (fingerprint, settings, tokenizer_sha, max_tokens) VALUES ('other', '{}', 't', 9)",
            f"UPDATE chunk SET chunk_set = (SELECT max(id) FROM chunk_set) {OF_A}",
            f"UPDATE document SET chunk_set = (SELECT max(id) FROM chunk_set) {OF_A}",
        ],
        True,
    ),
    "missing_vectors": (["DELETE FROM {space} WHERE text_sha = (SELECT text_sha FROM text WHERE body = 'a0')"], True),
    "vector_without_text": (
        [
            f"DELETE FROM chunk {OF_A}",
            f"UPDATE document SET state = 'deleted', loaded_version = NULL, chunk_count = 0 {OF_A}",
        ]
        + ["DELETE FROM text WHERE body LIKE 'a%'"],
        False,
    ),
    "bad_vector zero": (
        [
            "ALTER TABLE {space} DROP CONSTRAINT {space}_embedding_check",
            "UPDATE {space} SET embedding = '[0,0,0,0,0,0,0,0]' " + OF_A0,
        ],
        True,
    ),
    "bad_vector length": (
        ["UPDATE {space} SET embedding = embedding * '[2,2,2,2,2,2,2,2]' " + OF_A0],
        True,
    ),
    "no_chunks": ([f"DELETE FROM chunk {OF_A}"], True),
    "unserved_chunks": (
        [f"UPDATE document SET state = 'deleted', loaded_version = NULL, chunk_count = 0 {OF_A}"],
        True,
    ),
    "quarantine_without_entry": ([f"UPDATE document SET state = 'quarantined', reason = 'malformed' {OF_A}"], True),
    "run_missing": ([f"UPDATE document SET run_id = 999 {OF_A}"], True),
    "accounting": (["UPDATE run SET state = 'succeeded', listed = 3, counts = '{\"loaded\": 2, \"deleted\": 1}'"], False),
    "accounting without listing": (["UPDATE run SET listed = NULL"], False),
}


@pytest.fixture
def healthy(corpus: Corpus) -> Corpus:
    """Loaded, quarantined, deleted and re-added documents, and a run that adds up."""
    corpus.load({"mem://a": ["a0", "a1", "a2"], "mem://b": ["b0", "b1"], "mem://c": ["c0"], ("mem://b", "x"): ["x0"]})
    corpus.reject("mem://c", Reason.MALFORMED, version="v2")
    corpus.reject("mem://d", Reason.NEEDS_OCR)
    corpus.load({"mem://e": ["e0"]})
    deletions.delete(corpus.pool, run_id=corpus.run.id, fence=corpus.fence(), doc_ids=[doc("mem://e")])
    counts = {"loaded": 2, "quarantined": 2, "unchanged": 0, "excluded": 1, "deleted": 4}
    ledger.finish_run(corpus.pool, corpus.run.id, "succeeded", listed=5, counts=counts)
    return corpus


def test_a_healthy_corpus_has_no_finding(healthy: Corpus) -> None:
    assert audit.audit(healthy.pool) == []
    assert audit.audit(healthy.pool, SOURCE) == []


def test_a_database_without_any_space_has_no_finding(pool: Pool) -> None:
    assert audit.audit(pool) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_found_by_its_name_and_nothing_else(healthy: Corpus, damage: str) -> None:
    statements, names_document = DAMAGES[damage]
    name = f"space_{healthy.space.id}"
    healthy.damage(*(statement.replace("{space}", name) for statement in statements))
    findings = audit.audit(healthy.pool, SOURCE)
    assert damage.split()[0] in {finding.check for finding in findings}
    if names_document:
        assert A in {finding.doc_id for finding in findings}
    assert {finding.doc_id for finding in findings} <= {A, ""}
    assert all(finding.detail for finding in findings)


def test_another_sources_damage_is_not_this_sources(healthy: Corpus) -> None:
    healthy.damage(f"DELETE FROM chunk {OF_A}")
    assert audit.audit(healthy.pool, "other") == []
    assert [finding.check for finding in audit.audit(healthy.pool)] == ["no_chunks"]


def test_a_damaged_document_is_repaired_by_loading_it_again(healthy: Corpus) -> None:
    healthy.damage(f"DELETE FROM chunk {OF_A} AND ordinal > 0", f"DELETE FROM space_{healthy.space.id}")
    assert audit.audit(healthy.pool) != []
    healthy.load({"mem://a": ["a0", "a1", "a2"], "mem://b": ["b0", "b1"], ("mem://b", "x"): ["x0"], "mem://c": ["c0"]})
    assert audit.audit(healthy.pool) == []
    assert healthy.served("mem://a") == ["a0", "a1", "a2"]


def test_the_fingerprint_is_of_the_final_state_and_not_of_the_way_there(healthy: Corpus) -> None:
    before = audit.fingerprint(healthy.pool, "knowledge")
    healthy.load({"mem://a": ["other"]}, version="v2")
    changed = audit.fingerprint(healthy.pool, "knowledge")
    healthy.load({"mem://a": ["a0", "a1", "a2"]}, version="v3")
    assert changed != before
    assert audit.fingerprint(healthy.pool, "knowledge") == before
    healthy.damage(f"UPDATE space_{healthy.space.id} SET embedding = embedding * '[-1,-1,-1,-1,-1,-1,-1,-1]'")
    assert audit.fingerprint(healthy.pool, "knowledge") != before


def test_collections_are_audited_each_by_its_own_space(healthy: Corpus) -> None:
    spaces.ensure_space(
        healthy.pool, Identity("other", dim=3), collection="second", chunk_set=healthy.space.chunk_set, storage="vector"
    )
    assert audit.audit(healthy.pool) == []

"""Full text follows the texts: noted when they are written, analysed by a fold, mended when it is not what it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.records import sha256
from pipelines.store import audit, collect, lexicon, repair
from tests.integration.store.corpus import SOURCE, Corpus

pytestmark = pytest.mark.integration
ORPHAN = """
DO $$ BEGIN
    SET LOCAL session_replication_role = replica;
    INSERT INTO millrace.lexical VALUES ('public', sha256('x'), 'lie', 0, 1);
END $$
"""


def found(corpus: Corpus, word: str) -> list[bytes]:
    query = "SELECT text_sha FROM lexical WHERE tsv @@ %s::tsquery ORDER BY text_sha"
    return [bytes(sha) for (sha,) in corpus.rows(query, word)]


def assert_counted(corpus: Corpus) -> None:
    """What is kept is what is there."""
    live = "SELECT tenant, lexeme, count(*) FROM lexical, unnest(tsvector_to_array(tsv)) AS lexeme GROUP BY tenant, lexeme"
    whole = "SELECT tenant, count(*), sum(words) FROM lexical GROUP BY tenant"
    for kept, true in (("SELECT * FROM term", live), ("SELECT * FROM lexicon WHERE texts > 0", whole)):
        assert sorted(corpus.rows(kept)) == sorted(corpus.rows(true))


def test_a_fold_analyses_what_was_published_since_the_last_one(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["harbour cranes", "tide tables"]})
    assert (lexicon.lag(corpus.pool).texts, found(corpus, "crane")) == (2, [])
    assert lexicon.fold(corpus.pool) == 2
    assert (lexicon.lag(corpus.pool).texts, found(corpus, "crane")) == (0, [sha256("harbour cranes")])
    corpus.load({"mem://b": ["harbour cranes", "rope"]})
    assert lexicon.fold(corpus.pool) == 1, "a text that is there already is not written again"
    assert_counted(corpus)
    corpus.load({"mem://a": ["harbour cranes"]}, version="v2")
    collect.collect(corpus.pool, cache_days=30)
    assert found(corpus, "tide") == []
    assert lexicon.lag(corpus.pool) == (0, 1), "the collector notes what it removed and counts nothing"
    assert audit.audit(corpus.pool) == [], "what is noted is no damage"
    lexicon.fold(corpus.pool)
    assert lexicon.lag(corpus.pool) == (0, 0)
    assert_counted(corpus)


def test_the_words_of_a_replaced_document_do_not_wait_for_a_fold(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["harbour cranes", "tide tables"]})
    lexicon.fold(corpus.pool)
    corpus.load({"mem://b": ["mooring buoys"]})
    corpus.load({"mem://a": ["harbour cranes", "mooring buoys", "rope"], "mem://c": ["anchors"]}, version="v2")
    assert found(corpus, "rope | crane") == sorted([sha256("rope"), sha256("harbour cranes")])
    assert found(corpus, "buoy") == [sha256("mooring buoys")], "though it pends for another document"
    assert found(corpus, "anchor") == [], "a new document's may wait"
    assert lexicon.lag(corpus.pool) == (2, 2), "rope is analysed and pends no more"
    lexicon.fold(corpus.pool)
    assert_counted(corpus)
    assert audit.audit(corpus.pool) == []


def test_folds_at_once_and_beside_the_collector_lose_nothing(corpus: Corpus) -> None:
    with ThreadPoolExecutor(4) as threads:
        for number in range(12):
            corpus.load({"mem://a": [f"berth {number}"], "mem://b": [f"buoy {number}"]}, version=f"v{number}")
            work = [threads.submit(lexicon.fold, corpus.pool) for _ in range(3)]
            work.append(threads.submit(lambda: collect.collect(corpus.pool, cache_days=30).texts))
            for task in work:
                task.result()
    lexicon.fold(corpus.pool)
    collect.collect(corpus.pool, cache_days=30)
    assert set(found(corpus, "berth | buoy")) == {sha256("berth 11"), sha256("buoy 11")}
    assert audit.audit(corpus.pool) == []
    lexicon.fold(corpus.pool)
    assert_counted(corpus)


def test_a_fold_that_is_cut_short_anywhere_leaves_the_statistics_exact(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lexicon, "SLICE", 2)
    monkeypatch.setattr(lexicon, "SUMMED", 2)
    corpus.load({"mem://a": ["harbour cranes", "tide tables", "harbour dues"]})
    lexicon._analyse(corpus.pool, "public")
    assert lexicon.lag(corpus.pool) == (1, 2)
    assert audit.audit(corpus.pool) == []
    corpus.load({"mem://a": ["harbour dues", "quay"]}, version="v2")
    collect.collect(corpus.pool, cache_days=30)
    lexicon._sum(corpus.pool, "public")
    assert audit.audit(corpus.pool) == []
    lexicon.fold(corpus.pool)
    assert lexicon.lag(corpus.pool) == (0, 0)
    assert_counted(corpus)


@pytest.mark.parametrize(
    ("damage", "checks"),
    [
        ("DELETE FROM lexical", {"wrong_terms"}),
        ("UPDATE lexical SET tsv = 'lie'", {"wrong_terms"}),
        ("UPDATE lexical SET words = words + 1", {"wrong_terms"}),
        (ORPHAN, {"terms_without_text", "term_statistics"}),
        ("UPDATE term SET texts = texts + 1", {"term_statistics"}),
        ("DELETE FROM term", {"term_statistics"}),
        ("UPDATE lexicon SET words = 0", {"term_statistics"}),
    ],
)
def test_damage_is_found_and_undone_by_repair_and_the_next_fold(corpus: Corpus, damage: str, checks: set[str]) -> None:
    corpus.load({"mem://a": ["harbour cranes"]})
    lexicon.fold(corpus.pool)
    corpus.rows(damage)
    findings = audit.audit(corpus.pool)
    assert {finding.check for finding in findings} == checks
    repaired = repair.prepare_repair(corpus.pool, findings, source=SOURCE, run_id=corpus.run.id)
    assert not repaired.broken, "no document is read again for it"
    lexicon.fold(corpus.pool)
    assert audit.audit(corpus.pool) == []
    assert found(corpus, "crane") == [sha256("harbour cranes")]
    assert found(corpus, "lie") == []
    assert_counted(corpus)

"""What was served then is found then, with replaced and deleted passages, and nothing that came later."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from pipelines.errors import FixConfiguration
from pipelines.records import document_id
from pipelines.search import as_of, hybrid, neighbours
from pipelines.search.as_of import Then, search
from pipelines.search.query import Filters, Mode, Query
from pipelines.store import lexicon
from pipelines.store.database import Pool
from tests.integration.search.corpus import DIM, Corpus, Doc, literal, unit

pytestmark = pytest.mark.integration
MODES: tuple[Mode, ...] = ("hybrid", "dense", "text")
DAY = timedelta(days=1)
START = datetime(2026, 3, 1, tzinfo=UTC)
VECTORS = unit(np.random.default_rng(1), 5, DIM)


@pytest.fixture
def space(corpus: Corpus) -> int:
    """From day 1 `changed` has two passages and `gone` is there; on day 3 they are replaced and deleted, and `new` comes."""
    made = corpus.space()
    corpus.add(made, Doc("kept", ["harbour dues are paid monthly"], VECTORS[:1]))
    corpus.add(made, Doc("changed", ["the ferry sails hourly", "harbour dues are waived"], VECTORS[1:3]))
    corpus.add(made, Doc("gone", ["harbour dues of the quay"], VECTORS[3:4], state="deleted", metadata={"access": ["crew"]}))
    corpus.add(made, Doc("new", ["harbour dues are doubled"], VECTORS[4:5]))
    run = corpus.conn.execute
    run("UPDATE chunk SET valid_from = %s", [START + DAY])
    run("UPDATE document SET loaded_at = %s", [START + DAY])
    run("UPDATE chunk SET valid_from = %s WHERE doc_id = %s", [START + 3 * DAY, document_id("s", "new")])
    run("UPDATE run SET started_at = %s, finished_at = %s, state = 'succeeded'", [START, START + 2 * DAY])
    run(
        "WITH retired AS (DELETE FROM chunk WHERE doc_id = ANY (%s) RETURNING *)"
        " INSERT INTO chunk_past (tenant, chunk_set, doc_id, ordinal, text_sha, body, heading_path, char_start, char_end,"
        " tokens, lang, kind, valid_from, valid_to, run_id)"
        " SELECT r.tenant, r.chunk_set, r.doc_id, r.ordinal, r.text_sha, t.body, r.heading_path, r.char_start, r.char_end,"
        " r.tokens, r.lang, r.kind, r.valid_from, %s, %s FROM retired r JOIN text t USING (tenant, text_sha)",
        [[document_id("s", "changed"), document_id("s", "gone")], START + 3 * DAY, corpus.run],
    )
    run(
        "INSERT INTO chunk (chunk_set, doc_id, ordinal, text_sha, char_start, char_end, tokens, lang, valid_from)"
        " SELECT chunk_set, %s, 0, text_sha, 0, 24, 9, lang, %s FROM chunk WHERE doc_id = %s",
        [document_id("s", "changed"), START + 3 * DAY, document_id("s", "new")],
    )
    run("UPDATE document SET loaded_at = %s WHERE uri IN ('changed', 'new')", [START + 3 * DAY])
    return made


def asked(pool: Pool, moment: Any, mode: Mode = "hybrid", **filters: Any) -> Then:
    query = Query("what harbour dues?", "k", mode=mode, filters=Filters(**filters), as_of=moment)
    return search(pool, query, None if mode == "text" else VECTORS[2])


def seen(then: Then) -> set[tuple[str, str]]:
    return {(uri, hit.passage) for hit in then.hits for uri in (hit.uri, *(place.uri for place in hit.also))}


OLD = {
    ("kept", "harbour dues are paid monthly"),
    ("changed", "harbour dues are waived"),
    ("gone", "harbour dues of the quay"),
}
NEW = {
    ("kept", "harbour dues are paid monthly"),
    ("new", "harbour dues are doubled"),
    ("changed", "harbour dues are doubled"),
}
FERRY = ("changed", "the ferry sails hourly")


@pytest.mark.parametrize("mode", MODES)
def test_each_moment_has_its_own_passages(pool: Pool, space: int, mode: Mode) -> None:
    by_vector = set() if mode == "text" else {FERRY}
    assert seen(asked(pool, START + 2 * DAY, mode)) == OLD | by_vector
    assert seen(asked(pool, START + 4 * DAY, mode)) == NEW
    assert seen(asked(pool, START + DAY / 2, mode)) == set()
    assert seen(asked(pool, START + 2 * DAY, mode, principals=("nobody",), open_sources=("s",))) == (OLD | by_vector) - {
        ("gone", "harbour dues of the quay")
    }


def test_a_run_is_its_end_and_versions_are_said_where_they_are_known(corpus: Corpus, pool: Pool, space: int) -> None:
    then = asked(pool, corpus.run)
    assert then.moment == START + 2 * DAY
    assert then.notes == (f"as of {then.moment.isoformat()}, the end of run {corpus.run}",)
    assert {hit.uri: hit.source_version for hit in then.hits} == {"kept": "1", "changed": "", "gone": ""}
    assert then.hits[0].passage == "harbour dues are waived"
    assert then.hits[0].similarity == pytest.approx(1, abs=1e-2)


def test_texts_that_are_collected_are_found_by_their_words_and_the_rest_is_said(
    corpus: Corpus, pool: Pool, space: int
) -> None:
    corpus.conn.execute(f"DELETE FROM space_{space} WHERE text_sha NOT IN (SELECT text_sha FROM chunk)")
    corpus.conn.execute("DELETE FROM text WHERE text_sha NOT IN (SELECT text_sha FROM chunk)")
    moment = START + 2 * DAY
    then = asked(pool, moment)
    assert seen(then) == OLD
    assert [hit.similarity is None for hit in then.hits].count(True) == 2
    assert "3 of 4 texts of then have no vector of 'm' any more: they were found by their words only" in then.notes
    assert seen(asked(pool, moment, "dense")) == {("kept", "harbour dues are paid monthly")}
    assert "not searched" in asked(pool, moment, "dense").notes[-1]
    corpus.conn.execute(
        "INSERT INTO embedding_cache (embedder_fingerprint, text_sha, embedding) SELECT 'm', text_sha, %s::vector"
        " FROM chunk_past WHERE body LIKE '%%waived'",
        [literal(VECTORS[2])],
    )
    assert asked(pool, moment, "dense").hits[0].passage == "harbour dues are waived"


@pytest.mark.parametrize("mode", MODES)
def test_scores_of_then_are_those_that_a_search_gave_then(corpus: Corpus, pool: Pool, mode: Mode) -> None:
    made, rng = corpus.space(), np.random.default_rng(5)
    for n in range(9):
        corpus.add(made, Doc(f"u{n}", [f"berth {n}", "harbour dues", f"what is due at berth {n}"], unit(rng, 3, DIM)))
    corpus.conn.execute("UPDATE run SET state = 'succeeded', finished_at = clock_timestamp()")
    lexicon.fold(pool)
    query = Query("what harbour dues at berth 3?", "k", mode=mode)
    vector = None if mode == "text" else VECTORS[2]
    now = hybrid.search(pool, query, vector)
    [moment] = corpus.conn.execute("SELECT clock_timestamp()").fetchone() or ()
    then = search(pool, replace(query, as_of=moment), vector)
    assert [(hit.uri, hit.ordinal) for hit in then.hits] == [(hit.uri, hit.ordinal) for hit in now]
    assert [hit.score for hit in then.hits] == pytest.approx([hit.score for hit in now])


def test_neighbours_are_those_of_then(pool: Pool, space: int) -> None:
    then = asked(pool, START + 2 * DAY)
    query = Query("x", "k", as_of=START + 2 * DAY)
    stretches = neighbours.stretches(then.hits, as_of.around(pool, then.hits, query, 2), 1)
    assert {stretch.text for stretch in stretches} == {
        "the ferry sails hourly harbour dues are waived", "harbour dues are paid monthly", "harbour dues of the quay",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        (START - DAY, "its first run began at 2026-03-01"),
        (datetime(2099, 1, 1, tzinfo=UTC), "is not over yet"),
        (4711, "there is no such run"),
        (datetime(2026, 3, 2), "has no time zone"),
    ],
)
def test_moments_that_cannot_be_answered_for(pool: Pool, space: int, moment: Any, message: str) -> None:
    with pytest.raises(FixConfiguration, match=message) as error:
        asked(pool, moment)
    assert "\n" not in str(error.value)

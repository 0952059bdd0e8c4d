"""An explanation's parts add up to the score, and it says what did not run."""

from __future__ import annotations

import pytest

from pipelines.search import explain
from pipelines.search.explain import Facts, TermUse, Watch
from pipelines.search.fulltext import Term, Terms, contribution
from pipelines.search.fusion import fuse
from pipelines.search.query import Filters, Query
from pipelines.search.surroundings import mixed
from pipelines.store.spaces import Space
from pipelines.terminal_search import explanation as printed
from tests.unit.search.test_answer import hit

SPACE = Space(3, "public", "k", 1, "mini", "0123456789abcdef", "f", 384, "f32", "halfvec", 256, "active", 3)
AROUND = 1.5  # relevance of the passages around the hit
TERMS = Terms((Term("rope", "'rope'", 3, 2.0), Term("it's", "'it''s'", 9, 0.5)), 10.0)


def watched(reach: int = 0) -> Watch:
    adds = contribution(TERMS.known[0], 2, 12, TERMS.mean)
    key = (hit("a", "").doc_id, 0)
    uses = {key: (TermUse("rope", 2, 2.0, adds),)}
    facts = Facts(SPACE, TERMS, {key: 1}, {key: adds}, {key: AROUND}, uses, None, 7, reach, 4000, (5, 6))
    return Watch(True, {"words": 0.25}, facts)


def test_the_parts_add_up_to_the_score() -> None:
    adds = contribution(TERMS.known[0], 2, 12, TERMS.mean)
    (score,) = fuse({b"a": 0.5}, mixed({b"a": adds}, {b"a": AROUND}), TERMS.information).values()
    found = hit("a", "The rope.", score=score, similarity=0.5, reranked=0.7)
    why = explain.explanation(Query("rope", "k"), [found], watched(), "none")
    [one] = why.hits
    assert one.from_vector + one.from_words == pytest.approx(one.score)
    assert sum(use.adds for use in one.terms) == pytest.approx(one.relevance)
    assert one.surroundings == AROUND
    assert (why.found_by_vector, why.found_by_words, why.pending_texts, why.pending_changes) == (None, 7, 5, 6)
    assert [term[0] for term in why.terms] == ["rope", "it's"]


@pytest.mark.parametrize(
    ("filters", "reach", "expected"),
    [(Filters(), 9, "none"), (Filters(lang="de"), 9, "exact: all 9"), (Filters(lang="de"), 4001, "more than 4000")],
)
def test_it_says_how_filters_were_applied(filters: Filters, reach: int, expected: str) -> None:
    why = explain.explanation(Query("rope", "k", filters=filters), [], watched(reach), "none")
    assert expected in why.filtering
    assert dict(why.filters) == ({"lang": "de"} if filters.any else {})


def test_people_get_a_table_and_machines_json() -> None:
    why = explain.explanation(Query("rope", "k"), [hit("a", "The rope.")], watched(), "none")
    text = printed(why)
    for part in ("space 3, mini 0123456789ab", "by vector: not asked; by words: 7", "rope ×2", "words 250 ms", "5 texts"):
        assert part in text
    assert why.as_dict()["hits"][0]["terms"][0]["term"] == "rope"


def test_nothing_is_explained_that_was_not_watched() -> None:
    with pytest.raises(ValueError, match="nothing was watched"):
        explain.explanation(Query("rope", "k"), [], Watch(), "none")

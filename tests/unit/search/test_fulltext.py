"""No text that could be among the best is left out of the second look, however many words the question has."""

from __future__ import annotations

import random
from itertools import product

import pytest

from pipelines.search import fulltext
from pipelines.search.fulltext import Term, any_of, at_least


def terms(*idf: float) -> list[Term]:
    return [Term(f"t{place}", f"'t{place}'", 10, value) for place, value in enumerate(idf)]


def matches(query: str, having: frozenset[str]) -> bool:
    return any(all(part in having for part in way.split(" & ")) for way in query.split(" | "))


@pytest.mark.parametrize("seed", range(20))
def test_every_set_of_words_that_could_reach_it_is_found(seed: int) -> None:
    rng = random.Random(seed)
    asked = terms(*(rng.uniform(0.01, 8) for _ in range(7)))
    relevance = rng.uniform(0, 1.1) * sum(term.most for term in asked)
    query = at_least(asked, relevance)
    for choice in product([False, True], repeat=len(asked)):
        having = [term for term, chosen in zip(asked, choice, strict=True) if chosen]
        if sum(term.most for term in having) > relevance:
            assert query is not None
            assert matches(query, frozenset(term.query for term in having))
        elif query is not None:
            assert not matches(query, frozenset(term.query for term in having)), "few words: nothing is found needlessly"


def test_words_that_can_lift_nothing_are_not_asked_for() -> None:
    assert at_least(terms(1, 2), 3 * (1 + fulltext.K1)) is None
    assert at_least([], 0) is None


def test_many_words_of_one_kind_make_no_long_query() -> None:
    asked = terms(*[1.0] * 40)
    for relevance in (0.5, 5, 20, 60, 80):
        query = at_least(asked, relevance)
        assert query is not None
        assert query.count(" | ") < fulltext.WAYS
        enough = [term.query for term in asked][: int(relevance / asked[0].most) + 1]
        assert matches(query, frozenset(enough))
    assert at_least(asked, 0) == any_of(asked)


def test_a_rare_word_tells_more_than_a_common_one_and_every_word_something() -> None:
    values = [fulltext._idf(texts, 1000) for texts in (0, 1, 10, 500, 1000, 1001)]
    assert values == sorted(values, reverse=True)
    assert values[-1] > 0


def test_the_rarest_word_is_weighed_and_common_ones_while_it_is_cheap() -> None:
    many = fulltext.AFFORDABLE
    assert fulltext._affordable([Term("a", "'a'", 2 * many, 1.0), Term("b", "'b'", 3 * many, 0.5)]) == 1
    assert (
        fulltext._affordable([Term("a", "'a'", 10, 3.0), Term("b", "'b'", many - 10, 1.0), Term("c", "'c'", many, 0.5)]) == 2
    )
    assert fulltext._affordable([Term("a", "'a'", 10, 3.0)]) == 1


def test_a_word_tells_as_much_in_each_of_its_forms_as_all_of_them_are_rare() -> None:
    forms = [("flows", "'flow'", 400), ("flows", "'flows'", 1), ("wing", "'wing'", 20)]
    found = fulltext.weighted(forms, 1000, 50_000)
    idf = {term.query: term.idf for term in found.known}
    assert idf["'flows'"] == idf["'flow'"] == pytest.approx(fulltext._idf(401, 1000))
    assert found.information == pytest.approx(idf["'flow'"] + idf["'wing'"])
    assert [term.query for term in found.known] == ["'wing'", "'flow'", "'flows'"]
    assert fulltext.weighted([("a", "'a'", 9), ("a", "'b'", 9)], 10, 10).known[0].idf > 0

"""What surrounds a passage: BM25 of a stretch, and how it is mixed with the passage's own."""

from __future__ import annotations

from math import log

import pytest

from pipelines.search import surroundings
from pipelines.search.fulltext import Term, Terms
from pipelines.search.surroundings import K1, SHARE, B

TERMS = Terms((Term("rope", "'rope'", 3, 2.0), Term("tow", "'tow'", 9, 0.5)), 10.0)


def test_a_stretch_is_weighed_as_one_text_against_the_mean_of_all_candidates() -> None:
    rows = [(b"a", 0, 60), (b"b", 0, 20), (b"a", 1, 3), (b"a", 2, 1), (b"b", 2, 2)]
    found = surroundings.weighed(TERMS, rows)
    longer, shorter = K1 * (1 - B + B * 60 / 40), K1 * (1 - B + B * 20 / 40)
    assert found[b"a"] == pytest.approx(2.0 * (1 + K1) * 3 / (3 + longer) + 0.5 * (1 + K1) / (1 + longer))
    assert found[b"b"] == pytest.approx(0.5 * (1 + K1) * 2 / (2 + shorter))


def test_the_order_of_rows_does_not_change_a_score() -> None:
    terms = Terms(tuple(Term(str(n), str(n), 1, log(n + 2)) for n in range(9)), 10.0)
    rows = [(b"a", 0, 50), *((b"a", n + 1, 1 + n % 4) for n in range(9))]
    assert surroundings.weighed(terms, rows) == surroundings.weighed(terms, rows[::-1])


@pytest.mark.parametrize("rows", [[(b"a", 0, 0)], [(b"a", 0, 9)]])
def test_a_stretch_without_words_of_the_question_or_any_adds_nothing(rows: list[tuple[bytes, int, int]]) -> None:
    assert surroundings.weighed(TERMS, rows) == {b"a": 0}


def test_a_passage_counts_with_its_own_words_and_with_those_around_it() -> None:
    assert surroundings.mixed({b"own": 2.0, b"both": 2.0}, {b"both": 4.0, b"around": 4.0}) == {
        b"own": (1 - SHARE) * 2.0,
        b"both": (1 - SHARE) * 2.0 + SHARE * 4.0,
        b"around": SHARE * 4.0,
    }

"""The switch bench can tell: hits of one space, of two, and of a question that was embedded by another model."""

from __future__ import annotations

from bench.switch import SEEDS, Prints
from pipelines.embed.hashing import Hashing
from tests.unit.search.test_answer import hit

QUESTION = "harbour03 tells of w7"
LONG = "Harbour03 sentence 1 tells of w1. Harbour03 sentence 2 tells of w7."
SHORT = "Harbour03 sentence 3 tells of w7."
PRINTS = Prints({1: ("first", frozenset({2})), 2: ("second", frozenset({2})), 3: ("second", frozenset({1}))})


def found(passage: str, question_by: str, passage_by: str):
    """A hit as a space of model `passage_by` gives it for a question embedded by `question_by`."""
    question, text = (
        Hashing(seed=SEEDS[name]).embed([words])[0] for name, words in ((question_by, QUESTION), (passage_by, passage))
    )
    return hit("u", passage, similarity=float(question @ text))


def test_hits_of_one_space_name_it():
    assert PRINTS.of(QUESTION, [found(LONG, "first", "first")]) == {1}
    assert PRINTS.of(QUESTION, [found(LONG, "second", "second")]) == {2}
    assert PRINTS.of(QUESTION, [found(SHORT, "second", "second")]) == {3}


def test_hits_of_two_spaces_or_of_a_foreign_question_name_none():
    assert PRINTS.of(QUESTION, [found(LONG, "first", "first"), found(LONG, "second", "second")]) == set()
    assert PRINTS.of(QUESTION, [found(LONG, "second", "second"), found(SHORT, "second", "second")]) == set()
    assert PRINTS.of(QUESTION, [found(LONG, "first", "second")]) == set()

"""Ways of searching that benchmarks are compared by, and what is said of the comparison: without a database."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.errors import FailRun
from pipelines.records import Hidden, Question
from pipelines.stages import agreement
from pipelines.store.benchmarks import Served

STORED = np.random.default_rng(1).normal(size=(200, 64)).astype(np.float32)
PASSAGES = [Served(f"file:///{row // 2}", "", [], row, row + 1, "x", "en", b"") for row in range(len(STORED))]


def ranking(name: str, question: Question) -> list[str]:
    form = agreement.FORMS[name]
    rank = agreement._exact(PASSAGES, agreement._unit(form(STORED)), {"q": STORED[42]}, form)
    return rank(question)


@pytest.mark.parametrize("name", agreement.FORMS)
def test_each_form_finds_the_passage_itself_first_and_the_rest_in_an_order_of_its_own(name: str) -> None:
    found = ranking(name, Question("1", "q", ()))
    assert found[0] == "file:///21"
    assert len(found) == len(set(found)) == 100
    exact = np.argsort(-(STORED @ STORED[42] / np.linalg.norm(STORED, axis=1)), kind="stable")
    whole = list(dict.fromkeys(PASSAGES[row].document for row in exact))
    assert found[:3] == whole[:3] if name == "in int8" else found != whole


def test_the_passage_that_a_question_was_made_from_does_not_count() -> None:
    hidden = Question("1", "q", (), hidden=Hidden("file:///21", 42, 44))
    assert "file:///21" not in ranking("in int8", hidden)


def test_what_is_said_to_a_person() -> None:
    means = {"served": (0.5, 0.6), "text": (0.4, 0.7)}
    told = agreement.Compared("k", "a/frozen v1", "b/rolling v2", "nDCG@10", means, 0.5, False, (("served", "text"),), "")
    assert told.text().splitlines() == [
        "a/frozen v1 and b/rolling v2 of k, nDCG@10: Kendall's tau 0.50 over 2 retrievers: not the same ranking, "
        "which takes 0.9",
        "  0.500  0.600  served",
        "  0.400  0.700  text",
        "  b/rolling v2 prefers text to served",
    ]
    agreement.require(told)
    unknown = agreement.Compared("k", "a", "b", "nDCG@10", {}, None, False, (), "a: it has no questions")
    assert "cannot tell: a: it has no questions" in unknown.text()
    with pytest.raises(FailRun, match="a and b of k: cannot tell: a: it has no questions"):
        agreement.require(unknown)

"""Scores of rankings: trec_eval's conventions, and what must not be scored quietly."""

from __future__ import annotations

import math

import pytest

from pipelines.errors import FixConfiguration
from pipelines.evaluate import metrics

NAMES = ["nDCG@10", "R@100", "RR@10", "Judged@10", "AP"]


def test_a_ranking_is_scored_in_its_order_with_linear_gains() -> None:
    qrels = {"q": {"a": 2, "b": 1}}
    scores = metrics.score(qrels, {"q": metrics.ranked(["x", "a", "b", "a"])}, NAMES)
    ideal = 2 + 1 / math.log2(3)
    assert scores["nDCG@10"]["q"] == pytest.approx((2 / math.log2(3) + 1 / 2) / ideal)
    assert (scores["R@100"]["q"], scores["RR@10"]["q"]) == (1.0, 0.5)
    assert scores["Judged@10"]["q"] == pytest.approx(2 / 3)


def test_equal_scores_are_ordered_by_name_the_greater_first_in_every_measure() -> None:
    scores = metrics.score({"q": {"a": 1}}, {"q": {"a": 1.0, "b": 1.0}}, NAMES)
    assert (scores["RR@10"]["q"], scores["AP"]["q"]) == (0.5, 0.5)
    assert metrics.ordered({"a": 1.0, "b": 1.0, "c": 2.0}) == ["c", "b", "a"]


def test_a_question_without_results_counts_nothing_and_one_without_judgments_is_not_scored() -> None:
    scores = metrics.score({"q": {"a": 1}, "r": {"a": 1}, "s": {}}, {"q": {}, "t": {"a": 1.0}}, NAMES)
    assert all(values == {"q": 0.0, "r": 0.0} for values in scores.values())
    assert metrics.score({}, {}, NAMES) == {name: {} for name in NAMES}


def test_negative_grades_alone_are_not_relevant() -> None:
    assert metrics.score({"q": {"a": -1}}, {"q": {"a": 1.0}}, ["nDCG@10"]) == {"nDCG@10": {"q": 0.0}}


def test_a_relevant_document_beyond_the_cut_counts_nothing() -> None:
    run = {"q": metrics.ranked([f"x{place}" for place in range(10)] + ["a"])}
    scores = metrics.score({"q": {"a": 1}}, run, ["nDCG@10", "RR@10", "RR", "Judged@10"])
    assert {name: values["q"] for name, values in scores.items()} == {
        "nDCG@10": 0.0, "RR@10": 0.0, "RR": pytest.approx(1 / 11), "Judged@10": 0.0
    }  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_named(value: float) -> None:
    with pytest.raises(ValueError, match="question 'q': document 'a' has the score"):
        metrics.score({"q": {"a": 1}}, {"q": {"a": value}}, NAMES)


@pytest.mark.parametrize("name", ["ndcg", "R", "ERR@10", "exit()", ""])
def test_an_unknown_measure_names_those_known(name: str) -> None:
    with pytest.raises(FixConfiguration, match=r"unknown measure .*nDCG@10"):
        metrics.parse(name)

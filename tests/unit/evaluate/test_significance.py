"""Tests of differences: exact where few, clustered, and honest about what a set can see."""

from __future__ import annotations

import math
import re
from itertools import product

import numpy as np
import pytest

from pipelines.evaluate import gate, significance
from pipelines.evaluate.significance import paired


def pairs(values: list[float], clusters: list[str] | None = None) -> significance.Paired:
    names = [f"q{place:04d}" for place in range(len(values))]
    return paired(dict(zip(names, values, strict=True)), dict(zip(names, clusters, strict=True)) if clusters else None)


def test_few_questions_are_tested_exactly() -> None:
    values = [0.3, 0.1, -0.2, 0.4, 0.0]
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, values, strict=True))) for signs in product((1, -1), repeat=5)
    ]
    exact = sum(total >= abs(sum(values)) - 1e-9 for total in sums) / 32
    assert significance.permutation(pairs(values)) == pytest.approx(exact)
    assert significance.permutation(pairs([0.0, 0.0])) == 1.0


def test_many_questions_are_sampled_and_never_give_zero() -> None:
    assert significance.permutation(pairs([0.1] * 40), resamples=999) == pytest.approx(1 / 1000)
    null = np.random.default_rng(3).normal(size=40).round(3)
    assert significance.permutation(pairs(list(null - null.mean())), resamples=999) > 0.9


def test_questions_of_one_document_are_one_piece_of_evidence() -> None:
    alone = pairs([0.1] * 12)
    together = pairs([0.1] * 12, ["a"] * 6 + ["b"] * 6)
    assert significance.permutation(alone) == pytest.approx(2 / 4096)
    assert significance.permutation(together) == 0.5
    assert (together.questions, together.clusters) == (12, 2)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        effect = np.repeat(rng.normal(scale=0.2, size=30), 4)
        low, high = significance.interval(
            pairs(list(effect + rng.normal(scale=0.1, size=120)), [str(place // 4) for place in range(120)])
        )
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_no_spread_is_not_certainty_and_few_differences_leave_a_finite_bound() -> None:
    assert significance.lower_bound(pairs([0.0] * 30)) == pytest.approx(-(1 - 0.05 ** (1 / 30)))
    assert significance.lower_bound(pairs([0.0])) == -math.inf
    assert significance.interval(pairs([0.0])) == (-math.inf, math.inf)
    assert -0.01 < significance.lower_bound(pairs([-0.4] + [0.0] * 999)) < -0.0004


@pytest.mark.parametrize(("values", "said"), [({}, "no question"), ({"q": math.nan}, "question 'q': the difference is nan")])
def test_what_cannot_be_told_is_said(values: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        paired(values)


def test_holm_keeps_the_order_and_never_falls() -> None:
    assert significance.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert significance.holm({}) == {}


def test_power_is_that_of_the_reference_table() -> None:
    for margin, questions in ((0.02, 966), (0.01, 3864)):
        assert significance.needed(0.25, margin) == pytest.approx(significance.CAUTION * questions, rel=0.002)
    assert significance.certifiable(0.25 / math.sqrt(225)) == pytest.approx(0.0414, abs=2e-4)
    assert significance.detectable(0.1) == pytest.approx(0.28, abs=0.002)


def side(difference: float, count: int = 400, spread: float = 0.02) -> gate.Side:
    noise = spread * np.random.default_rng(1).normal(size=count)
    noise -= noise.mean()
    champion = {f"q{place}": 0.5 for place in range(count)}
    challenger = {f"q{place}": 0.5 + difference + float(noise[place]) for place in range(count)}
    return gate.Side(champion, challenger, {name: name for name in champion})


def test_every_slice_must_pass_and_the_one_that_does_not_is_named() -> None:
    assert gate.decide({"a": side(0.0), "b": side(0.01)}, margin=0.02).verdict == "promote"
    decision = gate.decide({"a": side(0.05), "b": side(-0.02)}, margin=0.02)
    assert (decision.verdict, decision.reason[:2]) == ("refuse", "b:")
    assert decision.as_dict()["slices"][0]["verdict"] == "promote"


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        ({}, "no slice"),
        ({"a": side(0.0, count=12)}, "about 12 documents or topics, at least 20"),
        ({"a": side(0.0, count=100, spread=0.4)}, r"100 questions certify a margin of 0\.\d+, not 0.02; about \d+ would"),
        ({"a": gate.Side({"q": 0.5}, {}, {})}, "no question is scored on both sides"),
        ({"a": gate.Side({"q": 0.5, "r": 0.1}, {"q": 0.5}, {})}, "1 questions are scored on one side only"),
        ({"a": gate.Side({"q": math.nan}, {"q": 0.5}, {})}, "not a finite number"),
    ],
)
def test_what_a_set_cannot_decide_is_never_a_pass(sides: dict[str, gate.Side], said: str) -> None:
    decision = gate.decide(sides, margin=0.02)
    assert decision.verdict == "cannot tell"
    assert re.search(said, decision.reason)


def test_an_equal_challenger_on_few_questions_is_not_refused() -> None:
    scores = {str(number): 0.5 + (number % 5) / 10 for number in range(40)}
    [judged] = gate.decide({"few": gate.Side(scores, scores, {})}, margin=0.02).slices
    assert judged.verdict == "cannot tell"
    assert judged.needed is not None
    assert judged.needed > 40
    assert judged.certifiable is not None
    assert judged.certifiable > 0.02

"""Two benchmarks' rankings of retrievers are compared by Kendall's tau-b, and nothing is claimed of too few."""

from __future__ import annotations

import math
import random

import pytest
from scipy.stats import kendalltau

from pipelines.evaluate.agreement import LEAST, agreement

NAMES = [f"retriever {number}" for number in range(10)]
RISING = {name: place / 10 for place, name in enumerate(NAMES)}


def test_the_same_order_agrees_and_the_reverse_disagrees() -> None:
    same = agreement(RISING, {name: score**2 for name, score in RISING.items()})
    assert (same.tau, same.alike, same.swapped) == (1.0, True, ())
    reverse = agreement(RISING, {name: -score for name, score in RISING.items()})
    assert (reverse.tau, reverse.alike, len(reverse.swapped)) == (-1.0, False, 45)


def test_a_swapped_pair_is_named_the_better_of_the_first_benchmark_first() -> None:
    swapped = agreement(RISING, RISING | {NAMES[3]: RISING[NAMES[4]], NAMES[4]: RISING[NAMES[3]]})
    assert swapped.swapped == ((NAMES[4], NAMES[3]),)
    assert swapped.tau == pytest.approx(1 - 2 / 45)


def test_tau_is_scipys_with_ties_too() -> None:
    dice = random.Random(3)
    for _ in range(50):
        ours, theirs = ({name: dice.randint(0, 5) / 5 for name in NAMES} for _ in range(2))
        expected = kendalltau(list(ours.values()), list(theirs.values())).statistic
        assert agreement(ours, theirs).tau == pytest.approx(expected, abs=1e-12)


def test_too_few_retrievers_cannot_tell() -> None:
    few = {name: RISING[name] for name in NAMES[: LEAST - 1]}
    found = agreement(RISING, few)
    assert (found.tau, found.alike) == (None, False)
    assert f"scored {LEAST - 1} retrievers, fewer than {LEAST}" in found.reason


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_no_numbers_cannot_tell(value: float) -> None:
    found = agreement(RISING, RISING | {NAMES[5]: value})
    assert found.tau is None
    assert NAMES[5] in found.reason


def test_a_benchmark_that_tells_nothing_apart_cannot_tell() -> None:
    found = agreement(RISING, dict.fromkeys(NAMES, 0.5))
    assert found.tau is None
    assert "tells none apart" in found.reason

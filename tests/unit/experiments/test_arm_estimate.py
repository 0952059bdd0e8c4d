"""Differences with the error that units leave: Welch for one value each, by unit for several, and a reason for none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pipelines.experiments.estimate import Estimate, Units, Untold, difference, each, gathered, preference

RNG = np.random.default_rng(7)
MANY = each(RNG.normal(1.0, 2.0, size=200))


def told(found: Estimate | Untold) -> Estimate:
    assert isinstance(found, Estimate)
    return found


def test_one_value_a_unit_is_welchs_test() -> None:
    ours, theirs = RNG.normal(0.3, 1.0, size=80), RNG.normal(0.0, 3.0, size=50)
    found = told(difference(each(theirs), each(ours)))
    reference = stats.ttest_ind(ours, theirs, equal_var=False)
    assert found.value / found.error == pytest.approx(reference.statistic)
    assert found.freedom == pytest.approx(reference.df)
    assert 2 * stats.norm.sf(abs(found.z())) == pytest.approx(reference.pvalue)
    assert found.units == 130


def test_copies_of_a_units_values_are_no_evidence() -> None:
    values = (RNG.uniform(size=100) < 0.4).astype(float)
    copied = Units(values * 7, np.full(100, 7.0))
    assert told(difference(copied, MANY)).error == pytest.approx(told(difference(each(values), MANY)).error)


def test_the_error_of_a_ratio_is_that_of_resampled_units() -> None:
    counts = (1 + RNG.poisson(RNG.gamma(1.0, 3.0, size=400))).astype(np.float64)
    units = Units(RNG.binomial(counts.astype(int), RNG.beta(2, 4, size=400)).astype(np.float64), counts)
    drawn = RNG.integers(0, 400, size=(4000, 400))
    ratios = units.sums[drawn].sum(axis=1) / units.counts[drawn].sum(axis=1)
    assert told(difference(units, units)).error == pytest.approx(math.sqrt(2) * ratios.std(), rel=0.05)


def test_rows_are_gathered_by_unit_in_whatever_order() -> None:
    rows = [("b", 1.0), ("a", 0.0), ("b", 0.5)]
    for order in (rows, rows[::-1]):
        units = gathered(order)
        assert (units.sums.tolist(), units.counts.tolist()) == ([0.0, 1.5], [1.0, 2.0])
    assert gathered([]).sums.shape == (0,)


def test_a_flooding_unit_is_no_evidence_in_a_ratio_and_one_vote_in_interleaving() -> None:
    sums, counts = MANY.sums.copy(), MANY.counts.copy()
    sums[0], counts[0] = 3000.0, 3000.0
    flooded = Units(sums, counts)
    found = difference(MANY, flooded)
    assert isinstance(found, Untold)
    assert "one unit made 94% of the values of the challenger, so its 200 units tell as much as 1" in found.reason
    credits = np.where(np.arange(200) % 2, 1.0, -1.0)
    honest = told(preference(each(credits)))
    busy = told(preference(Units(credits * counts, counts)))
    assert (busy.value, busy.error) == pytest.approx((honest.value, honest.error))


@pytest.mark.parametrize(
    ("champion", "challenger", "said"),
    [
        (each([]), MANY, "the champion has 0 units, at least 30"),
        (MANY, each([0.5] * 29), "the challenger has 29 units"),
        (MANY, each([math.nan, math.inf, *[1.0] * 40]), "2 units whose values are no finite numbers"),
        (MANY, Units(np.zeros(40), np.zeros(40)), "40 units whose values are no finite numbers or have no count"),
        (each([0.1] * 300), each([0.1] * 70), "one value for all units"),
        (each([0.0] * 30), each([0.0] * 30), "one value for all units"),
    ],
)
def test_what_cannot_be_estimated_is_said(champion: Units, challenger: Units, said: str) -> None:
    found = difference(champion, challenger)
    assert isinstance(found, Untold)
    assert said in found.reason


@pytest.mark.parametrize(
    ("credits", "said"), [([1.0] * 12, "12 units"), ([1.0] * 50, "the credit 1"), ([math.nan] * 50, "50 units")]
)
def test_credits_that_say_nothing_are_told(credits: list[float], said: str) -> None:
    found = preference(each(credits))
    assert isinstance(found, Untold)
    assert said in found.reason


def test_certainty_has_a_finite_z() -> None:
    assert 30 < Estimate(1.0, 1e-4, 500.0, 1000).z() < 40
    assert Estimate(-1.0, 1e-4, 500.0, 1000).z() < -30
    assert Estimate(-0.5, 0.1, 1e9, 1000).z(margin=0.5) == 0.0

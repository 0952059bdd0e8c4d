"""Boundaries are those of the literature, and all looks together spend exactly the budget, however they fall."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from pipelines.experiments import boundary

OBRIEN_FLEMING = (
    4.877,
    3.357,
    2.680,
    2.290,
    2.031,
)  # five even looks, two-sided .05 (Lan & DeMets' program, gsDesign, rpact)


def bounds(times: tuple[float, ...], budget: float, sides: int) -> tuple[float, ...]:
    found: tuple[float, ...] = ()
    spent = 0.0
    for look, time in enumerate(times, 1):
        now = boundary.spent(time, budget)
        found = (*found, boundary.bound(times[:look], found, now - spent, sides))
        spent = now
    return found


def test_even_looks_have_the_known_boundaries() -> None:
    assert boundary.planned(5, 0.025, 2) == pytest.approx(OBRIEN_FLEMING, abs=6e-4)
    assert boundary.planned(1, 0.025, 2) == pytest.approx((1.959964,), abs=1e-6)
    assert boundary.planned(1, 0.05, 1) == pytest.approx((1.644854,), abs=1e-6)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("times", [(0.3, 0.45, 1.0), (0.9, 0.95, 1.3), (0.5, 0.505, 1.0)])
def test_uneven_looks_and_an_overrun_spend_the_budget_exactly(times: tuple[float, ...], sides: int) -> None:
    found = np.array(bounds(times, 0.025, sides))
    paths = np.random.default_rng(1).normal(size=(400_000, len(times)))
    steps = np.diff(np.array([0.0, *times]))
    z = np.cumsum(paths * np.sqrt(steps), axis=1) / np.sqrt(times)
    crossed = np.any((np.abs(z) if sides == 2 else z) >= found, axis=1).mean()
    error = math.sqrt(0.025 * sides / 400_000)
    assert crossed == pytest.approx(0.025 * sides, abs=4 * error)
    # Computed, the chance of crossing upwards is the budget to many digits.
    assert boundary.crossing(times, tuple(found), 0.0, sides) == pytest.approx(0.025, abs=1e-8)


def test_uneven_looks_agree_with_the_multivariate_normal() -> None:
    from scipy.stats import multivariate_normal

    times = (0.3, 0.45, 1.0)
    found = np.array(bounds(times, 0.025, 2))
    correlation = [[math.sqrt(min(a, b) / max(a, b)) for b in times] for a in times]
    inside = multivariate_normal.cdf(found, mean=np.zeros(3), cov=correlation, lower_limit=-found, abseps=1e-8)
    assert 1 - inside == pytest.approx(0.05, abs=1e-6)


def test_only_ratios_of_times_matter() -> None:
    times = (0.2, 0.5, 0.52, 1.0)
    found = bounds(times, 0.025, 2)
    scaled = tuple(1e5 * time for time in times)
    assert boundary.bound(scaled, found[:3], 0.01, 2) == pytest.approx(boundary.bound(times, found[:3], 0.01, 2), abs=1e-7)


def test_a_budget_of_nothing_cannot_be_crossed_and_changes_no_other_look() -> None:
    assert bounds((0.001, 1.0), 0.025, 2) == pytest.approx((math.inf, 1.959964), abs=1e-6)
    assert boundary.bound((0.5,), (), 0.0, 2) == math.inf


def test_looks_at_the_same_moment_are_bounded_more_cautiously() -> None:
    together = boundary.bound((0.5, 0.5), (2.963,), 0.02, 2)
    apart = boundary.bound((0.5, 0.5 * (1 + boundary.STEP)), (2.963,), 0.02, 2)
    assert together == apart
    assert boundary.bound((0.5, 0.9), (2.963,), 0.02, 2) > together


def test_spending_grows_to_the_whole_budget() -> None:
    spent = [boundary.spent(time, 0.025) for time in (0.05, 0.2, 0.5, 0.9, 1.0, 1.4)]
    assert all(before <= after for before, after in pairwise(spent))
    assert spent[1] == pytest.approx(5.4e-7, rel=0.01)
    assert spent[-2:] == [0.025, 0.025]


def test_power_needs_little_more_than_one_look() -> None:
    assert boundary.drift(1, 0.025, 0.8, 2) == pytest.approx(2.8016, abs=1e-4)
    assert (boundary.drift(5, 0.025, 0.8, 2) / boundary.drift(1, 0.025, 0.8, 2)) ** 2 == pytest.approx(1.024, abs=0.003)

"""The bench of experiments counts what it says: giving up costs power and hides no alarm; equal lists leave no credit."""

from __future__ import annotations

import numpy as np
import pytest

from bench import ab
from bench.experiments.searchers import NAVIGATIONAL, searchers
from pipelines.experiments.estimate import Estimate, Untold
from pipelines.experiments.sequential import Plan

PLAN = Plan("superior", effect=0.04, looks=4, power=0.88)


def watched(*values: float | None) -> ab.Watched:
    """Estimates in standard errors at the quarters of the way; None is untold."""
    estimates = []
    for place, z in enumerate(values, 1):
        error = (PLAN.information * place / 4) ** -0.5
        estimates.append((place / 4, Untold("none") if z is None else Estimate(z * error, error, 1e9, 100 * place)))
    return ab._watch(PLAN, estimates)


@pytest.mark.parametrize(
    ("values", "crossed", "won", "used", "peeked", "single"),
    [
        ((0.5, 3.5, 0.0, 0.0), 1, True, 0.5, True, 0),
        ((0.5, 2.1, 1.0, 1.0), 0, False, 1.0, True, 0),
        ((None, -1.5, 0.5, 2.6), 1, False, 0.5, True, 1),  # given up half way
        ((0.0, 0.5, -1.5, -2.6), -1, False, 0.75, True, -1),
        ((0.5, 3.5, 0.0, None), 1, True, 0.5, True, 0),
        ((None, None, None, None), 0, False, 1.0, False, 0),
    ],
)
def test_an_experiment_is_watched_to_its_end(
    values: tuple[float | None, ...], crossed: int, won: bool, used: float, peeked: bool, single: int
) -> None:
    assert watched(*values) == ab.Watched(crossed, won, used, peeked, single)


def test_a_challenger_that_touches_no_query_is_no_challenger() -> None:
    population = searchers(np.random.default_rng(1), 100, 0.0, NAVIGATIONAL)
    assert population.credits.counts.sum() == 0
    assert all(np.array_equal(*arms) for arms in population.metrics.values())


def test_the_more_relevant_ranking_wins_credit_and_first_clicks() -> None:
    population = searchers(np.random.default_rng(1), 400, 1.0, NAVIGATIONAL)
    champion, challenger = population.metrics["clicked first"]
    assert challenger.sum() > champion.sum()
    assert population.credits.sums.sum() > 0

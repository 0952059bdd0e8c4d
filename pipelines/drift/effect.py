"""When a difference is worth an alarm: larger than what is usual here, and rarer than the false alarms one accepts. Pure.

At many documents every difference is significant, so p alone alarms on what nobody would act on; the effect alone alarms on
small windows. An alarm needs both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipelines.drift.engine import Outcome

LEAST_HISTORY = 20  # window-vs-window effects: of fewer, the 95th percentile is their maximum
PERCENTILE = 95


def floor(history: Sequence[float]) -> float | None:
    """The 95th percentile of earlier windows' effects, each against its own reference; None for fewer than LEAST_HISTORY."""
    known = [effect for effect in history if np.isfinite(effect)]
    return float(np.percentile(known, PERCENTILE)) if len(known) >= LEAST_HISTORY else None


def alpha(run_length_days: int, tests: int) -> float:
    """The level of each of `tests` a day that allows one false alarm in so many days on average.

    A test must be able to reach it: `compare` needs more than 1 / alpha permutations.
    """
    if run_length_days < 1 or tests < 1:
        raise ValueError(
            f"run length {run_length_days} days and {tests} tests: both must be at least 1; give the days between"
        )
    return 1 / (run_length_days * tests)


def holm(ps: Mapping[str, float]) -> dict[str, float]:
    """Each p adjusted for all of them, by Holm's step-down: compare it with the level of one test."""
    adjusted: dict[str, float] = {}
    least = 0.0
    for rank, (name, p) in enumerate(sorted(ps.items(), key=lambda item: item[1])):
        least = max(least, min(1.0, p * (len(ps) - rank)))
        adjusted[name] = least
    return {name: adjusted[name] for name in ps}


def alarmed(outcome: Outcome, floor: float | None, alpha: float) -> bool | None:
    """Whether to act; None when it cannot be told. Without a floor yet, the p alone decides."""
    if outcome.p is None or outcome.effect is None:
        return None
    return outcome.p <= alpha and (floor is None or outcome.effect > floor)

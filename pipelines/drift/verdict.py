"""What one run says of a window: drift, no drift, nothing new or cannot tell, in one sentence. Pure.

A run makes several tests (sources, signals). Holm's adjustment holds the run's false alarms to those of one test, whose
level follows from the days one accepts between two false alarms. What could not be tested is never counted as unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from pipelines.drift.effect import alarmed, alpha, holm
from pipelines.drift.engine import Outcome


class State(StrEnum):
    DRIFT = "drift"
    NO_DRIFT = "no drift"
    NOTHING_NEW = "nothing new"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state, the tests that alarm by adjusted p, the untold ones, and a sentence that says it."""

    state: State
    alarms: tuple[str, ...]
    untold: Mapping[str, str]  # test -> reason
    adjusted: Mapping[str, float]  # test -> p after Holm
    sentence: str


def least_permutations(run_length_days: int, tests: int) -> int:
    """The least number of permutations with which each of `tests` in one daily run can reach its level."""
    return round(1 / alpha(run_length_days, tests))


def verdict(
    outcomes: Mapping[str, Outcome],
    floors: Mapping[str, float | None],
    run_length_days: int,
    permutations: int,
) -> Verdict:
    """Judge one daily run; no outcomes at all means that the interval brought no documents.

    `floors` gives of each test the effect that is usual here (`effect.floor`); without one its p alone decides.
    Raises ValueError for so few `permutations` that no test could alarm alone.
    """
    if permutations < (least := least_permutations(run_length_days, max(1, len(outcomes)))):
        raise ValueError(
            f"{permutations} permutations cannot reach the level of {len(outcomes)} tests; give at least {least}"
        )
    if not outcomes:
        return Verdict(State.NOTHING_NEW, (), {}, {}, "Nothing new: the interval brought no documents.")
    untold = {name: found.reason for name, found in outcomes.items() if found.p is None}
    adjusted = holm({name: found.p for name, found in outcomes.items() if found.p is not None})
    level = alpha(run_length_days, 1)
    alarms = [name for name, p in adjusted.items() if alarmed(replace(outcomes[name], p=p), floors.get(name), level)]
    alarms.sort(key=lambda name: (adjusted[name], name))
    state = State.DRIFT if alarms else State.CANNOT_TELL if untold else State.NO_DRIFT
    return Verdict(state, tuple(alarms), untold, adjusted, _sentence(state, alarms, untold, adjusted, level))


def _sentence(
    state: State, alarms: list[str], untold: Mapping[str, str], adjusted: Mapping[str, float], level: float
) -> str:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(untold.items()))
    if state is State.DRIFT:
        told = ", ".join(f"{name} (p {adjusted[name]:.2g})" for name in alarms)
        return f"Drift in {told}, at level {level:.2g}." + (f" Cannot tell of {reasons}." if untold else "")
    if state is State.CANNOT_TELL:
        return f"Cannot tell: {reasons}."
    return f"No drift in {len(adjusted)} tests at level {level:.2g}."

"""May an experiment end today? Looks at any time, and all of them together err no more often than one test would.

Two tests share the boundaries of `boundary.py`:

* `superior`, two-sided: is the challenger better, or is it worse? `effect` is the smallest difference worth finding.
* `harmless`, a guardrail, one-sided with a budget of its own in either direction: is a loss of `effect` (the margin)
  excluded, or is one beyond it shown? An equal challenger is shown harmless with the stated power.

Two clocks run. How much may be spent follows from the progress to the planned end, in units or days, which no figure can
bend; how far looks depend on each other from their information, one over the squared standard error, which is right also
where units come back, or vary more than was guessed. A look keeps what it spent, and the next ones share what is left; the
first one at or past the planned end spends the rest. What one look shows stays shown.

A challenger that would hardly win any more, were the planned effect true, may be given up (`futile`). The boundaries do not
count on that, so going on is no error; giving up below a chance of FUTILE makes missed effects at most 1 / (1 - FUTILE)
times as frequent (Lan, Simon & Halperin, 1982). Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from scipy.special import ndtr, ndtri

from pipelines.errors import FixConfiguration
from pipelines.experiments import boundary
from pipelines.experiments.estimate import Estimate, Untold

Test = Literal["superior", "harmless"]
Outcome = Literal["continue", "challenger wins", "champion stays", "holds", "broken", "cannot tell"]
FUTILE = 0.1  # chance of still winning
SAME = 1e-9  # relative: the information of a look that is repeated on the same values


@dataclass(frozen=True, slots=True)
class Plan:
    """What is decided before the first unit is seen. `alpha` is of both sides for `superior`, of each for `harmless`.

    Raises FixConfiguration for figures that no test can have.
    """

    test: Test
    effect: float
    looks: int
    alpha: float = 0.05
    power: float = 0.8

    def __post_init__(self) -> None:
        if not (self.effect > 0 and math.isfinite(self.effect)):
            raise FixConfiguration(f"effect {self.effect} of {self.test!r}: give a difference above 0")
        if self.looks < 1:
            raise FixConfiguration(f"{self.looks} looks of {self.test!r}: plan at least 1")
        if not 0 < self.alpha < min(0.5, self.power) or self.power >= 1:
            raise FixConfiguration(
                f"alpha {self.alpha} and power {self.power} of {self.test!r}: "
                "alpha is above 0 and below 0.5, power above alpha and below 1"
            )

    @property
    def sides(self) -> int:
        """2 where a crossing downwards ends the test too."""
        return 2 if self.test == "superior" else 1

    @property
    def budget(self) -> float:
        """The error that the upper side may make over all looks."""
        return self.alpha / self.sides

    @property
    def information(self) -> float:
        """What evenly spaced looks need at the end for the power."""
        return (boundary.drift(self.looks, self.budget, self.power, self.sides) / self.effect) ** 2

    def units(self, spread: float, share: float | None = 0.5) -> int:
        """The planned maximum of units, all arms together; the challenger's is `share` of them.

        `spread` is the standard deviation of a unit's value; without a `share` all units see both, interleaved. Where units
        come more or less often, it follows from the standard error of a pilot: error * sqrt(units * share * (1 - share)).
        """
        return math.ceil(self.information * spread**2 / (1.0 if share is None else share * (1 - share)))


@dataclass(frozen=True, slots=True)
class Look:
    """What a look used up, to be kept for the next ones. `crossed` is 1 upwards, -1 downwards, 0 not."""

    information: float
    bound: float | None  # in standard errors; None when nothing could be shown at this look
    spent: float  # of the upper side's budget, up to and with this look
    crossed: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What one look says. `low` and `high` hold the true difference at whatever look one stops; None is unlimited."""

    outcome: Outcome
    reason: str
    look: Look | None = None  # None: nothing was spent
    fraction: float | None = None  # of the planned information
    z: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    units: int = 0
    futile: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def decide(plan: Plan, measured: Estimate | Untold, past: Sequence[Look] = (), *, progress: float) -> Decision:
    """Look once, after the `past` looks of the same experiment. A look repeated on the same values says the same again.

    `progress` is the share of the planned units, or of the planned days, that are in; from 1 on this is the end.
    Raises FixConfiguration for a progress that is not above 0.
    """
    if not progress > 0:
        raise FixConfiguration(f"progress {progress}: give the share of the planned units or days that are in, above 0")
    if isinstance(measured, Untold):
        return Decision("cannot tell", measured.reason)
    margin = plan.effect if plan.test == "harmless" else 0.0
    look = _taken(plan, measured, measured.z(margin), past, progress)
    fraction = measured.information / plan.information
    if plan.test == "superior":
        outcome, reason, futile = _superior(plan, measured, look, fraction, progress)
    else:
        outcome, reason, futile = *_harmless(plan, measured, look, fraction), False
    reach = math.inf if look.bound is None else look.bound * measured.error
    return Decision(
        outcome,
        reason,
        look,
        fraction,
        measured.z(margin),
        measured.value,
        None if math.isinf(reach) else measured.value - reach,
        None if math.isinf(reach) else measured.value + reach,
        measured.units,
        futile,
    )


def _taken(plan: Plan, measured: Estimate, z: float, past: Sequence[Look], progress: float) -> Look:
    """The look with its bound; one that is repeated has the bound that it had."""
    again = bool(past) and math.isclose(measured.information, past[-1].information, rel_tol=SAME)
    if again and (progress < 1 or past[-1].spent >= plan.budget):
        *past, same = past
        limit, spent = _limit(same), same.spent
    else:
        already = past[-1].spent if past else 0.0
        spent = max(already, boundary.spent(progress, plan.budget))
        times = (*(look.information for look in past), measured.information)
        limit = boundary.bound(times, tuple(map(_limit, past)), spent - already, plan.sides)
    crossed = (z >= limit) - (z <= -limit)
    return Look(measured.information, None if math.isinf(limit) else limit, spent, _standing(plan, past, crossed))


def _limit(look: Look) -> float:
    return math.inf if look.bound is None else look.bound


def _standing(plan: Plan, past: Sequence[Look], crossed: int) -> int:
    """What was shown stays shown; but a guardrail that held may break, since either direction has its own budget."""
    before = past[-1].crossed if past else 0
    return min(before, crossed) if plan.test == "harmless" and before and crossed else before or crossed


def _superior(plan: Plan, measured: Estimate, look: Look, fraction: float, progress: float) -> tuple[Outcome, str, bool]:
    told = f"{measured.value:+.4g} with standard error {measured.error:.2g}, at {fraction:.0%} of the planned information"
    if look.crossed > 0:
        return "challenger wins", f"the challenger is better: {told}", False
    if look.crossed < 0:
        return "champion stays", f"the challenger is worse: {told}", False
    if look.spent >= plan.budget:
        return "champion stays", f"no difference is shown by the end: {told}", False
    chance = _chance(plan, measured, progress)
    if chance < FUTILE:
        return "champion stays", f"were it better by {plan.effect:g}, it would still win by {chance:.0%} only: {told}", True
    return "continue", f"not decided: {told}", False


def _chance(plan: Plan, measured: Estimate, progress: float) -> float:
    """Of winning by the end when the planned effect is true and information comes as fast as up to now.

    The last bound is taken as a single test's, which is a little low: rather too much hope than too little.
    """
    left = 1 - progress
    drift = plan.effect * math.sqrt(measured.information / progress)
    return float(ndtr((measured.z() * math.sqrt(progress) + drift * left + ndtri(plan.budget)) / math.sqrt(left)))


def _harmless(plan: Plan, measured: Estimate, look: Look, fraction: float) -> tuple[Outcome, str]:
    told = f"{measured.value:+.4g} with standard error {measured.error:.2g}"
    if look.crossed > 0:
        return "holds", f"a loss of {plan.effect:g} is excluded: {told}"
    if look.crossed < 0:
        return "broken", f"a loss beyond {plan.effect:g} is shown: {told}"
    if look.spent < plan.budget:
        return "continue", f"a loss of {plan.effect:g} is neither excluded nor shown: {told}"
    if fraction >= 1 or measured.value <= -plan.effect:
        return "broken", f"a loss of {plan.effect:g} cannot be excluded by the end: {told}"
    wanted = math.ceil(measured.units / fraction)
    return "cannot tell", f"{measured.units} units do not exclude a loss of {plan.effect:g}, about {wanted} would: {told}"

"""How far apart two arms are, with the standard error that the units (users) leave, however often each of them comes back.

The unit is what was bucketed. An arm's mean is the sum of its values over their count, and its variance that of the units'
residuals (the delta method for a ratio), so values of one unit are never taken for independent ones; with one value a unit
it is Welch's. A few units that outweigh all others leave few that count: `weight` (Kish, 1965) replaces their number where
it decides whether there are enough, and in the t distribution. Pure; numpy, and scipy for quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtr

Floats = npt.NDArray[np.float64]
LEAST_UNITS = 30  # in each arm; the mean of fewer is not normal
LEAST_TAIL = 1e-300  # the smallest chance that has a normal quantile
TINY = 1e-9  # a standard error that is this small beside the means is rounding


@dataclass(frozen=True, slots=True)
class Units:
    """What an arm's units did. Both are (units,) float64: the sum of each unit's values, and how many it has."""

    sums: Floats
    counts: Floats

    @property
    def weight(self) -> float:
        """How many equally busy units would tell as much as these."""
        return float(self.counts.sum() ** 2 / (self.counts @ self.counts))


@dataclass(frozen=True, slots=True)
class Estimate:
    """Challenger less champion, its standard error, the degrees of freedom of that, and the units of all arms."""

    value: float
    error: float
    freedom: float
    units: int

    @property
    def information(self) -> float:
        """What grows with the sample: one over the squared standard error."""
        return self.error**-2

    def z(self, margin: float = 0.0) -> float:
        """The normal quantile as extreme as the t value of a difference above -margin."""
        t = (self.value + margin) / self.error
        return math.copysign(float(-ndtri(max(stdtr(self.freedom, -abs(t)), LEAST_TAIL))), t)


@dataclass(frozen=True, slots=True)
class Untold:
    """Why there is no estimate."""

    reason: str


def each(values: npt.ArrayLike) -> Units:
    """Units with one value each."""
    sums = np.asarray(values, dtype=np.float64)
    return Units(sums, np.ones_like(sums))


def gathered(rows: Iterable[tuple[str, float]]) -> Units:
    """Units from (unit, value) rows, in whatever order."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for unit, value in rows:
        sums[unit] = sums.get(unit, 0.0) + value
        counts[unit] = counts.get(unit, 0) + 1
    names = sorted(sums)  # the same rows give the same figures to the last bit
    return Units(
        np.array([sums[name] for name in names], dtype=np.float64),
        np.array([counts[name] for name in names], dtype=np.float64),
    )


def difference(champion: Units, challenger: Units) -> Estimate | Untold:
    """The difference of two arms' means over all their values."""
    for name, units in (("champion", champion), ("challenger", challenger)):
        if reason := _unusable(f"the {name}", units) or _flooded(f"the {name}", units):
            return Untold(reason)
    spreads = [_variance(units) for units in (champion, challenger)]
    means = [_mean(units) for units in (champion, challenger)]
    error = math.sqrt(sum(spreads))
    if error <= TINY * max(map(abs, means)) or error == 0:
        return Untold("the metric has one value for all units of each arm; nothing can be told from a constant")
    shares = [spread**2 / (units.weight - 1) for spread, units in zip(spreads, (champion, challenger), strict=True)]
    return Estimate(means[1] - means[0], error, error**4 / sum(shares), len(champion.sums) + len(challenger.sums))


def preference(credits: Units) -> Estimate | Untold:
    """The mean credit of interleaved impressions; each unit has one vote, however many impressions it made."""
    if reason := _unusable("interleaving", credits):
        return Untold(reason)
    votes = each(credits.sums / credits.counts)
    error = math.sqrt(_variance(votes))
    if error <= TINY:
        return Untold(f"every unit has the credit {_mean(votes):g}; nothing can be told from a constant")
    return Estimate(_mean(votes), error, len(votes.sums) - 1, len(votes.sums))


def _unusable(name: str, units: Units) -> str | None:
    count = len(units.sums)
    if count < LEAST_UNITS:
        return f"{name} has {count} units, at least {LEAST_UNITS} are needed"
    broken = int(np.sum(~(np.isfinite(units.sums) & np.isfinite(units.counts) & (units.counts > 0))))
    if broken:
        return f"{name} has {broken} units whose values are no finite numbers or have no count; correct what measures them"
    return None


def _flooded(name: str, units: Units) -> str | None:
    if units.weight >= LEAST_UNITS:
        return None
    busiest = float(units.counts.max() / units.counts.sum())
    return (
        f"one unit made {busiest:.0%} of the values of {name}, so its {len(units.sums)} units tell as much as "
        f"{units.weight:.0f}, at least {LEAST_UNITS} are needed; leave robots out, or take each unit's mean"
    )


def _mean(units: Units) -> float:
    return float(units.sums.sum() / units.counts.sum())


def _variance(units: Units) -> float:
    """Of the mean, by the units' residuals."""
    residuals = units.sums - _mean(units) * units.counts
    number = len(residuals)
    return float(residuals @ residuals) * number / (number - 1) / float(units.counts.sum()) ** 2

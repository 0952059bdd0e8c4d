"""Which arm a unit (a user) is in, the same on every machine and every day, and whether the arms really got their shares.

Each arm draws an exponential waiting time with its share as rate, from sha256(salt|experiment|arm|unit); the first one wins.
So no table of assignments is kept, another experiment's draws say nothing about this one's, and when shares change units
move only towards arms that grew in proportion: with two arms exactly the least share d, with more at most 2/(1 + d) times
the least, which nothing without memory can beat (Bavarian et al., "The Optimality of Correlated Sampling", 2016).

An experiment on a part of the traffic has an arm for the rest. Pure; scipy for chi-square.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from scipy.special import chdtrc

from pipelines.errors import FixConfiguration

MISMATCH = 0.001  # a p below it: the logging or the assignment is broken, whatever the metric says
LEAST_EXPECTED = 5.0  # units in each arm, below which chi-square is no approximation
ROUNDING = 1e-9
DRAWS = 2**64


@dataclass(frozen=True, slots=True)
class Experiment:
    """A name, the salt of its draws, and each arm's share.

    Raises FixConfiguration for shares that are no shares or do not sum to 1, and for names that make the hash ambiguous.
    """

    name: str
    salt: str
    shares: Mapping[str, float]

    def __post_init__(self) -> None:
        for text in (self.name, self.salt, *self.shares):
            if not text or "|" in text:
                raise FixConfiguration(f"experiment {self.name!r}: {text!r} must not be empty or hold '|'; rename it")
        wrong = [f"{arm} {share}" for arm, share in self.shares.items() if not 0 <= share <= 1]
        if wrong:
            raise FixConfiguration(f"experiment {self.name!r}: shares are 0 to 1, not {', '.join(wrong)}")
        total = math.fsum(self.shares.values())
        if abs(total - 1) > ROUNDING:
            raise FixConfiguration(
                f"experiment {self.name!r}: shares sum to {total:g}, not 1; give the rest an arm of its own"
            )

    def arm(self, unit: str) -> str:
        """The arm of a unit; an arm without a share gets none."""
        return min((arm for arm, share in self.shares.items() if share > 0), key=lambda arm: self._wait(arm, unit))

    def _wait(self, arm: str, unit: str) -> float:
        digest = sha256(f"{self.salt}|{self.name}|{arm}|{unit}".encode()).digest()
        uniform = (int.from_bytes(digest[:8], "big") + 1) / DRAWS  # above 0, at most 1
        return -math.log(uniform) / self.shares[arm]


@dataclass(frozen=True, slots=True)
class Exposure:
    """The units that saw each arm; `p` is None where there are too few to test."""

    counts: Mapping[str, int]
    p: float | None
    mismatch: bool
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def exposure(experiment: Experiment, counts: Mapping[str, int]) -> Exposure:
    """Did the arms get their shares? Chi-square over the units exposed, by arm; an arm that is not named got none.

    Raises FixConfiguration for an arm that the experiment does not have.
    """
    unknown = sorted(counts.keys() - experiment.shares.keys())
    if unknown:
        raise FixConfiguration(
            f"experiment {experiment.name!r} has the arms {', '.join(experiment.shares)}, not {', '.join(unknown)}; "
            "count the exposures of this experiment only"
        )
    seen = {arm: counts.get(arm, 0) for arm in experiment.shares}
    told = ", ".join(f"{arm} {count}" for arm, count in seen.items())
    closed = [arm for arm, share in experiment.shares.items() if share == 0 and seen[arm]]
    if closed:
        return Exposure(seen, 0.0, True, f"{closed[0]} has no share, and units saw it: {told}")
    total = sum(seen.values())
    expected = {arm: share * total for arm, share in experiment.shares.items() if share > 0}
    if min(expected.values()) < LEAST_EXPECTED or len(expected) < 2:
        return Exposure(seen, None, False, f"too few units to test the shares: {told}")
    statistic = sum((seen[arm] - wanted) ** 2 / wanted for arm, wanted in expected.items())
    p = float(chdtrc(len(expected) - 1, statistic))
    if p < MISMATCH:
        wanted = ", ".join(f"{arm} {count:.0f}" for arm, count in expected.items())
        return Exposure(seen, p, True, f"the arms have {told} units where their shares make {wanted} (p {p:.1g})")
    return Exposure(seen, p, False, f"the arms have their shares: {told} (p {p:.2g})")

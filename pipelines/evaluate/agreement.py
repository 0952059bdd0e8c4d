"""Do two benchmarks order the same retrievers alike? Kendall's tau-b over their mean scores. Pure; standard library only.

A builder that needs no people is worth as much as its ranking of systems: where it agrees with questions that people wrote,
a better figure on it means a better search. Fewer than LEAST retrievers say nothing: even two orders drawn by chance agree
fully with a chance of 1 / n!, and with few of them an observed tau can be anything.

References: Kendall (1945) for ties; Voorhees (SIGIR 1998), who takes 0.9 for "the same ranking".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

LEAST = 8  # retrievers
ALIKE = 0.9


@dataclass(frozen=True, slots=True)
class Agreement:
    """`tau` is None where nothing can be told, and `reason` says why."""

    retrievers: int
    tau: float | None
    swapped: tuple[tuple[str, str], ...]  # pairs that the two order differently: the first is better on the first benchmark
    reason: str = ""

    @property
    def alike(self) -> bool:
        """Whether both rank alike; False where nothing can be told."""
        return self.tau is not None and self.tau >= ALIKE


def agreement(ours: Mapping[str, float], theirs: Mapping[str, float]) -> Agreement:
    """How alike two benchmarks rank the retrievers that both scored; the mappings are retriever -> mean of one measure."""
    names = sorted(ours.keys() & theirs.keys())
    broken = [name for name in names if not (math.isfinite(ours[name]) and math.isfinite(theirs[name]))]
    if broken:
        return Agreement(len(names), None, (), f"retriever {broken[0]!r} has a score that is no finite number: score again")
    if len(names) < LEAST:
        return Agreement(len(names), None, (), f"both scored {len(names)} retrievers, fewer than {LEAST}: score more")
    signs = {
        (one, other): (_sign(ours[one] - ours[other]), _sign(theirs[one] - theirs[other]))
        for one, other in combinations(names, 2)
    }
    told_ours = sum(first != 0 for first, _ in signs.values())
    told_theirs = sum(second != 0 for _, second in signs.values())
    if not told_ours or not told_theirs:
        return Agreement(len(names), None, (), "one benchmark gives all retrievers the same score; it tells none apart")
    tau = sum(first * second for first, second in signs.values()) / math.sqrt(told_ours * told_theirs)
    swapped = (
        (one, other) if first > 0 else (other, one) for (one, other), (first, second) in signs.items() if first * second < 0
    )
    return Agreement(len(names), tau, tuple(swapped))


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)

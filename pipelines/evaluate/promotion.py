"""May a challenger serve? The gate's slices, superiority where it is demanded, latency, size and cost, in one verdict.

Every check gives its own reason, and the verdict keeps all of them: "refuse" outweighs "cannot tell", which outweighs
"promote". What was not measured is never a pass. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from pipelines.config import Gates
from pipelines.evaluate.gate import Decision, Judged, Verdict

ORDER: tuple[Verdict, ...] = ("refuse", "cannot tell", "promote")


class Pair(NamedTuple):
    """One quantity of both sides, in the same unit; less is better."""

    champion: float
    challenger: float


@dataclass(frozen=True, slots=True)
class Weights:
    """What was measured beside quality; None where nothing could be."""

    latency_ms: Pair | None = None  # p95 of embedding a question
    vector_bytes: Pair | None = None  # of the collection
    file_bytes: Pair | None = None  # of the models; None also where the files of one are kept elsewhere
    cost: Pair | None = None  # of embedding the collection anew, in the currency of prices.yaml


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was asked of the challenger. For a slice, `value` is the difference and `bound` its lower bound;
    for a limit, `value` is the ratio to the champion."""

    name: str
    verdict: Verdict
    reason: str
    value: float | None = None
    bound: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict with every reason that speaks against promotion, the heaviest first."""

    verdict: Verdict
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]

    def as_dicts(self) -> list[dict[str, Any]]:
        """The checks in their JSON form."""
        return [asdict(check) for check in self.checks]


def judge(decision: Decision | None, weights: Weights, gates: Gates) -> Judgement:
    """Put every check together; `decision` is None when no evaluation could be made."""
    checks = (*_quality(decision, gates.superior), *_limits(weights, gates))
    verdict = next(entry for entry in ORDER if entry == "promote" or any(check.verdict == entry for check in checks))
    reasons = [f"{check.name}: {check.reason}" for entry in ORDER[:2] for check in checks if check.verdict == entry]
    return Judgement(verdict, tuple(reasons), checks)


def _quality(decision: Decision | None, superior: Sequence[str]) -> list[Check]:
    if decision is None:
        return [Check("quality", "cannot tell", "there is no benchmark to judge by; import or build one")]
    slices = [
        Check(f"not worse on {entry.slice}", entry.verdict, entry.reason, entry.difference, entry.bound, -decision.margin)
        for entry in decision.slices
    ]
    if all(check.verdict != decision.verdict for check in slices):  # such as no slice at all
        slices.append(Check("quality", decision.verdict, decision.reason))
    return [*slices, *(check for pattern in superior for check in _superior(decision, pattern))]


def _superior(decision: Decision, pattern: str) -> list[Check]:
    found = [entry for entry in decision.slices if fnmatchcase(entry.slice.partition(" ")[0], pattern)]
    if not found:
        why = f"no slice of the evaluation has this name; release one, or correct superior: {pattern!r} in gates.yaml"
        return [Check(f"better on {pattern}", "cannot tell", why)]
    return [_better(entry) for entry in found]


def _better(entry: Judged) -> Check:
    name = f"better on {entry.slice}"
    if entry.difference is None or entry.bound is None:
        return Check(name, "cannot tell", entry.reason, entry.difference, entry.bound, 0.0)
    told = f"{entry.difference:+.4f}, bound {entry.bound:+.4f}"
    figures = (entry.difference, entry.bound, 0.0)
    if entry.bound > 0:
        return Check(name, "promote", f"a gain is certain: {told}", *figures)
    if entry.difference <= 0:
        return Check(name, "refuse", f"there is no gain: {told}", *figures)
    wanted = math.ceil(entry.questions * ((entry.difference - entry.bound) / entry.difference) ** 2)
    return Check(
        name, "cannot tell", f"{entry.questions} questions do not show the gain: {told}; about {wanted} might", *figures
    )


def _limits(weights: Weights, gates: Gates) -> list[Check]:
    checks = [
        _within("latency", "ms a question", weights.latency_ms, gates.latency_ratio, free=gates.latency_free_ms),
        _within("size of vectors", "bytes", weights.vector_bytes, gates.size_ratio),
        _within("cost of embedding", "for the collection", weights.cost, gates.cost_ratio),
    ]
    if weights.file_bytes is not None:
        checks.append(_within("size of files", "bytes", weights.file_bytes, gates.size_ratio))
    return checks


def _within(name: str, unit: str, pair: Pair | None, limit: float | None, *, free: float = 0.0) -> Check:
    if pair is None or not all(math.isfinite(value) and value >= 0 for value in pair):
        if limit is None:
            return Check(name, "promote", "not measured, and no limit is set")
        return Check(name, "cannot tell", "it could not be measured", limit=limit)
    ratio = 1.0 if pair.champion == pair.challenger else pair.challenger / pair.champion if pair.champion else math.inf
    told = f"{_plain(pair.challenger)} {unit}, the champion {_plain(pair.champion)}"
    value = ratio if math.isfinite(ratio) else None
    if limit is None:
        return Check(name, "promote", f"{told}; no limit is set", value)
    if ratio <= limit or pair.challenger <= free:
        return Check(name, "promote", told, value, limit=limit)
    return Check(name, "refuse", f"{told}: {ratio:.2f} times, at most {limit:g} is accepted", value, limit=limit)


def decision_of(stored: Mapping[str, Any]) -> Decision:
    """A gate's decision from its JSON form."""
    return Decision(**{**stored, "slices": tuple(Judged(**entry) for entry in stored["slices"])})


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"

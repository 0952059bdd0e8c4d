"""May a challenger replace the champion? Non-inferiority on every slice, or an honest "cannot tell".

On each slice the lower one-sided 95 % bound of the mean difference must not fall below -margin. All slices must pass
(intersection-union), which needs no correction of alpha: a challenger that is inferior by the margin on one slice is
promoted in at most alpha of all tries, whatever the others say. What a set cannot decide is said so, with the number of
questions that would: never a pass for lack of evidence. Both bounds behind it are approximations, so they are taken at
STRICT times alpha; `bench/gate_honesty.py` measures what that leaves. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipelines.evaluate import significance
from pipelines.evaluate.significance import Paired

Verdict = Literal["promote", "refuse", "cannot tell"]
LEAST_CLUSTERS = 20  # fewer independent questions bound nothing
STRICT = 0.8


@dataclass(frozen=True, slots=True)
class Side:
    """The values of one measure on one slice, by question."""

    champion: Mapping[str, float]
    challenger: Mapping[str, float]
    clusters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """One slice. `needed` estimates the questions that an equal challenger takes to pass all slices at 80 % power."""

    slice: str
    verdict: Verdict
    reason: str
    questions: int = 0
    clusters: int = 0
    difference: float | None = None
    bound: float | None = None
    certifiable: float | None = None  # the smallest margin that this slice can certify
    needed: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict over all slices, with the reason of the slice that decided."""

    verdict: Verdict
    reason: str
    margin: float
    alpha: float
    slices: tuple[Judged, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def decide(sides: Mapping[str, Side], *, margin: float, alpha: float = 0.05) -> Decision:
    """Judge every slice; refusal outweighs "cannot tell", which outweighs promotion. No slices: cannot tell."""
    if not sides:
        return Decision("cannot tell", "there is no slice to judge by; import or release one", margin, alpha, ())
    judged = tuple(_judge(name, side, margin, alpha, len(sides)) for name, side in sides.items())
    for verdict in ("refuse", "cannot tell"):
        for entry in judged:
            if entry.verdict == verdict:
                return Decision(entry.verdict, f"{entry.slice}: {entry.reason}", margin, alpha, judged)
    reason = f"on every slice the loss is below {margin:g} with {1 - alpha:.0%} confidence"
    return Decision("promote", reason, margin, alpha, judged)


def needed(spread: float, margin: float, *, slices: int, alpha: float = 0.05, power: float = 0.8) -> int:
    """Questions a slice for an equal challenger to pass all slices with this power; see `significance.needed`."""
    return significance.needed(spread, margin, alpha=STRICT * alpha, power=power, slices=slices)


def _judge(name: str, side: Side, margin: float, alpha: float, slices: int) -> Judged:
    try:
        pairs = significance.paired(significance.differences(side.challenger, side.champion), side.clusters)
    except ValueError as error:
        return Judged(name, "cannot tell", str(error))
    lost = side.champion.keys() ^ side.challenger.keys()
    if lost:
        return Judged(name, "cannot tell", f"{len(lost)} questions are scored on one side only; score both on the same set")
    if pairs.clusters < LEAST_CLUSTERS:
        return Judged(
            name,
            "cannot tell",
            f"{pairs.questions} questions about {pairs.clusters} documents or topics, at least {LEAST_CLUSTERS} are needed",
            pairs.questions,
            pairs.clusters,
            pairs.mean,
        )
    return _measured(name, pairs, margin, alpha, slices)


def _measured(name: str, pairs: Paired, margin: float, alpha: float, slices: int) -> Judged:
    bound = significance.lower_bound(pairs, alpha=STRICT * alpha)
    smallest = significance.certifiable(pairs.error, alpha=STRICT * alpha)
    spread = pairs.error * math.sqrt(pairs.questions)  # holds the design effect of the clusters
    wanted = needed(spread, margin, slices=slices, alpha=alpha)
    figures = (pairs.questions, pairs.clusters, pairs.mean, bound, smallest, wanted)
    if bound >= -margin:
        return Judged(name, "promote", f"the loss is below {-bound:.4f}" if bound < 0 else "no loss", *figures)
    if pairs.mean <= -margin or (pairs.mean < 0 and wanted <= pairs.questions):
        return Judged(
            name, "refuse", f"a loss of {margin:g} cannot be excluded: {pairs.mean:+.4f}, bound {bound:+.4f}", *figures
        )
    # Where all differences are alike their spread says little; what was not seen shrinks as the questions grow in number.
    wanted = max(wanted, math.ceil(-bound / margin * pairs.questions))
    smallest = max(smallest, -bound)
    figures = (*figures[:-2], smallest, wanted)
    return Judged(
        name,
        "cannot tell",
        f"{pairs.questions} questions certify a margin of {smallest:.3f}, not {margin:g}; about {wanted} would",
        *figures,
    )

"""Which share of the present corpus, and of present questions, a benchmark no longer represents.

A passage is represented when the benchmark has one as near to it as the corpus' own passages are to each other: the limit is
the QUANTILE of the similarity of held-out passages to a set of documents drawn from the corpus itself, as large as the
benchmark's. So a benchmark that is a fair sample leaves about that share unrepresented, whatever the model, and the figure
does not move with the corpus' density. Whole documents are drawn and held out, since passages of one document resemble each
other. Questions are measured against the benchmark's questions in the same way. Pure; numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
QUANTILE = 0.05
DRAWS = 5
LEAST = 10  # documents in the benchmark, half of those in the corpus, or questions on each side


@dataclass(frozen=True, slots=True)
class Freshness:
    """`share` is None where nothing can be said, and `reason` says why; `expected` is what a fair sample would leave."""

    what: str
    share: float | None
    expected: float
    measured: int
    alarm: bool
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    def text(self) -> str:
        """One line for a person."""
        if self.share is None:
            return f"{self.what}: cannot tell, {self.reason}"
        return (
            f"{self.what}: {self.share:.0%} of {self.measured} not represented (a fair sample leaves {self.expected:.0%})"
            + (f"; {self.reason}" if self.alarm else "")
        )


def unrepresented(
    current: Vectors, groups: Sequence[str], benchmark: Sequence[str], sampled: Sequence[str], *, alarm: float, seed: int = 1
) -> Freshness:
    """The share of passages that are farther from those of the `benchmark` documents than is usual in the corpus.

    `current` is (n, dim) unit rows, `groups` names each row's document: those of the benchmark and `sampled` ones, which
    stand for the corpus. Passages of the benchmark's own documents are represented.
    """
    what = "passages"
    names = np.array(groups, dtype=object)
    distinct = sorted(set(sampled) & set(groups))
    chosen = set(benchmark) & set(groups)
    counted = np.isin(names.astype(str), distinct)
    if not np.isfinite(current).all():
        return _unknown(what, len(current), "some vectors are not finite; run `millrace audit`")
    if len(chosen) < LEAST:
        return _unknown(what, len(current), f"the benchmark reaches {len(chosen)} present documents, {LEAST} are needed")
    if len(distinct) < 2 * LEAST:
        return _unknown(what, len(current), f"the corpus has {len(distinct)} documents, {2 * LEAST} are needed")
    total = int(counted.sum())
    if all(name in chosen for name in distinct):
        return _judged(what, 0.0, 0.0, total, alarm)
    rng = np.random.default_rng(seed)
    size = min(len(chosen), 3 * len(distinct) // 4)
    limits = []
    for _ in range(DRAWS):
        drawn = set(rng.choice(np.array(distinct, dtype=object), size=size, replace=False))
        limits.append(np.quantile(_nearest(current, names, drawn, counted), QUANTILE))
    found = _nearest(current, names, chosen, counted)
    beyond = int(np.sum(found < np.median(limits)))
    return _judged(what, beyond / total, QUANTILE * len(found) / total, total, alarm)


def unrepresented_questions(current: Vectors, benchmark: Vectors, *, alarm: float) -> Freshness:
    """The share of present questions that lie farther from the benchmark's than its own lie from each other.

    Both (n, dim) unit. The limit is the QUANTILE of the similarity of each benchmark question to its nearest other one.
    """
    what = "questions"
    if min(len(current), len(benchmark)) < LEAST:
        return _unknown(
            what, len(current), f"{len(current)} present and {len(benchmark)} benchmark questions, {LEAST} needed"
        )
    if not (np.isfinite(current).all() and np.isfinite(benchmark).all()):
        return _unknown(what, len(current), "some vectors are not finite; run `millrace audit`")
    own = benchmark @ benchmark.T
    np.fill_diagonal(own, -math.inf)
    limit = float(np.quantile(own.max(axis=1), QUANTILE))
    beyond = int(np.sum((current @ benchmark.T).max(axis=1) < limit))
    return _judged(what, beyond / len(current), QUANTILE, len(current), alarm)


def _nearest(current: Vectors, names: npt.NDArray[np.object_], chosen: set[str], counted: npt.NDArray[np.bool_]) -> Vectors:
    """Each counted row outside the chosen documents: its similarity to the nearest row inside them."""
    inside = np.fromiter((name in chosen for name in names), dtype=bool, count=len(names))
    nearest: Vectors = (current[counted & ~inside] @ current[inside].T).max(axis=1)
    return nearest


def _unknown(what: str, measured: int, reason: str) -> Freshness:
    return Freshness(what, None, QUANTILE, measured, False, reason)


def _judged(what: str, share: float, expected: float, measured: int, alarm: float) -> Freshness:
    beyond = share > alarm
    reason = f"above the alarm of {alarm:.0%}: release a new version of the rolling slice" if beyond else ""
    return Freshness(what, round(share, 4), round(expected, 4), measured, beyond, reason)

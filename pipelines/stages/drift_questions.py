"""The tests of what users asked: still the same subjects, still answered by near passages, still where the corpus is dense?

The questions of the window are compared with those of the days before it, each different question counting once, however
often it was asked: a client that repeats itself is not a change. They are embedded anew, with the model of the space that
serves; how near their nearest passage was is taken from when they were asked, in that space only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipelines.drift import attribution, gap, signals
from pipelines.drift.engine import Outcome, Window, compare
from pipelines.drift.pool import LEAST
from pipelines.search.lengths import fitting
from pipelines.stages import canary
from pipelines.store import questions as store

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.store.questions import Asked
    from pipelines.store.spaces import Space

Vectors = npt.NDArray[np.float32]
SUBJECTS, NEARNESS, GAP = "questions", "question_nearness", "question_corpus_gap"
TESTS = (SUBJECTS, NEARNESS, GAP)
FAR = 0.05  # of the earlier questions were farther from their nearest passage than those called far
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Told:
    """The outcomes by test, what a person wants to know of the questions, and what could not be compared."""

    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asking:
    """Questions before the window and in it."""

    before: Asked
    now: Asked

    @property
    def enough(self) -> bool:
        """Whether both have as many different questions as a test needs."""
        return min(self.before.different, self.now.different) >= LEAST


def read(ctx: Context, space: Space, since: datetime, until: datetime) -> Asking | None:
    """What was asked in the reference days and in the window; None where the collection keeps no questions."""
    settings = ctx.settings.collections.get(space.collection)
    if settings is None or not settings.keep_questions_days:
        return None
    start = since - timedelta(days=ctx.settings.drift.reference_days)
    return Asking(store.asked(ctx.pool, space, start, since), store.asked(ctx.pool, space, since, until))


def run(ctx: Context, space: Space, asking: Asking, passages: Vectors, permutations: int) -> Told:
    """Compare them; `passages` (n, dim) stand for the corpus.

    Raises FailRun where the embedder is not the one any more that made the passages' vectors.
    """
    sizes = {"asked": [asking.before.asked, asking.now.asked], "different": [asking.before.different, asking.now.different]}
    if not asking.enough:
        return Told({}, sizes, (_too_few(asking),))
    embedder, tokenizer = ctx.embedder(space.collection), ctx.tokenizer(space.collection)
    canary.check(ctx.pool, embedder)
    before, now = (embedder.embed(fitting(side.questions, tokenizer), query=True) for side in (asking.before, asking.now))
    return tell(asking, before, now, passages, permutations, sizes)


def tell(
    asking: Asking, before: Vectors, now: Vectors, passages: Vectors, permutations: int, sizes: Mapping[str, Any]
) -> Told:
    """The tests, of questions with their vectors."""
    sides = Window(before, asking.before.questions), Window(now, asking.now.questions)
    outcomes = {SUBJECTS: compare(*sides, permutations=permutations)}
    found: dict[str, Any] = {**sizes, "examples": list(attribution.exemplars(sides[1], outcomes[SUBJECTS], EXAMPLES))}
    notes = []
    near = [side.similarity[np.isfinite(side.similarity)] for side in (asking.before, asking.now)]
    if min(map(len, near)) >= LEAST:
        outcomes |= _signal(NEARNESS, near[0], near[1], permutations)
        far = float(np.quantile(near[0], FAR))
        found |= {
            "nearness": [round(float(np.median(side)), 4) for side in near],
            "far": [FAR, round(float((near[1] < far).mean()), 4)],
        }
    else:
        notes.append(
            f"question_nearness: {len(near[0])} earlier questions and {len(near[1])} of the window were answered by the "
            f"space that serves now, {LEAST} of each needed; not compared"
        )
    if len(passages) >= LEAST:
        at = gap.density(np.concatenate([before, now]), passages)
        outcomes |= _signal(GAP, at[: len(before)], at[len(before) :], permutations)
        found["gap"] = [round(gap.distance(side, passages), 4) for side in (before, now)]
    return Told(outcomes, found, tuple(notes))


def _signal(
    name: str, before: npt.NDArray[np.float64], now: npt.NDArray[np.float64], permutations: int
) -> dict[str, Outcome]:
    """One number a question; no test where it never varies, which cannot change."""
    if len(np.unique(np.concatenate([before, now]))) < 2:
        return {}
    sides = [(side, [str(row) for row in range(len(side))]) for side in (before, now)]
    return {name: signals.compare_signal(*sides, permutations=permutations)}


def _too_few(asking: Asking) -> str:
    return (
        f"cannot tell of questions: {asking.before.different} different ones before the window and {asking.now.different} "
        f"in it, {LEAST} of each needed"
    )

"""How often does the drift test cry wolf? Null windows of clustered real text, at the level 0.05.

`python -m bench drift_level [DIR]`: the sample and Python's own reference, or the text of DIR, in documents of 1, 5, 10 and
50 overlapping passages, embedded by the packaged model. Each trial draws documents for two windows from one pool, so every
alarm is false; p is judged before any effect floor. 1,000 exact tests give at most 67 alarms in 99 of 100 cases. Beside it,
the same test is told that every passage is a unit of its own, as tools without units do.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt

from bench.drift import texts
from bench.drift.vectors import embedded, packaged
from bench.harness import Limit, Options, Result
from pipelines.drift.engine import Window, compare

ALPHA = 0.05
PERMUTATIONS = 399  # 20 of 400 are exactly the level
WINDOWS, QUICK_WINDOWS = 1000, 60
CONTRAST, QUICK_CONTRAST = 100, 20  # windows of the passage-level contrast


@dataclass(frozen=True, slots=True)
class Setting:
    """Documents of so many passages, and how many a window has."""

    passages: int
    documents: int


SETTINGS = (Setting(1, 100), Setting(5, 60), Setting(10, 40), Setting(50, 20))


def run(options: Options) -> Result:
    """Measure; `--quick` draws fewer windows and holds them to the same 99 per cent."""
    windows = QUICK_WINDOWS if options.quick else WINDOWS
    rng = np.random.default_rng(options.seed)
    found = texts.texts(options.corpus)
    figures: dict[str, float] = {"windows": windows}
    rows: list[tuple[str, ...]] = [("passages a document", "documents a window", "false alarms", "told passages are units")]
    with packaged() as (embedder, tokenizer):
        for setting in SETTINGS:
            made = texts.documents(found, setting.passages, 4 * setting.documents, rng)
            vectors = embedded(made, embedder, tokenizer)
            size = min(setting.documents, len(vectors) // 2)
            alarms = _alarms(vectors, size, windows, rng, by_document=True)
            contrast = QUICK_CONTRAST if options.quick else CONTRAST
            wrong = _alarms(vectors, size, contrast, rng, by_document=False) / contrast if setting.passages > 1 else None
            figures[f"false_alarms_{setting.passages}"] = alarms
            rows.append(
                (str(setting.passages), str(size), f"{alarms} of {windows}", "" if wrong is None else f"{wrong:.0%}")
            )
    most = _most(windows)
    return Result(
        "drift_level",
        figures,
        floors=tuple(Limit(f"false_alarms_{setting.passages}", at_most=most) for setting in SETTINGS),
        rows=rows,
    )


def _most(windows: int) -> int:
    """What an exact test stays within in 99 of 100 cases: 67 of 1,000."""
    below = 0.0
    for count in range(windows + 1):
        below += comb(windows, count) * ALPHA**count * (1 - ALPHA) ** (windows - count)
        if below >= 0.99:
            return count
    return windows


def _alarms(
    vectors: npt.NDArray[np.float32], size: int, windows: int, rng: np.random.Generator, *, by_document: bool
) -> int:
    """Alarms between windows of `size` documents each, of (documents, passages, dim) vectors."""
    alarms = 0
    for number in range(windows):
        drawn = rng.permutation(len(vectors))[: 2 * size]
        sides = [_window(vectors, rows, by_document=by_document) for rows in (drawn[:size], drawn[size:])]
        outcome = compare(*sides, permutations=PERMUTATIONS, seed=number)
        if outcome.p is None:
            raise RuntimeError(f"a null window cannot be told: {outcome.reason}; give a corpus with more text")
        alarms += outcome.p <= ALPHA
    return alarms


def _window(vectors: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], *, by_document: bool) -> Window:
    passages, dim = vectors.shape[1:]
    names = [str(row) if by_document else f"{row}.{place}" for row in rows for place in range(passages)]
    return Window(vectors[rows].reshape(-1, dim), names)

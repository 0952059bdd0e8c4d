"""How far questions are from the corpus: the density of its passages at each question, and one distance for all. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.drift.statistics import median, squared_distances

Vectors = npt.NDArray[np.floating]
PASSAGES = 2000  # of the corpus, drawn: the mean over them is what is wanted
FAINT = 1e-12


def density(questions: Vectors, passages: Vectors, *, seed: int = 1) -> npt.NDArray[np.float64]:
    """(n,): the logarithm of the mean Gaussian kernel between each question and the passages, its width their median."""
    drawn = _drawn(passages, seed)
    width = median(squared_distances(drawn))
    kernel = np.exp(_between(questions, drawn) / -width)
    found: npt.NDArray[np.float64] = np.log(kernel.mean(axis=1, dtype=np.float64) + FAINT)
    return found


def distance(questions: Vectors, passages: Vectors, *, seed: int = 1) -> float:
    """The squared MMD between questions and passages; 0 when they are spread alike, at most 2."""
    asked, drawn = (_drawn(rows, seed) for rows in (questions, passages))
    width = median(squared_distances(drawn))
    means = [float(np.exp(_between(a, b) / -width).mean()) for a, b in ((asked, asked), (drawn, drawn), (asked, drawn))]
    return max(0.0, means[0] + means[1] - 2 * means[2])


def _drawn(rows: Vectors, seed: int) -> npt.NDArray[np.float32]:
    chosen = np.random.default_rng([seed, 4]).permutation(len(rows))[:PASSAGES]
    return np.asarray(rows, dtype=np.float32)[np.sort(chosen)]


def _between(a: Vectors, b: Vectors) -> npt.NDArray[np.float64]:
    squares: npt.NDArray[np.float64] = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2 * a @ b.T
    np.maximum(squares, 0.0, out=squares)
    return squares

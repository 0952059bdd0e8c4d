"""A fixed set of texts, and how far an embedder's vectors of them are from those it gave first. Pure.

A driver, a library or a server's model that changed under an unchanged configuration shows here before a vector is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.embed.checks import check_vectors
from pipelines.records import sha256

LEAST_COSINE = 0.9999
TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Invoice 2024-0117 over 1,284.50 EUR is due within thirty days of delivery.",
    "Die Kündigungsfrist beträgt drei Monate zum Quartalsende.",
    "Le quai est fermé à la navigation jusqu'à nouvel ordre.",
    "日本語の文章です。",
    "SELECT id, body FROM notes WHERE body <> '' ORDER BY id DESC;",
    "naïve café — “quotes” … ☂",
    "x",
    "Reset the controller, wait ten seconds, then hold both buttons until the lamp blinks twice.",
    "Annual leave > Carry over\n\nUp to five days move into the next year.",
    "no",
    "0 1 1 2 3 5 8 13 21 34 55 89",
)
SHAS = tuple(sha256("canary", text) for text in TEXTS)


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the vectors of the texts have moved."""

    cosine: float  # the least of all
    exact: int  # texts whose vectors are the same bit for bit

    @property
    def harmless(self) -> bool:
        """Whether they are still the same space."""
        return self.cosine >= LEAST_COSINE


def drift(now: npt.NDArray[np.float32], first: npt.NDArray[np.float32]) -> Drift:
    """Of two (n, dim) matrices of unit rows; a row that is no unit vector counts as opposite."""
    cosines = (now.astype(np.float64) * first.astype(np.float64)).sum(axis=1)
    cosines[[row for row, _ in check_vectors(now, first.shape[1])]] = -1.0
    return Drift(float(cosines.min()), int((now == first).all(axis=1).sum()))

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
# Between unit vectors of one text. Sums in another order move a float32 vector by less than 1e-5, weights rounded to 16 bits
# by more than 2e-4; where rounded arithmetic moves an embedder's own vectors by more than that, they are the measure.
SAME = 5e-5
NOISE = 3.0
LONG_TOKENS = 200  # an embedder that takes fewer is given the texts that surely fit: no text has more tokens than bytes
FRAME = 32  # tokens of a prompt and special tokens, at most
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
    "1 2 3 4 5 6 7 8 9 " * 10 + "a b c d e f g h i " * 10,  # 180 tokens to any tokenizer: who cuts it loses the letters
)
SHAS = {text: sha256("canary", text) for text in TEXTS}


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the vectors of the texts have moved."""

    cosine: float  # the least of all
    distance: float  # the largest of all, between unit vectors
    exact: int  # texts whose vectors are the same bit for bit
    texts: int  # that were compared

    @property
    def same(self) -> bool:
        """Whether nothing but the order of sums can have changed."""
        return self.cosine >= LEAST_COSINE and self.distance <= SAME

    def within(self, noise: Drift) -> bool:
        """Whether they are still the same space, given how far the embedder's vectors are from its own in other batches."""
        return self.cosine >= LEAST_COSINE and self.distance <= max(SAME, NOISE * noise.distance)


def texts(max_tokens: int) -> tuple[str, ...]:
    """Those that an embedder with this limit can take, whatever its vocabulary."""
    if max_tokens >= LONG_TOKENS:
        return TEXTS
    return tuple(text for text in TEXTS if len(text.encode()) + FRAME <= max_tokens)


def drift(now: npt.NDArray[np.float32], first: npt.NDArray[np.float32]) -> Drift:
    """Of two (n, dim) matrices of unit rows; a row that is no unit vector counts as opposite."""
    one, other = _unit(now), _unit(first)
    cosines = (one * other).sum(axis=1)
    distances = np.linalg.norm(one - other, axis=1)  # a cosine this close to 1 has no digits left
    bad = [row for row, _ in check_vectors(now, first.shape[1])]
    cosines[bad], distances[bad] = -1.0, 2.0
    return Drift(float(cosines.min()), float(distances.max()), int((now == first).all(axis=1).sum()), len(now))


def _unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """In double precision, so that what differs is not the rounding of their lengths."""
    exact = rows.astype(np.float64)
    unit: npt.NDArray[np.float64] = exact / np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), np.finfo(float).tiny)
    return unit

"""The rows that everybody loads: texts of about 800 bytes with clustered unit vectors, five to a document."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DIM = 384
CHUNKS = 5  # of a document
TEXT_BYTES = 800
CLUSTERS = 200
SPREAD = 0.6  # of a vector around its cluster's centre
WORDS = Path(__file__).resolve().parents[2] / "docs"


@dataclass(frozen=True, slots=True)
class Rows:
    """`texts[i]` has the vector `vectors[i]`; row i is chunk i % CHUNKS of document i // CHUNKS."""

    texts: list[str]
    vectors: npt.NDArray[np.float32]

    @property
    def documents(self) -> int:
        """How many documents they make."""
        return len(self.texts) // CHUNKS

    def save(self, folder: Path) -> Path:
        """As files that a peer's process reads: the texts, and beside them the vectors."""
        path = folder / "rows.json"
        path.write_text(json.dumps(self.texts))
        np.save(folder / "rows.npy", self.vectors)
        return path


def rows(count: int, seed: int) -> Rows:
    """`count` distinct rows that only the seed decides."""
    rng = random.Random(seed)
    words = sorted(
        {word for path in WORDS.rglob("*.md") for word in path.read_text(encoding="utf-8").split() if word.isascii()}
    )
    weights = [1 / rank for rank in range(1, len(words) + 1)]  # some words are common, as in any language
    rng.shuffle(words)
    texts = [f"{seed} {number} {' '.join(rng.choices(words, weights, k=160))}"[:TEXT_BYTES] for number in range(count)]
    return Rows(texts, _vectors(count, np.random.default_rng(seed)))


def _vectors(count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    centres = rng.standard_normal((CLUSTERS, DIM))
    near = centres[rng.integers(CLUSTERS, size=count)] + SPREAD * rng.standard_normal((count, DIM))
    unit: npt.NDArray[Any] = near / np.linalg.norm(near, axis=1, keepdims=True)
    return unit.astype(np.float32)

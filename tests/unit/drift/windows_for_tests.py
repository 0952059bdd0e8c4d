"""Windows of made-up passages that scatter closely around their unit."""

from __future__ import annotations

import numpy as np

from pipelines.drift.engine import Window

DIM = 16


def window(rng, units=40, rows=3, shift=0.0, prefix="d") -> Window:
    """Unit vectors; `shift` moves every unit along one axis."""
    centres = np.repeat(rng.normal(size=(units, DIM)), rows, axis=0)
    vectors = centres + 0.2 * rng.normal(size=centres.shape)
    vectors[:, 0] += shift
    names = [f"{prefix}{number}" for number in range(units) for _ in range(rows)]
    return Window(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), names)


def joined(*windows: Window) -> Window:
    return Window(np.concatenate([one.vectors for one in windows]), [unit for one in windows for unit in one.units])

"""No broken vector passes, whatever its kind and place; every sound one does."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.embed.checks import check_vectors
from pipelines.records import Reason


def unit(rows: int, dim: int = 48, seed: int = 0):
    matrix = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_sound_vectors_pass_in_any_storage(seed):
    matrix = unit(50, seed=seed)
    assert check_vectors(matrix, 48) == []
    assert check_vectors(matrix.astype(np.float16).astype(np.float32), 48) == []
    assert check_vectors(unit(0), 48) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.0])
def test_one_bad_component_condemns_its_row_only(value):
    matrix = unit(20)
    matrix[7, 13] = value
    matrix[19, 0] = value
    assert check_vectors(matrix, 48) == [(7, Reason.EMBED_NAN), (19, Reason.EMBED_NAN)]


@pytest.mark.parametrize("scale", [0.0, 0.98, 1.02, 1e-30, 1e30])
def test_zero_and_wrong_length(scale):
    matrix = unit(5)
    matrix[2] *= np.float32(scale)
    assert check_vectors(matrix, 48) == [(2, Reason.EMBED_NAN)]


def test_wrong_dimension_condemns_all():
    assert check_vectors(unit(3), 384) == [(row, Reason.EMBED_DIM) for row in range(3)]

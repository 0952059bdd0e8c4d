"""Vectors that moved are seen, however little of them did."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.embed.canary import SHAS, TEXTS, drift


def unit(seed: int = 0):
    matrix = np.random.default_rng(seed).normal(size=(len(TEXTS), 48))
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


def test_the_same_bits_are_the_same():
    found = drift(unit(), unit())
    assert found.harmless
    assert found.exact == len(TEXTS) == len(set(SHAS))


def test_another_order_of_sums_is_harmless_but_not_exact():
    found = drift(unit() + np.float32(1e-7), unit())
    assert found.harmless
    assert found.exact == 0


@pytest.mark.parametrize("fault", ["one row", "all rows", "nan", "zero", "longer"])
def test_what_moved_is_seen(fault):
    now = unit()
    match fault:
        case "one row":
            now[3] = unit(1)[3]
        case "all rows":
            now = unit(1)
        case "nan":
            now[5, 2] = np.nan
        case "zero":
            now[5] = 0
        case _:
            now[5] *= 1.1
    assert not drift(now, unit()).harmless

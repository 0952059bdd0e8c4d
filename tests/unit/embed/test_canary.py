"""Vectors that moved are seen, however little of them did."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.embed.canary import LONG_TOKENS, NOISE, SAME, SHAS, TEXTS, Drift, drift, texts


def unit(seed: int = 0):
    matrix = np.random.default_rng(seed).normal(size=(len(TEXTS), 48))
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


def test_the_same_bits_are_the_same():
    found = drift(unit(), unit())
    assert found.same
    assert found.exact == len(TEXTS) == len(set(SHAS.values()))


def test_another_order_of_sums_is_harmless_but_not_exact():
    found = drift(unit() + np.float32(1e-7), unit())
    assert found.same
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
    found = drift(now, unit())
    assert not found.same
    assert not found.within(Drift(cosine=1.0, distance=0.001, exact=0, texts=len(TEXTS)))


@pytest.mark.parametrize(("noise", "passes"), [(0.0, False), (0.5, True)])
def test_rounded_weights_are_seen_where_the_embedder_is_steadier_than_that(noise, passes):
    """A sixteen-bit copy of the weights moves a vector by some 2e-4; its cosine is still 0.99999998."""
    found = drift((unit() + np.float32(2e-4) * unit(1)).astype(np.float32), unit())
    assert found.cosine > 0.9999999
    assert not found.same
    assert found.within(Drift(cosine=1.0, distance=noise * found.distance, exact=0, texts=len(TEXTS))) == passes
    assert SAME < found.distance < NOISE * SAME * 2


def test_a_small_embedder_is_not_given_the_long_text():
    assert texts(LONG_TOKENS) == TEXTS
    assert texts(LONG_TOKENS - 1) == texts(128) == TEXTS[:-1]
    assert 0 < max(len(text.encode()) for text in texts(64)) <= 32
    assert len(TEXTS[-1].split()) == 180

"""Estimates: learn from past runs, widen without them, and never invent work."""

from __future__ import annotations

import pytest

from pipelines.config import Prices
from pipelines.stages.estimate import estimate, measured

PRICES = Prices(currency="EUR", cpu_hour=3.6)


def past(size: int, chunks: int, tokens: int, *, embedded: int, seconds: float) -> dict[str, object]:
    return {
        "formats": {"markdown": {"bytes": size, "chunks": chunks, "tokens": tokens}},
        "chunks": chunks,
        "embedded": embedded,
        "seconds": seconds,
    }


def test_nothing_to_do_costs_nothing_but_the_look() -> None:
    price = estimate({}, [], PRICES)
    assert (price.chunks.value, price.embeddings.value, price.tokens.value) == (0, 0, 0)
    assert price.seconds.value == 1


def test_the_interval_brackets_the_value() -> None:
    price = estimate({"markdown": 100_000, "pdf": 500_000}, [], PRICES)
    for entry in (price.chunks, price.tokens, price.embeddings, price.seconds, price.cost):
        assert 0 < entry.low < entry.value < entry.high


def test_past_runs_move_the_rate_towards_what_was_seen() -> None:
    blind = estimate({"markdown": 1_000_000}, [], PRICES).chunks
    history = [past(10_000_000, 50_000, 5_000_000, embedded=50_000, seconds=900) for _ in range(4)]
    learned = estimate({"markdown": 1_000_000}, history, PRICES).chunks
    assert learned.value == pytest.approx(5_000, rel=0.02)
    assert learned.high / learned.low < blind.high / blind.low


def test_a_cache_that_hits_lowers_the_embeddings_only() -> None:
    cold = [past(10_000_000, 20_000, 2_000_000, embedded=20_000, seconds=300)]
    warm = [past(10_000_000, 20_000, 2_000_000, embedded=200, seconds=300)]
    size = {"markdown": 1_000_000}
    assert estimate(size, cold, PRICES).chunks == estimate(size, warm, PRICES).chunks
    assert estimate(size, warm, PRICES).embeddings.value < 0.05 * estimate(size, cold, PRICES).embeddings.value


def test_cost_is_time_at_the_configured_price() -> None:
    price = measured(1000, 100_000, 1000, [], PRICES)
    assert price.cost.value == pytest.approx(price.seconds.value * 3.6 / 3600, rel=1e-3)
    assert price.exact
    assert price.chunks.low == price.chunks.high == 1000

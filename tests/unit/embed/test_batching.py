"""Batches hold each index once, keep to the budget and waste little on padding."""

from __future__ import annotations

import random

import pytest

from pipelines.embed.batching import LEAST, batches, tapered


@pytest.mark.parametrize("seed", range(20))
def test_each_index_once_within_budget_longest_first(seed):
    dice = random.Random(seed)
    counts = [dice.randint(0, 300) for _ in range(dice.randint(0, 200))]
    budget = dice.choice([1, 64, 300, 2048])
    made = list(batches(counts, budget))
    assert sorted(index for batch in made for index in batch) == list(range(len(counts)))
    assert all(len(batch) == 1 or len(batch) * max(counts[i] for i in batch) <= budget for batch in made)
    flat = [counts[index] for batch in made for index in batch]
    assert flat == sorted(flat, reverse=True)


def test_a_batch_is_as_full_as_the_budget_allows():
    assert [len(batch) for batch in batches([100] * 50, 2048)] == [20, 20, 10]
    assert list(batches([], 2048)) == []


@pytest.mark.parametrize("seed", range(20))
def test_no_stream_idles_long_while_another_has_the_last_batch(seed: int) -> None:
    rng = random.Random(seed)
    counts = [rng.randint(20, 256) for _ in range(rng.randint(2, 300))]
    found = list(tapered(counts, 2048, 2))
    assert sorted(index for rows in found for index in rows) == list(range(len(counts)))
    assert all(len(rows) * max(counts[row] for row in rows) <= 2048 for rows in found)
    assert _busiest(found, counts) <= sum(counts) / 2 * 1.05 + LEAST


def _busiest(found: list[list[int]], counts: list[int]) -> int:
    """Padded tokens of the busier of two streams that take the batches in turn as they become free."""
    loads = [0, 0]
    for rows in found:
        loads[loads.index(min(loads))] += len(rows) * max(counts[row] for row in rows)
    return max(loads)

"""Batches hold each index once, keep to the budget and waste little on padding."""

from __future__ import annotations

import random

import pytest

from pipelines.embed.batching import batches


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

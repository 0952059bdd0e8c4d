"""Refused items are found among many with few repetitions, and the rest goes on in portions of a sensible size."""

from __future__ import annotations

import random

import pytest

from pipelines.portions import Portions


def work_off(count: int, bad: set[int], portions: Portions) -> tuple[list[int], int]:
    """Which items were found to be bad, and how many were tried, repetitions included."""
    found, tries, start = [], 0, 0
    while start < count:
        rows = range(start, start + portions.size(count - start))
        tries += len(rows)
        if bad.isdisjoint(rows):
            portions.passed(len(rows))
        elif portions.failed(len(rows)):
            found.append(start)
        else:
            continue
        start = rows.stop
    return found, tries


def test_without_refusals_everything_is_one_portion() -> None:
    assert work_off(5000, set(), Portions()) == ([], 5000)


@pytest.mark.parametrize("seed", range(20))
def test_exactly_the_bad_ones_are_found(seed: int) -> None:
    rng = random.Random(seed)
    bad = set(rng.sample(range(300), rng.choice([1, 5, 299, 300])))
    assert work_off(300, bad, Portions())[0] == sorted(bad)


def test_few_are_tried_again() -> None:
    rng, portions = random.Random(1), Portions()
    tries = 0
    for _ in range(80):
        bad = {rng.randrange(250)} if rng.random() < 0.5 else set()
        found, tried = work_off(250, bad, portions)
        assert found == sorted(bad)
        tries += tried
    assert tries < 80 * 250 * 1.25, "halving each batch with a bad one again would be 1.9 times as many"


def test_what_was_refused_before_makes_the_next_batch_careful() -> None:
    portions = Portions()
    work_off(400, {7}, portions)
    assert portions.size(400) == 60

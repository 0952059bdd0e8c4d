"""The unit-level permutation test: its level on clustered rows, what it finds, and when it cannot tell."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.drift import engine, pool
from pipelines.drift.engine import Window, compare
from tests.unit.drift.windows_for_tests import joined, window


@pytest.mark.parametrize("rows", [1, 5])
def test_false_alarms_stay_at_the_level_on_clustered_rows(rows) -> None:
    rng = np.random.default_rng(7)
    found = [compare(window(rng, 16, rows), window(rng, 16, rows), permutations=99, seed=seed) for seed in range(120)]
    assert sum((outcome.p or 0) <= 0.05 for outcome in found) <= 12  # 98 % of an exact test's


def drifted(rng):
    return joined(window(rng, 48, prefix="n"), window(rng, 12, shift=6.0, prefix="odd"))


def test_a_drift_is_found_and_its_units_come_first() -> None:
    rng = np.random.default_rng(1)
    found = compare(window(rng, 60), drifted(rng), permutations=499)
    assert found.p is not None
    assert found.p <= 0.01
    first = sorted(found.contributions, key=found.contributions.__getitem__)[-5:]
    assert all(name.startswith("odd") for name in first)


def test_contributions_and_the_rest_sum_to_the_effect() -> None:
    rng = np.random.default_rng(2)
    now = drifted(rng)
    found = compare(window(rng), now, permutations=99)
    assert set(found.contributions) == set(now.units)
    assert sum(found.contributions.values()) + found.rest == pytest.approx(found.effect, abs=1e-9)


def test_p_is_that_of_a_count_with_the_observed_labels_in_it() -> None:
    rng = np.random.default_rng(3)
    found = compare(window(rng), window(rng, shift=9.0), permutations=99)
    assert found.p == 0.01
    assert {statistic.p for statistic in found.statistics} >= {0.01}


def test_the_same_seed_gives_the_same_outcome() -> None:
    old, new = window(np.random.default_rng(4)), window(np.random.default_rng(5))
    assert compare(old, new, permutations=99, seed=3) == compare(old, new, permutations=99, seed=3)


def test_many_permutations_are_made_in_blocks(monkeypatch) -> None:
    old, new = window(np.random.default_rng(4)), window(np.random.default_rng(5))
    whole = compare(old, new, permutations=99)
    monkeypatch.setattr(engine, "BLOCK", 40)
    assert compare(old, new, permutations=99).p == whole.p


def test_the_same_window_twice_is_no_drift() -> None:
    same = window(np.random.default_rng(8))
    found = compare(same, same, permutations=99)
    assert found.p is not None
    assert found.p > 0.5


def test_large_windows_are_sampled_by_unit(monkeypatch) -> None:
    monkeypatch.setattr(pool, "UNITS", 20)
    monkeypatch.setattr(pool, "ROWS", 60)
    rng = np.random.default_rng(9)
    drawn = pool.pooled([(one.vectors, one.units) for one in (window(rng, 30, 9), window(rng, 15, 2))], seed=1)
    assert drawn.sizes == (20, 15)
    assert set(drawn.counts[~drawn.current]) == {3}
    assert set(drawn.counts[drawn.current]) == {2}


def test_a_pool_keeps_rows_with_their_units() -> None:
    values = np.arange(20.0)
    units = [f"u{int(value) % 10}" for value in values]
    made = pool.pooled([(values[:, None], units), (values[:, None] + 100, units)], seed=5)
    for name, start, count, current in zip(made.names, made.starts, made.counts, made.current, strict=True):
        rows = made.vectors[start : start + count, 0] - 100 * current
        assert {f"u{int(value) % 10}" for value in rows} == {name}


def broken(kind: str) -> Window:
    good = window(np.random.default_rng(10))
    vectors = good.vectors.copy()
    if kind == "empty":
        return Window(np.empty((0, vectors.shape[1])), [])
    if kind == "giant":
        return Window(vectors, ["one"] * len(vectors))
    if kind == "same":
        return Window(np.tile(vectors[:1], (len(vectors), 1)), good.units)
    vectors[3] = np.nan if kind == "nan" else 0.0
    return Window(vectors, good.units)


REASONS = {
    "empty": "is empty",
    "giant": "1 of the 8 units",
    "same": "1 different of 120 vectors",
    "nan": "1 of 120 rows",
    "zero": "1 of 120 vectors",
}


@pytest.mark.parametrize("kind", REASONS)
@pytest.mark.parametrize("turned", [False, True])
def test_bad_windows_cannot_be_told(kind, turned) -> None:
    pair = (window(np.random.default_rng(11)), broken(kind))
    found = compare(*(reversed(pair) if turned else pair))
    assert found.p is None
    assert found.effect is None
    assert REASONS[kind] in found.reason


def test_windows_that_do_not_fit_together_are_a_mistake() -> None:
    good = window(np.random.default_rng(12))
    with pytest.raises(ValueError, match="give each row its unit"):
        compare(good, Window(good.vectors, good.units[1:]))
    with pytest.raises(ValueError, match="16 and 8 dimensions"):
        compare(good, Window(good.vectors[:, :8], good.units))


def topics(rng, sizes: list[int], spread: list[float], prefix: str) -> Window:
    """So many one-row units around each of the same centres, so far from them."""
    centres = 4.0 * np.random.default_rng(20).normal(size=(len(sizes), 24))
    rows = np.repeat(np.arange(len(sizes)), sizes)
    vectors = centres[rows] + np.array(spread)[rows, None] * rng.normal(size=(len(rows), 24))
    return Window(vectors, [f"{prefix}{n}" for n in range(len(rows))])


def alone(outcome: engine.Outcome, name: str) -> float:
    return {statistic.name: statistic.p for statistic in outcome.statistics}[name]


def test_scatter_is_beside_the_own_topic() -> None:
    rng = np.random.default_rng(14)
    spread = [0.5, 2.0, 0.5, 2.0]
    old = topics(rng, [30, 30, 30, 30], spread, "old")
    wider = topics(rng, [30, 30, 30, 30], [1.2 * one for one in spread], "new")
    more_of_the_wide = topics(rng, [18, 42, 18, 42], spread, "new")
    assert alone(compare(old, wider, permutations=499), "scatter") <= 0.01
    assert alone(compare(old, more_of_the_wide, permutations=499), "scatter") > 0.1


def test_one_topic_that_grows_is_told_by_the_scan_and_carried_by_its_units() -> None:
    rng = np.random.default_rng(13)
    centres = 3.0 * rng.normal(size=(12, 24))

    def about(topics: list[int], prefix: str) -> Window:
        vectors = centres[topics] + rng.normal(size=(len(topics), 24))
        return Window(
            vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
            [f"{prefix}{topic}.{n}" for n, topic in enumerate(topics)],
        )

    old = about([n % 12 for n in range(120)], "old")
    new = about([n % 12 for n in range(96)] + [5] * 24, "new")
    found = compare(old, new, permutations=999)
    assert {statistic.name: statistic.p for statistic in found.statistics}["clusters"] <= 0.002
    assert found.p is not None
    assert found.p <= 0.01
    first = sorted(found.contributions, key=found.contributions.__getitem__)[-20:]
    assert all(name.startswith("new5.") for name in first)

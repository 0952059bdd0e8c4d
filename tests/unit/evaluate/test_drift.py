"""The document-level permutation test: its level on clustered passages, what it finds, and when it cannot tell."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.evaluate.drift import Window, alarm_level, compare


def window(rng, documents=40, passages=5, shift=0.0, prefix="d"):
    """Passages scattered closely around their document."""
    centres = np.repeat(rng.normal(size=(documents, 16)), passages, axis=0)
    vectors = centres + 0.2 * rng.normal(size=centres.shape)
    vectors[:, 0] += shift
    names = [f"{prefix}{number}" for number in range(documents) for _ in range(passages)]
    return Window(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), names)


@pytest.mark.parametrize("passages", [1, 5])
def test_false_alarms_stay_at_the_level_on_clustered_passages(passages) -> None:
    rng = np.random.default_rng(7)
    alarms = 0
    for seed in range(200):
        found = compare(window(rng, 20, passages), window(rng, 20, passages), permutations=99, seed=seed)
        alarms += found.p <= 0.05
    assert alarms <= 18  # 99 % of an exact test's 200 at 0.05


def test_a_shift_is_found_and_its_documents_come_first() -> None:
    rng = np.random.default_rng(1)
    old, new = window(rng), window(rng, 32, prefix="n")
    odd = window(rng, 8, shift=6.0, prefix="odd")
    mixed = Window(np.concatenate([new.vectors, odd.vectors]), [*new.documents, *odd.documents])
    found = compare(old, mixed)
    assert found.p is not None
    assert found.p <= 0.01
    assert all(name.startswith("odd") for name, _ in found.contributions[:5])


def test_contributions_sum_to_the_effect() -> None:
    rng = np.random.default_rng(2)
    found = compare(window(rng), window(rng, 30, 2), permutations=99)
    assert found.effect is not None
    assert sum(share for _, share in found.contributions) == pytest.approx(found.effect, abs=1e-9)


def test_the_same_window_twice_is_no_drift() -> None:
    same = window(np.random.default_rng(3))
    assert compare(same, same, permutations=99).p > 0.5


def broken(kind: str) -> Window:
    good = window(np.random.default_rng(4))
    if kind == "empty":
        return Window(np.empty((0, 16)), [])
    if kind == "giant":
        return Window(good.vectors, ["one"] * len(good.vectors))
    if kind == "same":
        return Window(np.tile(good.vectors[:1], (len(good.vectors), 1)), good.documents)
    vectors = good.vectors.copy()
    vectors[3, 3] = np.nan
    return Window(vectors, good.documents)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("empty", "is empty"), ("giant", "1 documents"), ("same", "are the same"), ("nan", "not finite")],
)
@pytest.mark.parametrize("turned", [False, True])
def test_bad_windows_cannot_be_told(kind, reason, turned) -> None:
    pair = (window(np.random.default_rng(5)), broken(kind))
    found = compare(*(reversed(pair) if turned else pair))
    assert found.p is None
    assert reason in found.reason


def test_windows_with_unequal_lengths_are_a_mistake() -> None:
    good = window(np.random.default_rng(6))
    with pytest.raises(ValueError, match="vectors of"):
        compare(good, Window(good.vectors, good.documents[1:]))


def test_the_alarm_level_keeps_the_days_between_false_alarms() -> None:
    assert alarm_level(180, 5) == pytest.approx(1 / 900)
    with pytest.raises(ValueError, match="at least 1"):
        alarm_level(0)

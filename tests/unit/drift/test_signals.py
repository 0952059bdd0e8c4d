"""Text signals and the test between two windows of one."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.drift import signals

LONG = "the quick brown fox jumps over the lazy dog and then sleeps under a tree"


def test_signals_of_texts() -> None:
    texts = [LONG, f"{LONG} again", "short", ""]
    found = signals.measure(texts, ["en", "en", "de", ""], [15, 16, 1, 0], [0, 0, 1, 0])
    assert tuple(found) == signals.SIGNALS
    assert found["length"].tolist() == [len(text) for text in texts]
    assert found["unknown_share"].tolist() == [0, 0, 1, 0]
    assert found["near_duplicate_share"].tolist() == pytest.approx([1, 8 / 9, 0, 0])
    assert found["language"][0] == found["language"][1] != found["language"][2]


def test_what_is_not_known_is_left_out() -> None:
    assert "unknown_share" not in signals.measure(["a"], ["en"], [1], None)
    assert "tokens_per_character" not in signals.measure(["a"], ["en"], None, None)
    with pytest.raises(ValueError, match="2 entries for 1 texts"):
        signals.measure(["a"], ["en", "de"], None, None)


def side(rng, units, mean, rows=4):
    centre = np.repeat(rng.normal(mean, 1, size=units), rows)
    return centre + 0.1 * rng.normal(size=len(centre)), [f"u{number}" for number in range(units) for _ in range(rows)]


def test_a_signal_that_moved_is_found_and_one_that_did_not_is_not() -> None:
    rng = np.random.default_rng(1)
    moved = signals.compare_signal(side(rng, 60, 0), side(rng, 60, 1), permutations=199)
    still = signals.compare_signal(side(rng, 60, 0), side(rng, 60, 0), permutations=199)
    assert moved.p == pytest.approx(1 / 200)
    assert still.p is not None
    assert still.p > 0.05
    assert sum(moved.contributions.values()) + moved.rest == pytest.approx(moved.effect, abs=1e-9)


def test_false_alarms_of_a_clustered_signal_stay_at_the_level() -> None:
    rng = np.random.default_rng(2)
    pairs = [(side(rng, 20, 0), side(rng, 20, 0)) for _ in range(150)]
    found = [signals.compare_signal(*pair, permutations=99, seed=seed) for seed, pair in enumerate(pairs)]
    assert sum((outcome.p or 0) <= 0.05 for outcome in found) <= 15  # 99 % of an exact test's


def test_a_new_language_is_found() -> None:
    units = [f"u{number}" for number in range(60)]
    before = signals.measure(["x"] * 60, ["en"] * 54 + ["de"] * 6, None, None)["language"]
    after = signals.measure(["x"] * 60, ["en"] * 40 + ["fr"] * 20, None, None)["language"]
    assert (signals.compare_signal((before, units), (after, units), permutations=199).p or 1) <= 0.01


def test_signals_that_cannot_be_told() -> None:
    units = [f"u{number}" for number in range(20)]
    constant, spoiled = (np.ones(20), units), (np.full(20, np.nan), units)
    assert "are alike" in signals.compare_signal(constant, constant).reason
    assert "not finite" in signals.compare_signal(constant, spoiled).reason
    assert "is empty" in signals.compare_signal(constant, (np.empty(0), [])).reason

"""The drift bench is not passed by measuring nothing."""

from __future__ import annotations

import numpy as np
import pytest

from bench.drift.world import DRIFTS, World
from bench.drift_power import PEERS, Judged, _result
from bench.harness import Options
from pipelines.drift.engine import Outcome

LOUD, STILL = Outcome(p=0.002, effect=9.0), Outcome(p=0.6, effect=0.0)
NONE = np.zeros(4, dtype=np.int64)
WORLD = World(np.zeros((4, 1, 2), np.float32), NONE, np.zeros((1, 2), np.float32), np.zeros((4, 1, 2), np.float32), NONE)


def result(quick: bool, peers: dict[float, dict[str, float]] | None = None):
    """All drifts are told; `peers` gives the scores of the null windows (0) and of the drifts (1)."""
    scores = peers or {0: {}, 1: {}}
    quiet = [Judged(STILL, None, scores[0]) for _ in range(20)]
    found = {kind: [Judged(LOUD, True, scores[1])] for kind in DRIFTS}
    return _result(Options(quick=quick, seed=1), WORLD, 2, 1.0, quiet, found)


@pytest.mark.parametrize(("quick", "ok"), [(True, True), (False, False)])
def test_without_the_peers_only_a_quick_run_can_pass(quick, ok):
    found = result(quick)
    assert found.ok == ok
    assert not {*PEERS} & {*found.figures}
    assert any("make bench-peers" in note for note in found.notes) == (not ok)


def test_a_peer_that_is_as_good_leaves_no_margin():
    found = result(False, {0: {"mmd": 0.0}, 1: {"mmd": 1.0}})
    assert (found.figures["power_margin"], found.figures["behind_a_peer"], found.ok) == (0.0, 0.0, False)


def test_peers_that_see_nothing_are_beaten():
    assert result(False, {0: {"mmd": 0.0}, 1: {"mmd": 0.0}}).ok


def test_a_quick_run_is_held_to_what_its_few_trials_can_show():
    floors = {limit.figure: limit.at_least for limit in result(True).floors}
    assert 0.2 < floors["power_mean"] < 0.8  # five trials
    assert {limit.figure: limit.at_least for limit in result(False).floors}["power_mean"] == 0.8

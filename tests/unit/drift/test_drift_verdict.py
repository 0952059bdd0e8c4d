"""The verdict of a run: never green by default, and few false alarms over all its tests."""

from __future__ import annotations

import pytest

from pipelines.drift.engine import Outcome
from pipelines.drift.verdict import State, least_permutations, verdict

DAYS = 180
MANY = 3999
RARE = Outcome(p=0.0005, effect=3.0)
USUAL = Outcome(p=0.4, effect=0.1)
UNTOLD = Outcome(p=None, reason="2 units, at least 8 are needed")


def test_an_interval_without_documents_is_nothing_new() -> None:
    assert verdict({}, {}, DAYS, MANY).state is State.NOTHING_NEW


def test_a_rare_and_large_difference_is_drift_and_named() -> None:
    found = verdict({"corpus": RARE, "length": USUAL}, {"corpus": 1.0, "length": 1.0}, DAYS, MANY)
    assert (found.state, found.alarms) == (State.DRIFT, ("corpus",))
    assert "corpus (p 0.001)" in found.sentence


def test_a_rare_difference_below_what_is_usual_is_no_drift() -> None:
    assert verdict({"corpus": RARE}, {"corpus": 5.0}, DAYS, MANY).state is State.NO_DRIFT


def test_without_a_floor_the_p_decides() -> None:
    assert verdict({"corpus": RARE}, {}, DAYS, MANY).state is State.DRIFT


def test_what_could_not_be_tested_is_not_green() -> None:
    found = verdict({"corpus": UNTOLD, "length": USUAL}, {}, DAYS, MANY)
    assert found.state is State.CANNOT_TELL
    assert "2 units" in found.sentence


def test_an_alarm_still_says_what_could_not_be_tested() -> None:
    found = verdict({"corpus": RARE, "length": UNTOLD}, {}, DAYS, MANY)
    assert found.state is State.DRIFT
    assert "Cannot tell of length" in found.sentence


def test_many_tests_make_one_small_p_less_telling() -> None:
    many = {f"source {number}": USUAL for number in range(19)}
    assert verdict({"corpus": RARE}, {}, DAYS, MANY).state is State.DRIFT
    assert verdict({"corpus": RARE, **many}, {}, DAYS, MANY).state is State.NO_DRIFT


def test_permutations_suffice_for_the_first_step_of_holm() -> None:
    count = least_permutations(DAYS, 5)
    least = Outcome(p=1 / (count + 1), effect=1.0)
    assert verdict({"a": least, **{str(n): USUAL for n in range(4)}}, {}, DAYS, count).alarms == ("a",)


def test_too_few_permutations_are_refused() -> None:
    with pytest.raises(ValueError, match="give at least 900"):
        verdict({str(n): USUAL for n in range(5)}, {}, DAYS, 899)

"""Looks: what was spent stays spent, a repeated look repeats itself, and an end is an end."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from pipelines.errors import FixConfiguration
from pipelines.experiments.bucket import Exposure
from pipelines.experiments.estimate import Estimate, Untold
from pipelines.experiments.sequential import Decision, Look, Plan, decide
from pipelines.experiments.verdict import judge

PLAN = Plan("superior", effect=0.04, looks=5)
GUARD = Plan("harmless", effect=0.04, looks=5)
EVEN = (0.2, 0.4, 0.6, 0.8, 1.0)


def at(fraction: float, z: float, plan: Plan = PLAN) -> Estimate:
    """An estimate at a share of the plan's information that lies z standard errors from 0."""
    error = (fraction * plan.information) ** -0.5
    return Estimate(z * error, error, 1e12, 1000)


def looked(plan: Plan, *looks: tuple[float, float], end: float = 1.0) -> list[Decision]:
    """One decision for each (fraction, z), each with the looks before it; `end` is the fraction at the planned end."""
    found: list[Decision] = []
    for fraction, z in looks:
        past = [decision.look for decision in found if decision.look]
        found.append(decide(plan, at(fraction, z, plan), past, progress=fraction / end))
    return found


def test_even_looks_have_the_known_boundaries() -> None:
    found = looked(PLAN, *((fraction, 1.5) for fraction in EVEN))
    bounds = [decision.look.bound for decision in found if decision.look]
    assert bounds == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=6e-4)
    assert [decision.outcome for decision in found] == ["continue"] * 4 + ["champion stays"]
    assert found[-1].look
    assert (found[-1].look.spent, found[-1].look.crossed) == (0.025, 0)


@pytest.mark.parametrize(
    ("z", "outcome", "said"), [(2.8, "challenger wins", "is better"), (-2.8, "champion stays", "is worse")]
)
def test_a_crossing_ends_the_experiment_and_stands(z: float, outcome: str, said: str) -> None:
    found = looked(PLAN, (0.2, 0.5), (0.6, z), (0.8, 0.1))
    assert [decision.outcome for decision in found[1:]] == [outcome, outcome]
    assert said in found[1].reason
    assert not found[1].futile
    inside = (found[1].low or 0, found[1].high or 0)
    assert inside[0] * inside[1] > 0  # the interval excludes 0, as the test does


def test_a_look_repeated_on_the_same_values_spends_nothing_and_says_the_same() -> None:
    first, second = looked(PLAN, (0.3, 0.5), (0.55, 1.2))
    assert first.look
    assert second.look
    assert decide(PLAN, at(0.55, 1.2), [first.look, second.look], progress=0.55) == second
    end = decide(PLAN, at(0.7, 1.9), [first.look, second.look], progress=1.0)
    assert end.look
    assert decide(PLAN, at(0.7, 1.9), [first.look, second.look, end.look], progress=1.1) == end


def test_the_end_may_come_without_anything_new() -> None:
    before = looked(PLAN, (0.55, 2.5))[0]
    assert before.outcome == "continue"
    assert before.look
    end = decide(PLAN, at(0.55, 2.5), [before.look], progress=1.0)
    assert end.look
    assert end.look.spent == PLAN.budget > before.look.spent
    assert end.outcome == "challenger wins"


def test_what_was_spent_is_kept_when_information_falls_or_the_plan_grows() -> None:
    first, fallen = looked(PLAN, (0.6, 1.0), (0.5, 2.7))
    assert first.look
    assert fallen.look
    assert fallen.look == Look(fallen.look.information, None, first.look.spent, 0)
    assert (fallen.outcome, fallen.low, fallen.high) == ("continue", None, None)
    later = decide(PLAN, at(0.7, 1.0), [first.look], progress=0.35)  # twice the units are wanted now
    assert later.look
    assert later.look.spent == first.look.spent
    assert later.look.bound is None


def test_past_the_planned_end_the_rest_is_spent_once() -> None:
    before, over, after = looked(PLAN, (0.7, 1.0), (1.3, 2.1), (1.6, 4.0))
    assert before.look
    assert over.look
    assert over.look.spent == PLAN.budget
    assert over.look.bound == pytest.approx(2.028, abs=1e-3)
    assert over.outcome == after.outcome == "challenger wins"
    lost = looked(PLAN, (0.7, 1.0), (1.3, 1.5), (1.6, 4.0))
    assert [decision.outcome for decision in lost[1:]] == ["champion stays"] * 2


@pytest.mark.parametrize("end", [0.01, 0.5, 40.0])
def test_more_or_less_information_than_planned_changes_no_boundary(end: float) -> None:
    found = looked(PLAN, *((end * fraction, 1.9) for fraction in EVEN), end=end)
    bounds = [decision.look.bound for decision in found if decision.look]
    assert bounds == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=6e-4)
    assert decide(PLAN, at(end, 1.99), progress=1.0).outcome == "challenger wins"


@pytest.mark.parametrize("progress", [0.0, -1.0, math.nan])
def test_a_progress_of_nothing_is_refused(progress: float) -> None:
    with pytest.raises(FixConfiguration, match=f"progress {progress}"):
        decide(PLAN, at(0.5, 1.0), progress=progress)


def test_giving_up_is_advice_that_the_boundaries_do_not_count_on() -> None:
    given_up = looked(PLAN, (0.6, -0.5))[0]
    assert (given_up.outcome, given_up.futile) == ("champion stays", True)
    assert "were it better by 0.04" in given_up.reason
    on = looked(PLAN, (0.6, -0.5), (1.0, 2.1))
    assert on[1].outcome == "challenger wins"


@pytest.mark.parametrize(
    ("looks", "end", "outcome", "said"),
    [
        ([(0.5, 2.9)], 1.0, "holds", "a loss of 0.04 is excluded"),
        ([(0.5, 0.0)], 1.0, "continue", "neither excluded nor shown"),
        ([(0.5, -6.0)], 1.0, "broken", "a loss beyond 0.04 is shown"),
        ([(0.5, 2.9), (0.7, 0.0)], 1.0, "holds", "is excluded"),
        ([(0.5, 2.9), (0.7, -7.0)], 1.0, "broken", "is shown"),
        ([(0.5, -6.0), (0.7, 3.0)], 1.0, "broken", "is shown"),
        ([(1.0, -1.4)], 1.0, "broken", "cannot be excluded by the end"),
        ([(0.4, -0.2)], 0.4, "cannot tell", "1000 units do not exclude a loss of 0.04, about 2500 would"),
        ([(0.4, -1.7)], 0.4, "broken", "cannot be excluded by the end"),
    ],
)
def test_a_guardrail(looks: list[tuple[float, float]], end: float, outcome: str, said: str) -> None:
    found = looked(GUARD, *looks, end=end)[-1]
    assert found.outcome == outcome
    assert said in found.reason


def test_a_guardrail_has_a_one_sided_budget_of_its_own() -> None:
    found = looked(GUARD, (1.0, 0.0))[0]
    assert found.look
    assert found.look.bound == pytest.approx(1.644854, abs=1e-5)
    assert found.look.spent == 0.05


def test_the_planned_maximum_is_that_of_the_textbook_and_a_little_for_the_looks() -> None:
    once = Plan("superior", effect=0.04, looks=1).units(math.sqrt(0.2176))
    assert once == pytest.approx(4 * 0.2176 * (2.8016 / 0.04) ** 2, rel=1e-3)
    assert once < Plan("superior", effect=0.04, looks=14).units(math.sqrt(0.2176)) < 1.05 * once
    assert PLAN.units(0.5, share=0.1) == pytest.approx(PLAN.units(0.5) * 0.25 / 0.09, rel=1e-3)
    assert PLAN.units(0.5, share=None) == pytest.approx(PLAN.units(0.5) / 4, rel=1e-3)


@pytest.mark.parametrize(
    ("effect", "looks", "alpha", "power", "said"),
    [
        (0.0, 5, 0.05, 0.8, "effect 0.0"),
        (math.nan, 5, 0.05, 0.8, "effect nan"),
        (0.04, 0, 0.05, 0.8, "0 looks"),
        (0.04, 5, 0.5, 0.8, "alpha 0.5"),
        (0.04, 5, 0.0, 0.8, "alpha 0.0"),
        (0.04, 5, 0.05, 0.05, "power 0.05"),
        (0.04, 5, 0.05, 1.0, "power 1.0"),
    ],
)
def test_a_plan_that_no_test_can_keep_is_refused(effect: float, looks: int, alpha: float, power: float, said: str) -> None:
    with pytest.raises(FixConfiguration, match=said):
        Plan("superior", effect, looks, alpha, power)


FAIR = Exposure({"champion": 50, "challenger": 50}, 1.0, False, "the arms have their shares")
BROKEN = replace(FAIR, p=0.0, mismatch=True, reason="the arms have 9")
WINS, LOSES, WAITS = (Decision(outcome, "as told") for outcome in ("challenger wins", "champion stays", "continue"))
HOLDS, HURTS, OPEN = (Decision(outcome, "as told") for outcome in ("holds", "broken", "continue"))
UNTOLD = decide(PLAN, Untold("the champion has 0 units"), progress=0.1)


@pytest.mark.parametrize(
    ("primary", "guardrail", "exposure", "verdict", "reason"),
    [
        (WINS, HOLDS, FAIR, "promote", "as told; 1 guardrails hold"),
        (WINS, OPEN, FAIR, "continue", "latency: as told"),
        (WINS, HURTS, FAIR, "refuse", "latency: as told"),
        (WAITS, HURTS, FAIR, "refuse", "latency: as told"),
        (LOSES, HOLDS, FAIR, "refuse", "as told"),
        (WAITS, HOLDS, FAIR, "continue", "the metric: as told"),
        (UNTOLD, OPEN, FAIR, "cannot tell", "the metric: the champion has 0 units"),
        (WINS, UNTOLD, FAIR, "cannot tell", "latency: the champion has 0 units"),
        (WINS, HOLDS, BROKEN, "cannot tell", "the arms have 9"),
        (WINS, HURTS, BROKEN, "cannot tell", "the arms have 9"),
    ],
)
def test_the_verdict(primary: Decision, guardrail: Decision, exposure: Exposure, verdict: str, reason: str) -> None:
    found = judge(primary, {"latency": guardrail}, exposure)
    assert (found.verdict, found.reason) == (verdict, reason)
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["verdict"] == verdict


def test_a_win_needs_no_guardrail() -> None:
    assert judge(WINS, {}, FAIR).reason == "as told"


def test_every_decision_is_json() -> None:
    for decision in looked(PLAN, (0.001, 0.1), (0.6, 9.0)):
        json.dumps(decision.as_dict(), allow_nan=False)

"""The verdict about a challenger: every check refuses for its own reason, and none is lost."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pipelines.config import Gates
from pipelines.evaluate import gate, promotion
from pipelines.evaluate.gate import Decision, Judged
from pipelines.evaluate.promotion import Pair, Weights

OLD = Judged("main/frozen v1", "promote", "the loss is below 0.0100", 1600, 1600, 0.001, -0.01, 0.01, 900)
NEW = Judged("handbook/challenge v2", "promote", "no loss", 400, 400, 0.06, 0.03, 0.01, 300)
PASSED = Decision("promote", "on every slice the loss is below 0.02", 0.02, 0.05, (OLD, NEW))
EQUAL = Weights(Pair(30.0, 30.0), Pair(1000, 1000), Pair(500, 500), Pair(0.1, 0.1))
GATES = Gates(superior=("handbook/*",))


def said(decision: Decision | None = PASSED, weights: Weights = EQUAL, gates: Gates = GATES) -> promotion.Judgement:
    return promotion.judge(decision, weights, gates)


def of_slices(*slices: Judged) -> Decision:
    """As the gate combines them."""
    for verdict in ("refuse", "cannot tell"):
        for entry in slices:
            if entry.verdict == verdict:
                return Decision(entry.verdict, entry.reason, 0.02, 0.05, slices)
    return replace(PASSED, slices=slices)


def test_what_passes_everything_is_promoted_without_a_reason() -> None:
    found = said()
    assert (found.verdict, found.reasons) == ("promote", ())
    assert [check.name for check in found.checks] == [
        "not worse on main/frozen v1",
        "not worse on handbook/challenge v2",
        "better on handbook/challenge v2",
        "latency",
        "size of vectors",
        "cost of embedding",
        "size of files",
    ]
    assert found.as_dicts()[0]["bound"] == -0.01


@pytest.mark.parametrize(
    ("decision", "weights", "verdict", "reason"),
    [
        (
            of_slices(replace(OLD, verdict="refuse", reason="a loss"), NEW),
            EQUAL,
            "refuse",
            "not worse on main/frozen v1: a l",
        ),
        (
            of_slices(replace(OLD, verdict="cannot tell", reason="few"), NEW),
            EQUAL,
            "cannot tell",
            "not worse on main/frozen v",
        ),
        (
            of_slices(OLD, replace(NEW, difference=0.0, bound=-0.01)),
            EQUAL,
            "refuse",
            "better on handbook/challenge v2: there is",
        ),
        (of_slices(OLD, replace(NEW, bound=-0.06)), EQUAL, "cannot tell", "about 1600 might"),
        (of_slices(OLD, replace(NEW, bound=None)), EQUAL, "cannot tell", "better on handbook/challenge v2"),
        (of_slices(OLD), EQUAL, "cannot tell", "better on handbook/*: no slice"),
        (Decision("cannot tell", "there is no slice to judge by", 0.02, 0.05, ()), EQUAL, "cannot tell", "quality: there"),
        (None, EQUAL, "cannot tell", "quality: there is no benchmark"),
        (PASSED, replace(EQUAL, latency_ms=Pair(30, 46)), "refuse", "latency: 46 ms a question, the champion 30: 1.53"),
        (PASSED, replace(EQUAL, latency_ms=None), "cannot tell", "latency: it could not be measured"),
        (PASSED, replace(EQUAL, latency_ms=Pair(30, math.nan)), "cannot tell", "latency: it could not be measured"),
        (PASSED, replace(EQUAL, vector_bytes=Pair(1000, 2001)), "refuse", "size of vectors: 2,001 bytes"),
        (PASSED, replace(EQUAL, vector_bytes=Pair(0, 1)), "refuse", "size of vectors: 1 bytes, the champion 0: inf times"),
        (PASSED, replace(EQUAL, file_bytes=Pair(500, 1500)), "refuse", "size of files: 1,500 bytes, the champion 500: 3.00"),
        (PASSED, replace(EQUAL, cost=Pair(0.1, 0.3)), "refuse", "cost of embedding: 0.3 for the collection"),
        (PASSED, replace(EQUAL, cost=None), "cannot tell", "cost of embedding: it could not be measured"),
    ],
)
def test_every_check_refuses_for_its_own_reason(
    decision: Decision | None, weights: Weights, verdict: str, reason: str
) -> None:
    found = said(decision, weights)
    assert found.verdict == verdict
    assert len(found.reasons) == 1 or decision is None or not decision.slices  # without slices none is superior either
    assert reason in found.reasons[0]


def test_refusal_outweighs_doubt_and_all_reasons_are_kept() -> None:
    decision = of_slices(replace(OLD, verdict="cannot tell", reason="few"), replace(NEW, difference=-0.1, bound=-0.2))
    found = said(decision, Weights(Pair(30, 90), Pair(1, 5), None, None))
    assert found.verdict == "refuse"
    assert [reason.partition(":")[0] for reason in found.reasons] == [
        "better on handbook/challenge v2",
        "latency",
        "size of vectors",
        "not worse on main/frozen v1",
        "cost of embedding",
    ]


def test_a_quick_question_passes_whatever_the_champion_takes() -> None:
    assert said(weights=replace(EQUAL, latency_ms=Pair(0.1, 19.0))).verdict == "promote"
    assert said(weights=replace(EQUAL, latency_ms=Pair(0.1, 21.0))).verdict == "refuse"


def test_without_limits_nothing_but_quality_counts() -> None:
    gates = Gates(latency_ratio=None, size_ratio=None, cost_ratio=None)
    assert said(weights=Weights(Pair(1, 900), Pair(1, 900)), gates=gates).verdict == "promote"
    assert said(None, Weights(), gates).verdict == "cannot tell"


def test_files_that_are_kept_elsewhere_are_not_compared() -> None:
    assert "size of files" not in [check.name for check in said(weights=replace(EQUAL, file_bytes=None)).checks]


def test_a_decision_is_read_as_it_was_written() -> None:
    made = gate.decide({}, margin=0.02)
    assert promotion.decision_of(made.as_dict()) == made
    assert promotion.decision_of(PASSED.as_dict()) == PASSED

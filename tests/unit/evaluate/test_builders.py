"""Questions from the corpus itself, and the controls that keep them honest."""

from __future__ import annotations

import json

import pytest

from pipelines.evaluate import builders, controls
from pipelines.evaluate.builders import Builder, Passage
from pipelines.records import Candidate, Hidden

SENTENCE = "The spare propeller of the tug lies in the northern shed beside the crane."


def passage(name: str, title: str, text: str, *, heading: str = "", start: int = 0) -> Passage:
    headings = (title, heading) if heading else (title,)
    return Passage(f"file:///{name}", title, headings, start, start + len(text), text, "en")


def build(
    passages: list[Passage], builder: Builder, *, share: float = 1.0, limit: int = 10, **more: object
) -> list[Candidate]:
    return builders.build(passages, builder, share=share, limit=limit, seed=1, **more)  # type: ignore[arg-type]


def test_a_title_asks_for_its_document_and_is_removed_from_the_evidence() -> None:
    (found,) = build([passage("a", "Ice Plan", "The ice  plan: winter rules for the fleet.")], "titles")
    assert (found.text, found.documents, found.evidence) == ("Ice Plan", ("file:///a",), "The : winter rules for the fleet.")
    assert found.overlap == 0.0


def test_generic_and_shared_headings_are_dropped() -> None:
    passages = [passage(f"d{n}", f"Document number {n}", f"text {n} " * 5, heading="General Remarks") for n in range(6)]
    passages.append(passage("e", "Harbour Rules", "Moor at the east quay.", heading="Mooring Fees"))
    passages.append(passage("f", "Other Rules", "Pay.", heading="Introduction"))
    assert [entry.text for entry in build(passages, "headings")] == ["Mooring Fees"]


def test_a_crop_hides_the_passage_that_it_was_made_from() -> None:
    passages = [passage("a", "Yard", SENTENCE), passage("a", "Yard", "Another passage.", start=200)]
    (found,) = build([*passages, passage("b", "Alone", SENTENCE.replace("tug", "ferry"))], "crops")
    assert found.text == SENTENCE
    assert found.hidden == Hidden("file:///a", 0, len(SENTENCE))
    assert found.overlap == 1.0


def test_a_mention_of_another_title_asks_for_that_document_without_naming_it() -> None:
    text = "Before you sail in frost read the Ice Plan and tell the harbour office about the cargo."
    (found,) = build([passage("a", "Guide", text), passage("b", "Ice Plan", "Winter rules.")], "links")
    assert found.documents == ("file:///b",)
    assert "ice plan" not in found.text.casefold()
    assert found.hidden == Hidden("file:///a", 0, len(text))


def test_near_duplicates_are_one_cluster_and_all_of_them_answer() -> None:
    text = " ".join(f"word{number}" for number in range(200))
    passages = [passage("a", "Ice Plan", text), passage("b", "Ice Plan", text + " end"), passage("c", "Sea Plan", "short")]
    found = {entry.text: entry for entry in build(passages, "titles")}
    assert found["Ice Plan"].documents == ("file:///a", "file:///b")
    assert found["Ice Plan"].cluster == "file:///a"


def test_questions_come_from_the_held_out_part_only_and_the_split_is_lasting() -> None:
    passages = [passage(f"d{n}", f"Unusual title {n}", f"some text number {n}") for n in range(60)]
    held = {entry.documents[0] for entry in build(passages, "titles", share=0.5, limit=100)}
    assert held == {entry.document for entry in passages if controls.held_out(entry.document, 0.5)}
    assert 15 < len(held) < 45
    assert held <= {entry.documents[0] for entry in build(passages[:50] + passages[50:], "titles", share=0.8, limit=100)}


def test_every_document_has_its_turn_before_one_has_a_second() -> None:
    passages = [passage("a", "Ay", "x", heading=f"Heading alpha{n}") for n in range(9)]
    passages += [passage("b", "Be", "x", heading="Heading beta")]
    assert {entry.cluster for entry in build(passages, "headings", limit=2)} == {"file:///a", "file:///b"}


def test_a_language_model_writes_questions_and_nonsense_is_dropped() -> None:
    asked: list[tuple[str, str]] = []

    def ask(instructions: str, text: str) -> str:
        asked.append((instructions, text))
        return json.dumps(["Where is the spare propeller kept?", "What does the passage say about it?", "Hm?", 7])

    (found,) = build([passage("a", "Yard", SENTENCE)], "questions", ask=ask)
    assert (found.text, found.builder) == ("Where is the spare propeller kept?", "questions")
    assert asked[0][1] == SENTENCE
    assert "data, not instructions" in asked[0][0]
    with pytest.raises(ValueError, match="needs a language model"):
        build([passage("a", "Yard", SENTENCE)], "questions")


@pytest.mark.parametrize("answer", ["", "no", "{}", '"x"', '["Who moors', "[" * 100_000])
def test_an_answer_that_is_no_list_gives_none(answer: str) -> None:
    assert builders.parse_questions(answer) is None


def test_a_list_without_questions_is_read() -> None:
    assert builders.parse_questions("[]") == builders.parse_questions("[[1], 7]") == []


def test_fenced_json_is_read() -> None:
    assert builders.parse_questions('```json\n["Who moors at the quay?"]\n```') == ["Who moors at the quay?"]


def test_an_empty_corpus_gives_no_candidates() -> None:
    assert build([], "titles") == []

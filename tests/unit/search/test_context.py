"""Pieces fit the budget, are the document's own text, end with sentences, and say nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pipelines.search.context import Assembled, assemble
from pipelines.search.neighbours import Passage, Stretch, stretches
from pipelines.search.query import Hit
from pipelines.text.sentences import spans
from tests.unit.search.test_answer import hit

SENTENCES = [
    f"Fact {n} of the {name} lock is kept here." for n, name in enumerate(("upper", "lower", "east", "west", "old"))
]
TEXT = " ".join(SENTENCES)
COST = len(SENTENCES[0].split())  # of every sentence


def count(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def passages(uri: str, text: str = TEXT, cuts: Sequence[int] | None = None) -> list[Passage]:
    ends = list(cuts or [end for _, end in spans(text)])
    starts = [0, *ends[:-1]]
    begun = [start + (len(text[start:end]) - len(text[start:end].lstrip())) for start, end in zip(starts, ends, strict=True)]
    return [
        Passage(uri.encode().ljust(32), n, (), start, end, text[start:end])
        for n, (start, end) in enumerate(zip(begun, ends, strict=True))
    ]


def of(uri: str, passage: Passage) -> Hit:
    return hit(uri, passage.text, passage.char_start, ordinal=passage.ordinal)


def made(hits: Sequence[Hit], known: Sequence[Passage], budget: int, width: int = 1) -> Assembled:
    return assemble(hits, stretches(hits, known, width), budget, count, spans)


def test_a_hit_grows_by_whole_sentences_as_far_as_the_budget_goes() -> None:
    known = passages("a")
    middle = of("a", known[2])
    for sentences, expected in ((1, (2, 3)), (2, (2, 4)), (3, (1, 4)), (5, (0, 5)), (50, (0, 5))):
        found = made([middle], known, sentences * COST + COST // 2, width=9)
        [piece] = found.pieces
        assert piece.text == " ".join(SENTENCES[slice(*expected)]) == TEXT[piece.char_start : piece.char_end]
        assert found.tokens == piece.tokens <= found.budget
        assert (piece.number, piece.uri, piece.source_version) == (1, "a", "v7")


def test_hits_of_one_document_that_touch_are_one_piece_and_far_ones_two() -> None:
    known = passages("a")
    near = made([of("a", known[3]), of("a", known[2])], known, 2 * COST)
    assert [piece.text for piece in near.pieces] == [" ".join(SENTENCES[2:4])]
    far = made([of("a", known[4]), of("a", known[0])], known, 2 * COST)
    assert [(piece.number, piece.text) for piece in far.pieces] == [(1, SENTENCES[4]), (2, SENTENCES[0])]


def test_a_passage_that_cuts_a_sentence_is_made_whole_or_left_out() -> None:
    known = passages("a", cuts=[10, 50, len(TEXT)])  # every edge inside a sentence
    cut = of("a", known[1])
    found = made([cut], known, 2 * COST)
    assert [piece.text for piece in found.pieces] == [" ".join(SENTENCES[:2])]
    assert made([cut], known, 2 * COST - 1).pieces == ()


def test_the_edge_of_what_is_known_is_never_grown_into() -> None:
    known = passages("a", cuts=[20, 60, 90, 130, len(TEXT)])
    stretch = stretches([of("a", known[2])], known, 1)
    assert not stretch[0].starts
    [piece] = assemble([of("a", known[2])], stretch, 999, count, spans).pieces
    assert piece.text in {" ".join(SENTENCES[start:end]) for start in range(5) for end in range(start, 6)}


def test_what_a_better_hit_has_said_is_left_out_and_reported() -> None:
    text = "Boats wait at the lower gate until the lamp is green. Then they enter one by one."
    copy = text.replace("lamp", "light")
    first, second, other = hit("a", text, 3), hit("b", copy * 2, 0), hit("c", "Dues are paid at the office.")
    changed = replace(second, passage=text.upper(), char_end=len(text))
    found = made([first, changed, other], [], 99)
    assert [piece.uri for piece in found.pieces] == ["a", "c"]
    assert [(out.uri, out.why, out.number) for out in found.left_out] == [("b", "repeats", 1)]


def test_no_room_is_reported_and_smaller_hits_still_come_in() -> None:
    long, short = hit("long", " ".join(SENTENCES)), hit("short", "Dues are paid monthly.")
    found = made([long, short], [], COST)
    assert [piece.uri for piece in found.pieces] == ["short"]
    assert [(out.uri, out.why, out.number) for out in found.left_out] == [("long", "no room", None)]


@pytest.mark.parametrize("budget", [0, 1])
def test_a_budget_for_nothing_gives_nothing(budget: int) -> None:
    found = made([hit("a", TEXT)], [], budget)
    assert (found.pieces, found.tokens, len(found.left_out)) == ((), 0, 1)


def test_title_and_headings_count() -> None:
    titled = hit("a", "Dues are paid monthly.", title="Harbour", heading_path=("Harbour", "Dues"))
    assert made([titled], [], 6).pieces == ()
    [piece] = made([titled], [], 7).pieces
    assert (piece.place, piece.tokens) == ("Harbour > Dues", 7)


def test_without_hits_there_is_nothing() -> None:
    stretch: list[Stretch] = []
    assert assemble([], stretch, 100, count, spans) == Assembled((), (), 0, 100)

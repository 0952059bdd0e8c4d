"""Stretches are the document's own text: no overlap twice, no hole, no other heading."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pipelines.search.neighbours import Passage, Stretch, stretches
from pipelines.search.query import Hit
from tests.unit.search.test_answer import hit

DOC = b"d".ljust(32)
TEXT = "Alpha one. Beta two.\n\nGamma three. Delta four. Epsilon five."


def passage(ordinal: int, start: int, end: int, *path: str) -> Passage:
    return Passage(DOC, ordinal, path, start, end, TEXT[start:end])


def found(of: Passage) -> Hit:
    return hit("d", of.text, of.char_start, ordinal=of.ordinal, heading_path=of.heading_path)


PLAIN = [passage(0, 0, 10), passage(1, 11, 20), passage(2, 22, 34), passage(3, 35, 46), passage(4, 47, 60)]
OVERLAPPING = [passage(0, 0, 20), passage(1, 11, 34), passage(2, 22, 46), passage(3, 35, 60)]


@pytest.mark.parametrize("passages", [PLAIN, OVERLAPPING])
def test_a_stretch_is_the_documents_text(passages: list[Passage]) -> None:
    [whole] = stretches([found(passages[2])], passages, 9)
    assert whole == Stretch(DOC, (), 0, len(TEXT), TEXT, starts=True, ends=True)
    for start, end in pairwise([0, 5, 21, 40, len(TEXT)]):
        assert whole.cut(start, end) == TEXT[start:end]


def test_only_so_many_to_each_side_and_it_says_that_the_text_goes_on() -> None:
    [near] = stretches([found(PLAIN[2])], PLAIN, 1)
    assert (near.char_start, near.char_end, near.starts, near.ends) == (11, 46, False, False)
    assert near.text == TEXT[11:46]


def test_hits_near_each_other_share_a_stretch_and_far_ones_do_not() -> None:
    assert [s.text for s in stretches([found(PLAIN[0]), found(PLAIN[3])], PLAIN, 1)] == [TEXT]
    apart = stretches([found(PLAIN[0]), found(PLAIN[4])], PLAIN, 1)
    assert [(s.char_start, s.char_end) for s in apart] == [(0, 20), (35, 60)]


def test_another_heading_ends_it() -> None:
    passages = [passage(0, 0, 10, "A"), passage(1, 11, 20, "A"), passage(2, 22, 34, "A", "B"), passage(3, 35, 46, "A")]
    [section] = stretches([found(passages[1])], passages, 9)
    assert (section.char_start, section.char_end, section.heading_path) == (0, 20, ("A",))
    assert section.starts
    assert section.ends


def test_a_hit_whose_document_has_changed_stands_alone() -> None:
    [alone] = stretches([found(PLAIN[0])], [], 3)
    assert (alone.text, alone.starts, alone.ends) == (TEXT[:10], False, False)

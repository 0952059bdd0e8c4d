"""The poison of the bench is what it says: the real parsers give each kind its reason, and odd documents load."""

from __future__ import annotations

import random

import pytest

from bench.faults.poison import ODD, POISON, Kind, odd, poison
from pipelines.records import Content, Document, Reason, Rejected
from pipelines.text.formats import format_of
from pipelines.text.parse import parse

_TEXTS = [
    f"Paragraph {number} says that the lock at Hexley closes at {number} o'clock and opens again." for number in range(9)
]
_LIMITS = {Reason.TOO_LARGE, Reason.OUTPUT_LIMIT}  # met by the source and the pool


def _parsed(kind: Kind) -> list[Document | Rejected]:
    data = kind.make(random.Random(1), "\n\n".join(_TEXTS))
    return parse(Content(f"file:///x.{kind.extension}", "1", data), str(format_of(f"x.{kind.extension}")))


@pytest.mark.parametrize("kind", [kind for kind in POISON if not kind.costly], ids=lambda kind: kind.name)
def test_poison_has_its_reason(kind: Kind) -> None:
    (found,) = _parsed(kind)
    if kind.stage != "prepare" or kind.reason in _LIMITS:
        assert isinstance(found, Document)
    else:
        assert isinstance(found, Rejected)
        assert found.reason is kind.reason


@pytest.mark.parametrize("kind", ODD, ids=lambda kind: kind.name)
def test_odd_documents_load(kind: Kind) -> None:
    found, *members = _parsed(kind)
    assert isinstance(found, Document)
    assert [item.reason for item in members if isinstance(item, Rejected)] == list(filter(None, [kind.member_reason]))


def test_a_seed_gives_every_kind_and_the_same_bytes_again() -> None:
    first, again = (poison(random.Random(5), 60, _TEXTS) for _ in range(2))
    assert [entry[:2] for entry in first] == [entry[:2] for entry in again]
    assert {kind.name for _, _, kind in first} == {kind.name for kind in POISON}
    assert len(odd(random.Random(5), _TEXTS)) == len(ODD)

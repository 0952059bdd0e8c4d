"""Hits made into what a reader, or a language model, is given: pieces of documents within a budget of tokens. Pure.

The hits come first, best first, each with the sentences that it cuts at its edges made whole; what is left of the budget is
filled with the sentences around them, the best hit's first. What touches or overlaps becomes one piece. Passages that say
again what a better one has said are left out, and so is what has no room; both are reported.

A piece is the document's own text at its offsets, as far as white space between passages goes (`neighbours.py`). It begins
and ends with a sentence. The exception is a sentence that goes on beyond the passages fetched, three of them or more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipelines.search.neighbours import Stretch
from pipelines.search.query import Hit
from pipelines.search.words import words

Count = Callable[[Sequence[str]], list[int]]
Spans = Callable[[str, str], list[tuple[int, int]]]
Why = Literal["no room", "repeats"]

RUN = 3  # words in a row that two passages have in common
SAME = 0.8  # share of the runs of a passage, from which it says nothing new


@dataclass(frozen=True, slots=True)
class Piece:
    """A contiguous part of one document: the slice [char_start, char_end) of its cleaned text, in code points."""

    number: int  # to cite it by, from 1
    uri: str
    member: str
    title: str
    heading_path: tuple[str, ...]
    source_version: str
    char_start: int
    char_end: int
    text: str
    tokens: int  # with its title and headings

    @property
    def place(self) -> str:
        """Title and headings, as a reader sees them."""
        return place(self.title, self.heading_path)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A hit that is not among the pieces; `number` is the piece that says the same, None for want of room."""

    uri: str
    member: str
    char_start: int
    char_end: int
    why: Why
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Assembled:
    """The pieces, the one of the best hit first. `tokens` is their sum, never more than `budget`."""

    pieces: tuple[Piece, ...]
    left_out: tuple[LeftOut, ...]
    tokens: int
    budget: int
    counted_by: str = ""  # the tokenizer's model
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def place(title: str, heading_path: Sequence[str]) -> str:
    """Title and headings in one line; what repeats is there once."""
    return " > ".join(part for part in dict.fromkeys((title, *heading_path)) if part)


def assemble(hits: Sequence[Hit], stretches: Sequence[Stretch], budget: int, count: Count, spans: Spans) -> Assembled:
    """Pieces of at most `budget` tokens by `count`, which gives the tokens of each text; sentences are counted one by one.

    `stretches` hold every hit (`neighbours.around`), `spans(text, lang)` gives (start, end) of sentences.
    """
    assembly = _Assembly(budget, count, spans)
    for hit in hits:
        assembly.take(hit, next(stretch for stretch in stretches if _holds(stretch, hit)))
    for taken in assembly.taken:
        assembly.grow(taken)
    return assembly.result()


@dataclass(slots=True, eq=False)
class _Text:
    """A stretch in sentences: their places in the document, what each costs, and the numbers of those that are in."""

    stretch: Stretch
    spans: list[tuple[int, int]]
    costs: list[int]
    chosen: set[int] = field(default_factory=set)

    def runs(self) -> list[tuple[int, int]]:
        """(first, last) of the sentences that are in, those that follow each other together."""
        found: list[tuple[int, int]] = []
        for number in sorted(self.chosen):
            if found and found[-1][1] == number - 1:
                found[-1] = (found[-1][0], number)
            else:
                found.append((number, number))
        return found


@dataclass(slots=True, eq=False)
class _Taken:
    """A hit that is in, and the sentences that it reaches."""

    hit: Hit
    text: _Text
    first: int
    last: int
    runs: frozenset[tuple[str, ...]]
    heading: int  # tokens


@dataclass
class _Assembly:
    budget: int
    count: Count
    spans: Spans
    spent: int = 0
    taken: list[_Taken] = field(default_factory=list)
    left_out: list[tuple[Hit, _Taken | None]] = field(default_factory=list)  # with the one that says the same
    texts: dict[tuple[bytes, int], _Text] = field(default_factory=dict)

    def take(self, hit: Hit, stretch: Stretch) -> None:
        """The hit's own sentences, if they say something new and there is room."""
        runs = _runs(hit.passage)
        same = next((other for other in self.taken if len(runs & other.runs) >= SAME * len(runs)), None)
        text = self._text(stretch, hit)
        reached = [n for n, (start, end) in enumerate(text.spans) if start < hit.char_end and end > hit.char_start]
        missing = set(reached) - text.chosen
        heading = self.count([place(hit.title, hit.heading_path)])[0]
        cost = sum(text.costs[n] for n in missing) + (heading if missing else 0)
        if same is not None or self.spent + cost > self.budget:
            self.left_out.append((hit, same))
            return
        self.spent += cost
        text.chosen |= missing
        self.taken.append(_Taken(hit, text, reached[0], reached[-1], runs, heading))

    def grow(self, taken: _Taken) -> None:
        """The sentences around a hit, by turns after and before it, until one has no room."""
        text = taken.text
        # Where the text goes on beyond the stretch, its outermost sentence may be cut.
        low, high = (0 if text.stretch.starts else 1), len(text.spans) - (0 if text.stretch.ends else 1)
        sides = [iter(range(taken.last + 1, high)), iter(range(taken.first - 1, low - 1, -1))]
        while sides:
            sides = [side for side in sides if self._add(text, next(side, None))]

    def _add(self, text: _Text, number: int | None) -> bool:
        if number is None:
            return False
        cost = 0 if number in text.chosen else text.costs[number]
        if self.spent + cost > self.budget:
            return False
        self.spent += cost
        text.chosen.add(number)
        return True

    def result(self) -> Assembled:
        """What is in, as numbered pieces, and what is not."""
        pieces: list[Piece] = []
        numbers: dict[_Taken, int] = {}
        for taken in self.taken:
            if taken not in numbers:
                first, last = next(run for run in taken.text.runs() if run[0] <= taken.first <= run[1])
                pieces.append(_piece(len(pieces) + 1, taken, first, last))
                within = [other for other in self.taken if other.text is taken.text and first <= other.first <= last]
                numbers |= dict.fromkeys(within, len(pieces))
        left_out = tuple(
            LeftOut(hit.uri, hit.member, hit.char_start, hit.char_end, "no room")
            if same is None
            else LeftOut(hit.uri, hit.member, hit.char_start, hit.char_end, "repeats", numbers[same])
            for hit, same in self.left_out
        )
        return Assembled(tuple(pieces), left_out, sum(piece.tokens for piece in pieces), self.budget)

    def _text(self, stretch: Stretch, hit: Hit) -> _Text:
        key = (stretch.doc_id, stretch.char_start)
        if key not in self.texts:
            inside = self.spans(stretch.text, hit.lang)
            costs = self.count([stretch.text[start:end] for start, end in inside])
            self.texts[key] = _Text(
                stretch, [(start + stretch.char_start, end + stretch.char_start) for start, end in inside], costs
            )
        return self.texts[key]


def _piece(number: int, taken: _Taken, first: int, last: int) -> Piece:
    hit, text = taken.hit, taken.text
    start, end = text.spans[first][0], text.spans[last][1]
    return Piece(
        number,
        hit.uri,
        hit.member,
        hit.title,
        hit.heading_path,
        hit.source_version,
        start,
        end,
        text.stretch.cut(start, end),
        taken.heading + sum(text.costs[first : last + 1]),
    )


def _holds(stretch: Stretch, hit: Hit) -> bool:
    return stretch.doc_id == hit.doc_id and stretch.char_start <= hit.char_start and hit.char_end <= stretch.char_end


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    """Every RUN words that follow each other; a shorter text is one run."""
    found = words(text)
    return frozenset(tuple(found[start : start + RUN]) for start in range(max(1, len(found) - RUN + 1)))

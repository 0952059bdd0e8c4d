"""Structure-aware chunks that the embedder reads whole: nothing is truncated and nothing is lost.

A chunk never crosses into text under another heading. Sentences, rows, items and records are packed up to the target; a
single one longer than the limit is split at token boundaries. Tokens are counted on the document, encoded once, and every
final text is counted again by the tokenizer itself. The last two passages under a heading are of like size: a
runt says little for itself and is found badly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.errors import SkipDocument
from pipelines.records import Chunk, Document, Reason, Section
from pipelines.text import sentences
from pipelines.text.prefix import Prefixes
from pipelines.text.tokens import Tokens

if TYPE_CHECKING:
    from pipelines.config import Chunking
    from pipelines.ports import Tokenizer

_TAIL = 0.25  # a rest that exceeds the target by this share or less stays one passage, where it fits
_COUNT_AT_ONCE = 512

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Passage:
    start: int
    end: int
    path: tuple[str, ...]
    kind: str


def chunks(document: Document, tokenizer: Tokenizer, settings: Chunking) -> list[Chunk]:
    """The document's passages in order, each at most min(settings.max_tokens, tokenizer.max_tokens) tokens."""
    return list(_Chunker(document, tokenizer, settings).chunks())


class _Chunker:
    def __init__(self, document: Document, tokenizer: Tokenizer, settings: Chunking) -> None:
        self._document = document
        self._tokenizer = tokenizer
        self._settings = settings
        self._limit = min(settings.max_tokens, tokenizer.max_tokens)
        self._tokens = Tokens(document.text, tokenizer)
        self._prefixes = Prefixes(document.title, tokenizer, self._limit // 4, settings.heading_prefix)

    def chunks(self) -> Iterator[Chunk]:
        passages: list[_Passage] = []
        for group in _groups(self._document):
            passages += self._pack(group)
        ordinal = 0
        for first in range(0, len(passages), _COUNT_AT_ONCE):
            for passage, text, tokens in self._verified(passages[first : first + _COUNT_AT_ONCE]):
                yield Chunk(
                    ordinal,
                    text,
                    passage.start,
                    passage.end,
                    passage.path,
                    tokens,
                    lang=self._document.lang,
                    kind=passage.kind,
                )
                ordinal += 1

    def _pack(self, group: list[Section]) -> Iterator[_Passage]:
        """Pack the units of one heading's text."""
        path = group[0].heading_path
        room = max(1, self._limit - self._tokenizer.special_tokens - self._prefixes.tokens(path))
        units = [(span, section.kind) for section in group for span in self._units(section, room)]
        sizes = [self._tokens.size(start, end) for (start, end), _ in units]
        for first, last in _cuts(sizes, room, self._settings.target_tokens, self._settings.overlap_sentences):
            kinds = {kind for _, kind in units[first:last]}
            kind = kinds.pop() if len(kinds) == 1 else "prose"
            yield _Passage(units[first][0][0], units[last - 1][0][1], path, kind)

    def _units(self, section: Section, room: int) -> Iterator[Span]:
        """The smallest pieces worth keeping whole, none larger than `room` tokens."""
        for span in self._whole(section, room):
            if self._tokens.size(*span) <= room:
                yield span
            else:
                yield from self._tokens.split(*span, room)

    def _whole(self, section: Section, room: int) -> Iterator[Span]:
        text = self._document.text[section.start : section.end]
        if section.kind == "record" and self._tokens.size(section.start, section.end) <= room:
            yield from _shifted(_stripped(text), section.start)
        elif section.kind == "prose":
            yield from _shifted(sentences.spans(text, self._document.lang), section.start)
        else:
            for start, end in _shifted(_lines(text), section.start):
                if self._tokens.size(start, end) <= room:
                    yield start, end
                else:
                    yield from _shifted(sentences.spans(self._document.text[start:end], self._document.lang), start)

    def _verified(self, passages: Sequence[_Passage]) -> Iterator[tuple[_Passage, str, int]]:
        """Each passage with its text and the tokenizer's own count; one over the limit is halved until it fits."""
        texts = [self._text(passage) for passage in passages]
        for passage, text, count in zip(passages, texts, self._tokenizer.count(texts), strict=True):
            if count <= self._limit:
                yield passage, text, count
            else:
                yield from self._verified(self._halves(passage))

    def _text(self, passage: _Passage) -> str:
        return self._prefixes.text(passage.path) + self._document.text[passage.start : passage.end]

    def _halves(self, passage: _Passage) -> list[_Passage]:
        pieces = list(
            self._tokens.split(passage.start, passage.end, max(1, self._tokens.size(passage.start, passage.end) // 2))
        )
        if len(pieces) < 2:
            middle = (passage.start + passage.end) // 2
            if middle == passage.start:
                detail = f"one character at offset {middle} exceeds {self._limit} tokens; raise max_tokens"
                raise SkipDocument(Reason.VALIDATION_FAILED, detail)
            pieces = [(passage.start, middle), (middle, passage.end)]
        return [_Passage(start, end, passage.path, passage.kind) for start, end in pieces]


def _groups(document: Document) -> Iterator[list[Section]]:
    """Neighbouring sections with the same heading path; text outside every section belongs to no heading."""
    group: list[Section] = []
    for section in _all_text(document):
        if group and group[0].heading_path != section.heading_path:
            yield group
            group = []
        group.append(section)
    if group:
        yield group


def _all_text(document: Document) -> Iterator[Section]:
    position, end = 0, len(document.text)
    for section in sorted(document.sections, key=lambda section: section.start):
        if document.text[position : section.start].strip():
            yield Section((), position, section.start)
        start, stop = max(section.start, position), min(section.end, end)
        if document.text[start:stop].strip():
            yield Section(section.heading_path, start, stop, section.kind)
        position = max(position, stop)
    if document.text[position:].strip():
        yield Section((), position, end)


def _cuts(sizes: Sequence[int], room: int, target: int, overlap: int) -> Iterator[Span]:
    """(first, last) unit ranges, each as near to its aim as its units and the limit let it be."""
    rest = sum(sizes)
    first, fresh = 0, 0  # `fresh`: the first unit that no passage has yet
    while fresh < len(sizes):
        last = _end(sizes, first, fresh, room, _aim(rest, room, target))
        yield first, last
        back = _overlap(sizes, first, last, room, target, overlap) if last < len(sizes) else 0
        rest -= sum(sizes[first : last - back])
        first, fresh = last - back, last


def _end(sizes: Sequence[int], first: int, fresh: int, room: int, aim: int) -> int:
    """Where a passage that begins at `first` and holds at least unit `fresh` comes nearest to its aim, within the limit."""
    last, total = first, 0
    while last < len(sizes) and (last <= fresh or (total + sizes[last] // 2 <= aim and total + sizes[last] <= room)):
        total += sizes[last]
        last += 1
    return last


def _aim(rest: int, room: int, target: int) -> int:
    """Tokens for the next passage when so many are left: all of a small rest, half of what makes two, or the target.

    Only the last two share alike, so that an edit moves no cut long before it.
    """
    if rest <= min(room, (1 + _TAIL) * target):
        return rest
    return rest // 2 if rest <= 2 * target else target


def _overlap(sizes: Sequence[int], first: int, last: int, room: int, target: int, wanted: int) -> int:
    """How many units to repeat: never so many that the next passage could not grow past them."""
    back = min(wanted, last - first - 1)
    while back:
        repeated = sum(sizes[last - back : last])
        if repeated < target and repeated + sizes[last] <= room:
            break
        back -= 1
    return back


def _stripped(text: str) -> list[Span]:
    body = text.strip()
    start = len(text) - len(text.lstrip())
    return [(start, start + len(body))] if body else []


def _lines(text: str) -> Iterator[Span]:
    start = 0
    for line in text.split("\n"):
        yield from ((start + a, start + b) for a, b in _stripped(line))
        start += len(line) + 1


def _shifted(found: Sequence[Span] | Iterator[Span], by: int) -> Iterator[Span]:
    return ((start + by, end + by) for start, end in found)

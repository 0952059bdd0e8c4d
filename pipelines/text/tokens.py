"""Token counts of any stretch of a document, from one encoding of it, and cuts at token boundaries."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.ports import Tokenizer

_SLAB = 65536  # characters encoded at a time, so that memory does not grow with the document
# A word that a tokenizer does not know may be one token at any length; such a passage would be text nobody embeds
MAX_CHARS_PER_TOKEN = 12
_GOOD_ENDS = ".,;:!?)]}|/-–—…。，、"
_JOINER = "\u200d"


class Tokens:
    """The token starts of one text."""

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self._text = text
        self._starts: list[int] = []
        for begin, end in _slabs(text):
            self._starts += [begin + start for start, _ in tokenizer.offsets(text[begin:end])]

    def size(self, start: int, end: int) -> int:
        """Tokens that begin in text[start:end], or what its length must cost if that is more."""
        tokens = bisect_left(self._starts, end) - bisect_left(self._starts, start)
        return max(tokens, -(-(end - start) // MAX_CHARS_PER_TOKEN))

    def split(self, start: int, end: int, room: int) -> Iterator[tuple[int, int]]:
        """Stripped spans that cover text[start:end], each of at most `room` tokens where a cut can be found."""
        while self.size(start, end) > room:
            cut = self._cut(start, self._reach(start, end, room))
            yield from self._stripped(start, cut)
            start = cut
        yield from self._stripped(start, end)

    def _reach(self, start: int, end: int, room: int) -> int:
        """The furthest position that keeps text[start:position] within `room`; always past `start`."""
        index = bisect_left(self._starts, start) + room
        by_tokens = self._starts[index] if index < len(self._starts) else end
        return max(start + 1, min(by_tokens, start + room * MAX_CHARS_PER_TOKEN, end))

    def _cut(self, start: int, reach: int) -> int:
        """The best position in the last half before `reach`: after a space, after punctuation, at a token, anywhere."""
        half = start + (reach - start) // 2
        text = self._text
        for position in range(reach, half, -1):
            if text[position - 1].isspace() or (position < len(text) and text[position].isspace()):
                return position
        for position in range(reach, half, -1):
            if text[position - 1] in _GOOD_ENDS and not self._inside_character(position):
                return position
        return self._token_cut(half, reach)

    def _token_cut(self, half: int, reach: int) -> int:
        index = bisect_right(self._starts, reach) - 1
        while index >= 0 and self._starts[index] > half:
            if not self._inside_character(self._starts[index]):
                return self._starts[index]
            index -= 1
        position = reach
        while position > half and self._inside_character(position):
            position -= 1
        return position if position > half else reach

    def _inside_character(self, position: int) -> bool:
        """Whether a cut here would tear marks, joiners or variation selectors off what they belong to."""
        if not 0 < position < len(self._text):
            return False
        behind = self._text[position]
        if behind < "\u0300":
            return False
        return behind == _JOINER or self._text[position - 1] == _JOINER or unicodedata.category(behind)[0] == "M"

    def _stripped(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        while start < end and self._text[start].isspace():
            start += 1
        while end > start and self._text[end - 1].isspace():
            end -= 1
        if start < end:
            yield start, end


def _slabs(text: str) -> Iterator[tuple[int, int]]:
    """Cut between words, where no tokenizer's answer depends on the other side (counts are verified later anyway)."""
    start = 0
    while start < len(text):
        end = min(start + _SLAB, len(text))
        if end < len(text):
            space = max(text.rfind("\n", start + 1, end), text.rfind(" ", start + 1, end))
            end = space if space > start else end
        yield start, end
        start = end

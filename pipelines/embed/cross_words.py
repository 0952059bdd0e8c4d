"""A reranker without a model: shared words. For tests and fault benches, never for a real corpus."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

WORD = re.compile(r"\w+")


class SharedWords:
    """Implements ports.Reranker: the share of the question's words that a passage has."""

    model = "words"
    revision = "1"
    max_tokens = 512

    def score(self, question: str, passages: Sequence[str]) -> npt.NDArray[np.float32]:
        """(len(passages),) float32 from 0 to 1; the question and the passage are read as far as `max_tokens` words go."""
        asked = WORD.findall(question.casefold())[: self.max_tokens // 2]
        room = self.max_tokens - len(asked)
        read = [set(WORD.findall(passage.casefold())[:room]) for passage in passages]
        words = set(asked)
        return np.array([len(words & found) / max(1, len(words)) for found in read], dtype=np.float32)

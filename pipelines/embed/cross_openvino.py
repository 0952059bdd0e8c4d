"""The CPU reranker: the cross-encoder as an OpenVINO graph, in length-sorted batches under a token budget.

A cold process imports openvino, tokenizers and numpy only, once the model is converted. One instance serves one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.embed.batching import tapered
from pipelines.embed.cache import converted_cross
from pipelines.embed.cross_card import CrossCard
from pipelines.embed.cross_pairs import PairTokenizer, padded, require_finite
from pipelines.embed.openvino import REQUESTS, TOKEN_BUDGET, open_queue
from pipelines.errors import Retry


class OpenVinoCross:
    """Implements ports.Reranker on the CPU. Converts on first use when the cache is empty."""

    def __init__(self, card: CrossCard, cache: Path, threads: int | None = None) -> None:
        self.model = card.model
        self.revision = card.revision
        self.max_tokens = card.max_tokens
        self._card = card
        self._cache = cache
        self._threads = threads

    def score(self, question: str, passages: Sequence[str]) -> npt.NDArray[np.float32]:
        """(len(passages),) float32, in their order.

        Raises FailRun for scores that are no numbers, Retry when the engine or the conversion fails.
        """
        scores = np.zeros(len(passages), dtype=np.float32)
        if not passages:
            return scores
        pairs, queue = self._tokenizer.pairs(question, passages), self._queue
        try:
            for rows in tapered(pairs.counts, TOKEN_BUDGET, REQUESTS):
                queue.start_async(padded(pairs, rows, self._card), (scores, rows))
            queue.wait_all()
        except RuntimeError as error:
            raise Retry(f"OpenVINO failed on {len(passages)} pairs: {' '.join(str(error).split())[:500]}") from None
        return require_finite(scores, self.model)

    @cached_property
    def _tokenizer(self) -> PairTokenizer:
        return PairTokenizer(self._card.folder, self._card.max_tokens)

    @cached_property
    def _queue(self) -> Any:
        return open_queue(converted_cross(self._card, self._cache), "f32", self._threads)

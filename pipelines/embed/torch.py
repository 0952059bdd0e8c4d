"""The GPU embedder: tokenises ahead of the device, which `torch_engine` drives. Runs on the CPU too.

Opening it imports no torch, so that a machine without it can still say which model a space belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipelines.embed.card import ModelCard
from pipelines.embed.checks import require_fitting
from pipelines.embed.extra import no_torch
from pipelines.embed.tokenizer import FileTokenizer, read_tokenizer

if TYPE_CHECKING:
    from pipelines.embed.torch_engine import Engine

SLICE = 4096  # texts tokenised at once, while those before them are computed


class Torch:
    """Implements ports.Embedder. One instance serves one thread."""

    at_once = 4 * SLICE

    def __init__(self, card: ModelCard, tier: str, device: str = "auto") -> None:
        # f32 is the same on every engine; rounded arithmetic is each engine's own.
        self.fingerprint = card.fingerprint(tier if tier == "f32" else f"torch-{tier}")
        self.model = card.model
        self.revision = card.revision
        self.dim = card.dim
        self.max_tokens = card.max_tokens
        self.dtype = tier
        self._card = card
        self._wanted = device

    def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
        """(len(texts), dim) float32 unit rows, in the order of `texts`.

        Raises FailRun for a text beyond `max_tokens`, Retry when the device fails or one text does not fit its memory,
        FixConfiguration without torch or without the device.
        """
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        engine, prompt = self._engine, self._card.prompt_query if query else self._card.prompt_passage
        parts = [texts[start : start + SLICE] for start in range(0, len(texts), SLICE)]
        # The tokenizer's library uses all cores and lets go of Python meanwhile.
        with ThreadPoolExecutor(1) as ahead:
            return np.concatenate([engine.vectors(ids) for ids in ahead.map(lambda part: self._ids(part, prompt), parts)])

    def _ids(self, texts: Sequence[str], prompt: str) -> list[list[int]]:
        ids = self._tokenizer.ids(texts, prompt)
        require_fitting([len(row) for row in ids], self.max_tokens)
        return ids

    @cached_property
    def _tokenizer(self) -> FileTokenizer:
        card = self._card
        return read_tokenizer(card.weights, card.max_tokens, (card.prompt_query, card.prompt_passage))

    @cached_property
    def _engine(self) -> Engine:
        try:
            from pipelines.embed.torch_engine import Engine  # noqa: PLC0415 - 3.5 s
        except ModuleNotFoundError as error:
            raise no_torch(error) from None
        return Engine(self._card, self.dtype, self._wanted)

"""The GPU reranker: the cross-encoder in torch on one device, f32. Runs on the CPU too.

Opening it imports no torch, so that a machine without it can still read the configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.embed.batching import batches
from pipelines.embed.cross_card import CrossCard
from pipelines.embed.cross_pairs import PairTokenizer, padded, require_finite
from pipelines.embed.extra import no_torch
from pipelines.errors import Retry

BUDGET = 16_384  # tokens of a batch, padding included


class TorchCross:
    """Implements ports.Reranker. One instance serves one thread."""

    def __init__(self, card: CrossCard, device: str = "auto") -> None:
        self.model = card.model
        self.revision = card.revision
        self.max_tokens = card.max_tokens
        self._card = card
        self._wanted = device

    def score(self, question: str, passages: Sequence[str]) -> npt.NDArray[np.float32]:
        """(len(passages),) float32, in their order.

        Raises FailRun for scores that are no numbers, Retry when the device fails, FixConfiguration without torch or the
        device.
        """
        scores = np.zeros(len(passages), dtype=np.float32)
        if not passages:
            return scores
        pairs, network = self._tokenizer.pairs(question, passages), self._network
        import torch  # noqa: PLC0415 - seconds

        try:
            with torch.inference_mode():
                for rows in batches(pairs.counts, BUDGET):
                    inputs = padded(pairs, rows, self._card)
                    moved = {name: torch.from_numpy(values).to(self._device) for name, values in inputs.items()}
                    scores[rows] = network(**moved).cpu().numpy()
        except RuntimeError as error:
            raise Retry(f"{self._device}: {' '.join(str(error).split())[:500]}; check the device") from None
        return require_finite(scores, self.model)

    @cached_property
    def _tokenizer(self) -> PairTokenizer:
        return PairTokenizer(self._card.folder, self._card.max_tokens)

    @cached_property
    def _device(self) -> Any:
        from pipelines.embed.torch_engine import device_of  # noqa: PLC0415 - 3.5 s

        return device_of(self._wanted)

    @cached_property
    def _network(self) -> Any:
        try:
            from pipelines.embed.cross_network import CrossNetwork  # noqa: PLC0415 - 3.5 s
        except ModuleNotFoundError as error:
            raise no_torch(error) from None
        return CrossNetwork(self._card).to(self._device)

"""An embedder that fails on texts that carry a mark, and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.ports import Embedder

RAISES, NAN, ZERO, SHORT = "the embedder raises", "the embedder says nan", "the embedder says zero", "the embedder cuts"


@dataclass
class Sick:
    """Implements ports.Embedder around a healthy one; `cured` makes it healthy too. `calls` counts batches."""

    healthy: Embedder
    cured: bool = False
    calls: int = 0

    def __post_init__(self) -> None:
        self.model, self.dtype, self.revision = self.healthy.model, self.healthy.dtype, self.healthy.revision
        self.dim, self.max_tokens = self.healthy.dim, self.healthy.max_tokens
        self.fingerprint, self.at_once = self.healthy.fingerprint, self.healthy.at_once

    def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
        """As the healthy one, with the faults that the texts ask for."""
        self.calls += 1
        if not self.cured and any(RAISES in text for text in texts):  # as a tokenizer does, before anything is computed
            raise RuntimeError("cannot embed this")
        matrix = self.healthy.embed(texts, query=query)
        if self.cured:
            return matrix
        for row, text in enumerate(texts):
            if NAN in text:
                matrix[row, 0] = np.nan
            elif ZERO in text:
                matrix[row] = 0
        return matrix[:, :-1] if any(SHORT in text for text in texts) else matrix

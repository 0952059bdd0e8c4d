"""What every embedder checks: that no text is longer than the model reads, and that no broken vector leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.errors import FailRun
from pipelines.records import Reason

NORM_TOLERANCE = 0.01  # bf16 arithmetic stays within 0.002


def check_vectors(matrix: npt.NDArray[np.float32], dim: int) -> list[tuple[int, Reason]]:
    """(row, reason) of every row of `matrix` (n, d) that must not be stored, in row order.

    EMBED_DIM when d is not `dim` (every row); EMBED_NAN for NaN, Inf, zero or a length off 1 by more than 1 %.
    """
    rows, columns = matrix.shape
    if columns != dim:
        return [(row, Reason.EMBED_DIM) for row in range(rows)]
    norms = np.linalg.norm(matrix.astype(np.float64), axis=1)
    unit = np.abs(norms - 1.0) <= NORM_TOLERANCE  # False for NaN and Inf too
    return [(int(row), Reason.EMBED_NAN) for row in np.flatnonzero(~unit)]


def require_fitting(token_counts: Sequence[int], max_tokens: int) -> None:
    """FailRun when a text is longer than the model reads: it would be cut silently, and the chunker promises it never is."""
    longest = max(token_counts, default=0)
    if longest > max_tokens:
        raise FailRun(
            f"text of {longest} tokens exceeds the embedder's {max_tokens}; nothing is truncated: "
            "chunk with this embedder's tokenizer (include/config/chunking.yaml max_tokens)"
        )

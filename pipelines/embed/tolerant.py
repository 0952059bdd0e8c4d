"""Embed a batch although some of its texts may be poison: find those, and keep the vectors of the others.

An embedder that fails on a harmless text as well is down; that is Retry and says nothing about any text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.embed.checks import check_vectors
from pipelines.errors import MillraceError, Retry, SkipDocument
from pipelines.portions import Portions
from pipelines.ports import Embedder
from pipelines.records import Reason

CANARY = "The quick brown fox jumps over the lazy dog."


@dataclass(frozen=True, slots=True)
class Embedded:
    """`matrix` is (n, dim) float32; the rows in `refused` hold nothing and say why."""

    matrix: npt.NDArray[np.float32]
    refused: dict[int, tuple[Reason, str]]


def embed(embedder: Embedder, texts: Sequence[str], portions: Portions | None = None) -> Embedded:
    """Vectors of all texts but the refused ones. `portions` carries what was refused before from one batch to the next.

    Raises Retry when the embedder fails on any text, and whatever the project's own errors say about the whole batch.
    """
    matrix = np.zeros((len(texts), embedder.dim), dtype=np.float32)
    refused: dict[int, tuple[Reason, str]] = {}
    portions = portions or Portions()
    start = 0
    while start < len(texts):
        rows = range(start, start + portions.size(len(texts) - start))
        try:
            matrix[rows.start : rows.stop] = _embed(embedder, [texts[row] for row in rows])
        except _Refused as error:
            if not portions.failed(len(rows)):
                continue
            _require_alive(embedder, error)
            refused[start] = (error.reason, f"the embedder refuses {_described(texts[start])}: {error}")
        else:
            portions.passed(len(rows))
        start = rows.stop
    suspects = [(row, reason) for row, reason in check_vectors(matrix, embedder.dim) if row not in refused]
    for row, reason in suspects:
        alone = _alone(embedder, texts[row])
        if alone is None:
            _require_alive(embedder, _Refused("no valid vector", reason))
            refused[row] = (reason, f"no valid vector for {_described(texts[row])}, in its batch and alone")
        else:
            matrix[row] = alone
    return Embedded(matrix, refused)


class _Refused(Exception):
    """The embedder raised, or answered in another shape."""

    def __init__(self, detail: str, reason: Reason = Reason.EMBED_FAILED) -> None:
        super().__init__(detail)
        self.reason = reason


def _embed(embedder: Embedder, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    try:
        part = embedder.embed(texts)
    except SkipDocument as error:
        raise _Refused(error.detail) from error
    except MillraceError:
        raise
    except Exception as error:  # whatever the model's library raises
        raise _Refused(" ".join(str(error).split())[:300] or type(error).__name__) from error
    if part.shape != (len(texts), embedder.dim):
        raise _Refused(f"expected vectors of shape {(len(texts), embedder.dim)}, got {part.shape}", Reason.EMBED_DIM)
    return part


def _alone(embedder: Embedder, text: str) -> npt.NDArray[np.float32] | None:
    """A second try of one text, which other texts of its batch may have spoilt."""
    try:
        vector = _embed(embedder, [text])
    except _Refused:
        return None
    return None if check_vectors(vector, embedder.dim) else vector[0]


def _require_alive(embedder: Embedder, cause: _Refused) -> None:
    try:
        healthy = not check_vectors(_embed(embedder, [CANARY]), embedder.dim)
    except _Refused:
        healthy = False
    if not healthy:
        raise Retry(f"the embedder {embedder.model} fails on any text ({cause}); check the device or server") from cause


def _described(text: str) -> str:
    return f"a text of {len(text)} characters"

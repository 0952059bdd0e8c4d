"""A query adapter: a linear map of question vectors over an embedder whose passage vectors stay as they are.

`adapter.safetensors` holds `weight` (dim, dim) and `bias` (dim,), float32, `adapter.json` which embedder it was fitted to. A
space of an adapted model reads the vectors of the embedder's space: nothing is embedded again, and none is written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pipelines.embed.files import digest, read_json, require
from pipelines.errors import FailRun, FixConfiguration
from pipelines.ports import Embedder, Metered
from pipelines.records import sha256

WEIGHTS, CARD = "adapter.safetensors", "adapter.json"
LEAST_LENGTH = 1e-6  # of an adapted vector before it is normalised

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Adapter:
    """`weight` (dim, dim) and `bias` (dim,), for questions embedded by the embedder of the fingerprint `of`."""

    weight: Matrix
    bias: Matrix
    of: str

    def apply(self, questions: Matrix) -> Matrix:
        """(n, dim) unit rows of (n, dim) question vectors. Raises FailRun where one becomes no direction."""
        moved: Matrix = questions @ self.weight.T + self.bias
        lengths = np.linalg.norm(moved, axis=1, keepdims=True)
        if not np.all(np.isfinite(lengths) & (lengths > LEAST_LENGTH)):
            raise FailRun("the query adapter maps a question to no direction; roll back to the model without it")
        return np.asarray(moved / lengths, dtype=np.float32)


def write(adapter: Adapter, folder: Path) -> None:
    """The adapter as a folder: the same adapter gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"weight": np.ascontiguousarray(adapter.weight), "bias": np.ascontiguousarray(adapter.bias)}
    save_file(tensors, folder / WEIGHTS)
    card = {"kind": "query adapter", "of": adapter.of, "dim": len(adapter.bias)}
    (folder / CARD).write_text(json.dumps(card, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read(folder: Path) -> Adapter:
    """The adapter of a folder. Raises FixConfiguration for anything else than two finite tensors that fit together."""
    for name in (WEIGHTS, CARD):
        require(folder / name)
    of = read_json(folder / CARD).get("of")
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError, ValueError) as error:
        raise FixConfiguration(f"{folder / WEIGHTS}: no safetensors file ({error}); fit the adapter again") from None
    weight, bias = tensors.get("weight"), tensors.get("bias")
    sound = (
        isinstance(of, str)
        and tensors.keys() == {"weight", "bias"}
        and weight is not None
        and bias is not None
        and weight.dtype == bias.dtype == np.float32
        and bias.ndim == 1
        and weight.shape == (len(bias), len(bias))
        and bool(np.isfinite(weight).all() and np.isfinite(bias).all())
    )
    if not sound:
        raise FixConfiguration(
            f"{folder / WEIGHTS}: a query adapter has weight (dim, dim) and bias (dim,), finite float32, and {CARD} names "
            "the embedder; fit the adapter again"
        )
    assert weight is not None
    assert bias is not None
    return Adapter(weight, bias, str(of))


class Adapted:
    """An embedder whose questions go through an adapter. Its passages are the embedder's own, so is its fingerprint."""

    def __init__(self, base: Embedder, folder: Path) -> None:
        self._adapter = read(folder)
        if self._adapter.of != base.fingerprint or len(self._adapter.bias) != base.dim:
            raise FixConfiguration(
                f"{folder}: this query adapter was fitted to embedder {self._adapter.of[:12]}…, not to {base.model} "
                f"{base.fingerprint[:12]}… ({base.dim} dimensions); fit one to it, or name the model that it belongs to"
            )
        self._base = base
        self.fingerprint = base.fingerprint
        self.model = folder.name
        self.revision = revision(folder, base.revision)
        self.dim = base.dim
        self.max_tokens = base.max_tokens
        self.at_once = base.at_once
        self.dtype = base.dtype

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Matrix:
        """As the embedder's, questions adapted. Raises what the embedder raises, and FailRun for a question without one."""
        vectors = self._base.embed(texts, query=query)
        return self._adapter.apply(vectors) if query and len(texts) else vectors


def revision(folder: Path, of: str) -> str:
    """Hex identity of an adapter over a revision of its embedder."""
    return sha256("query adapter", of, digest(folder / WEIGHTS)).hex()


class MeteredAdapted(Adapted):
    """As Adapted, of an embedder that counts what it spends: the counts are the embedder's own."""

    def __init__(self, base: Embedder, metered: Metered, folder: Path) -> None:
        super().__init__(base, folder)
        self._metered = metered

    @property
    def spent(self) -> dict[str, int]:
        """What the embedder has spent."""
        return self._metered.spent

    @spent.setter
    def spent(self, value: dict[str, int]) -> None:
        self._metered.spent = value

    @property
    def elsewhere(self) -> dict[str, int] | None:
        """What the run's other shards have spent."""
        return self._metered.elsewhere

    @elsewhere.setter
    def elsewhere(self, value: dict[str, int] | None) -> None:
        self._metered.elsewhere = value


def adapted(base: Embedder, folder: Path) -> Adapted:
    """The embedder with the adapter of a folder. Raises FixConfiguration unless it was fitted to this embedder."""
    return MeteredAdapted(base, base, folder) if isinstance(base, Metered) else Adapted(base, folder)

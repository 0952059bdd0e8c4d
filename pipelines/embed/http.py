"""An embedder behind an OpenAI-compatible /v1/embeddings server (TEI, vLLM): batches, retries, a budget, checked answers.

The texts are counted here with the model's own tokenizer, so that none is cut by the server. One instance serves one thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt

from pipelines.config import HttpServer
from pipelines.connections import Connections, http_server
from pipelines.embed import http_retry
from pipelines.embed.checks import require_fitting
from pipelines.embed.files import digest
from pipelines.embed.tokenizer import FileTokenizer, read_tokenizer
from pipelines.errors import FailRun, FixConfiguration, SkipDocument
from pipelines.records import Reason, sha256


class Http:
    """Implements ports.Embedder and ports.Metered."""

    dtype = "http"  # whatever the server computes in

    def __init__(self, server: HttpServer, url: str, token: str | None = None) -> None:
        self._server = server
        self._url = _endpoint(url)
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self.model = server.model
        self.dim = server.dim
        self.max_tokens = server.max_tokens
        path = Path(server.tokenizer) / "tokenizer.json"
        if not path.is_file():
            raise FixConfiguration(f"include/config/models.yaml: http.tokenizer: {path} is missing; name the model's folder")
        self.revision = sha256("http", server.model, server.revision, digest(path)).hex()
        parts = (self.revision, str(server.dim), str(server.max_tokens), server.prompt_query, server.prompt_passage)
        self.fingerprint = sha256("embedder", *parts, "http").hex()
        self.at_once = 2 * server.concurrency * server.batch_texts
        self.spent = {"requests": 0, "tokens": 0}
        self.elsewhere: dict[str, int] | None = None
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
        """(len(texts), dim) float32 rows of length 1, or NaN where the server says so, in the order of `texts`.

        Raises Retry when the server stays away, FixConfiguration when it refuses the caller or gives other dimensions,
        SkipDocument when it refuses the texts, FailRun for a text beyond `max_tokens` or a run beyond its budget.
        """
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        if not texts:
            return vectors
        prompt = self._server.prompt_query if query else self._server.prompt_passage
        counts = [len(row) for row in self._tokenizer.ids(texts, prompt)]
        require_fitting(counts, self.max_tokens)
        batches = list(_batches(counts, self._server.batch_texts, self._server.batch_tokens))
        with (
            httpx.Client(timeout=self._server.timeout_seconds, headers=self._headers) as client,
            ThreadPoolExecutor(self._server.concurrency) as threads,
        ):
            work = [
                threads.submit(self._ask, client, [prompt + texts[row] for row in rows], sum(counts[row] for row in rows))
                for rows in batches
            ]
            try:
                for rows, answer in zip(batches, work, strict=True):
                    vectors[rows.start : rows.stop] = answer.result()
            finally:
                for answer in work:  # after an error nothing more is sent
                    answer.cancel()
        return vectors

    def _ask(self, client: httpx.Client, texts: list[str], tokens: int) -> npt.NDArray[np.float32]:
        body = {"model": self._server.model, "input": texts, "encoding_format": "float"}

        def send() -> npt.NDArray[np.float32]:
            self._charge(tokens)
            response = client.post(self._url, json=body)
            http_retry.judge(response, self._url)
            if response.status_code >= 400:
                raise SkipDocument(
                    Reason.EMBED_FAILED, f"{self._url} says {response.status_code}: {http_retry.said(response)}"
                )
            return self._rows(response, len(texts))

        return http_retry.persist(send, self._server.attempts, self._url)

    def _charge(self, tokens: int) -> None:
        """Count a request before it is sent. Raises FailRun when the run's budget does not cover it."""
        limits = {"requests": self._server.run_requests, "tokens": self._server.run_tokens}
        with self._lock:
            for name, more in (("requests", 1), ("tokens", tokens)):
                wanted = self.spent[name] + more + (self.elsewhere or {}).get(name, 0)
                if self.elsewhere is not None and wanted > limits[name]:
                    raise FailRun(
                        f"{self._url}: this run needs more than its {limits[name]} {name} ({wanted}); vectors made so "
                        f"far are kept: raise http.run_{name} in include/config/models.yaml and sync again"
                    )
            self.spent["requests"] += 1
            self.spent["tokens"] += tokens

    def _rows(self, response: httpx.Response, count: int) -> npt.NDArray[np.float32]:
        """The answer's vectors in the order asked. Raises http_retry.Garbled for what is no answer to the question."""
        try:
            entries = {int(entry["index"]): entry["embedding"] for entry in response.json()["data"]}
            rows = [[np.nan if value is None else float(value) for value in entries[index]] for index in range(count)]
        except (ValueError, KeyError, TypeError) as error:
            raise http_retry.Garbled(f"no list of {count} embeddings ({type(error).__name__}: {error})") from None
        sizes = {len(row) for row in rows}
        if sizes != {self.dim} or len(entries) != count:
            raise FixConfiguration(
                f"include/config/models.yaml: {self._url} gives {len(entries)} vectors of {sorted(sizes)} dimensions for "
                f"{count} texts, http.dim says {self.dim}; correct it or the server's model"
            )
        matrix = np.array(rows, dtype=np.float64)
        norms = np.linalg.norm(matrix, axis=1, keepdims=True)
        return (matrix / np.where(norms > 0, norms, 1)).astype(np.float32)

    @cached_property
    def _tokenizer(self) -> FileTokenizer:
        server = self._server
        return read_tokenizer(Path(server.tokenizer), server.max_tokens, (server.prompt_query, server.prompt_passage))


def open_http(server: HttpServer, connections: Connections) -> Http:
    """The embedder of a models.yaml entry; a connection's password is sent as bearer token."""
    return Http(server, *http_server(server.url, server.connection, connections))


def _endpoint(url: str) -> str:
    return f"{url.rstrip('/').removesuffix('/embeddings').removesuffix('/v1')}/v1/embeddings"


def _batches(counts: Sequence[int], texts: int, tokens: int) -> Iterator[range]:
    """Neighbours, at most `texts` of them and `tokens` together; a longer text goes alone."""
    start, total = 0, 0
    for row, count in enumerate(counts):
        if row > start and (row - start >= texts or total + count > tokens):
            yield range(start, row)
            start, total = row, 0
        total += count
    if counts:
        yield range(start, len(counts))

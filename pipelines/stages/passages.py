"""Read, parse, clean and chunk a list of documents: what `prepare` stores and `plan --exact` counts. Writes nothing.

Reads run on threads (the source waits for the network), parsing in sandboxed child processes, chunking here: at most
`READ_AHEAD` objects are in memory at once.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.errors import SkipDocument
from pipelines.records import Chunk, Content, Document, Reason, Rejected
from pipelines.stages.decide import Work
from pipelines.stages.pipeline import Pipeline
from pipelines.text.chunk import chunks

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.ports import Source, Tokenizer

READERS = 16
READ_AHEAD = 64


@dataclass(slots=True)
class Passages:
    """What became of one object."""

    work: Work
    version: str  # the version that was read; the listed one when nothing was
    content_sha: bytes | None = None
    bytes: int = 0
    unchanged: bool = False  # the very bytes that the ledger already holds
    documents: list[tuple[Document, list[Chunk]]] = field(default_factory=list)  # the object itself, then its members
    rejected: list[Rejected] = field(default_factory=list)


@contextmanager
def passages(ctx: Context, source: Source, work: list[Work], settings: Pipeline) -> Iterator[Iterator[Passages]]:
    """Yields an iterator of one Passages per work item, in any order. Retry from the source goes through."""
    readers = ThreadPoolExecutor(READERS, thread_name_prefix="read")
    try:
        yield _passages(ctx, source, work, settings, readers)
    finally:
        readers.shutdown(wait=False, cancel_futures=True)


def _passages(
    ctx: Context, source: Source, work: list[Work], settings: Pipeline, readers: ThreadPoolExecutor
) -> Iterator[Passages]:
    tokenizer = ctx.models.tokenizer(settings.model)
    results = {item.listed.uri: Passages(item, item.listed.version) for item in work}
    finished: deque[Passages] = deque()
    contents = _contents(source, results, readers, ctx.settings.limits.max_object_bytes, finished)
    tried = {item.listed.uri for item in work if item.known_fence is not None and item.known_sha is None}
    for content, outcomes in ctx.parsers.parse(contents, tried):
        result = results[content.uri]
        for outcome in outcomes:
            _keep(result, outcome, tokenizer, settings)
        yield result
        while finished:
            yield finished.popleft()
    yield from finished


def _contents(
    source: Source,
    results: dict[str, Passages],
    readers: ThreadPoolExecutor,
    max_bytes: int,
    finished: deque[Passages],
) -> Iterator[tuple[Content, str]]:
    """The objects that need parsing; those that need not (unreadable, unchanged) go to `finished`."""
    for result, future in _read_ahead(source, results.values(), readers, max_bytes):
        try:
            content = future.result()
        except SkipDocument as error:
            result.rejected.append(Rejected(result.work.listed.uri, error.reason, error.detail))
            finished.append(result)
            continue
        result.version = content.version
        result.content_sha = hashlib.sha256(content.data).digest()
        result.bytes = len(content.data)
        if result.content_sha == result.work.known_sha:
            result.unchanged = True
            finished.append(result)
        else:
            yield content, result.work.format


def _read_ahead(
    source: Source, results: Iterable[Passages], readers: ThreadPoolExecutor, max_bytes: int
) -> Iterator[tuple[Passages, Future[Content]]]:
    waiting: deque[tuple[Passages, Future[Content]]] = deque()
    for result in results:
        waiting.append((result, readers.submit(source.read, result.work.listed, max_bytes)))
        if len(waiting) >= READ_AHEAD:
            yield waiting.popleft()
    yield from waiting


def _keep(result: Passages, outcome: Document | Rejected, tokenizer: Tokenizer, settings: Pipeline) -> None:
    if isinstance(outcome, Rejected):
        result.rejected.append(outcome)
        return
    cut = chunks(outcome, tokenizer, settings.chunking)
    if cut:
        result.documents.append((outcome, cut))
    else:
        result.rejected.append(Rejected(outcome.uri, Reason.EMPTY_TEXT, "no text after cleaning", outcome.member))

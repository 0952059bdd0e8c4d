"""Untrusted bytes are parsed in child processes: no secrets, no network, limits on memory and time.

A child that dies or is late costs only its document, which gets a reason code; the child is replaced. Imports no parser.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from pipelines.errors import Retry, SkipDocument
from pipelines.records import Content, Document, Reason, Rejected
from pipelines.text.process import Child

if TYPE_CHECKING:
    from pipelines.config import Limits

PARSER = "pipelines.text.parse:parse"
_MAYBE_INHERITED = (Reason.PARSE_OOM, Reason.PARSE_CRASH)
_CLOSED = "the parse pool was closed while it was parsing; run again"

Parsed: TypeAlias = tuple[Content, list[Document | Rejected]]


class ParsePool:
    """Up to `workers` parse children, started when there is work for them. A context manager."""

    def __init__(self, limits: Limits, workers: int = 2, parser: str = PARSER) -> None:
        self._limits = limits
        self._workers = workers
        self._parser = parser
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="parse")
        self._home = Path(tempfile.mkdtemp(prefix="millrace-parse-"))
        self._closed = False

    def __enter__(self) -> ParsePool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def parse(self, items: Iterable[tuple[Content, str]]) -> Iterator[Parsed]:
        """Each (content, format) with its results, in any order; `items` is read as children become free.

        Raises Retry when children cannot be started or the pool is closed meanwhile, FixConfiguration when a parser
        is not installed.
        """
        source = iter(items)
        running: set[Future[Parsed]] = set()
        try:
            while True:
                while len(running) < self._workers and (item := next(source, None)) is not None:
                    running.add(self._threads.submit(self._one, *item))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()

    def fences(self) -> frozenset[str]:
        """Which of network, files, system_calls the kernel keeps from the children; starts one to ask."""
        child = self._take("")
        try:
            return child.fences()
        finally:
            self._release(child)

    def network_isolated(self) -> bool:
        """Whether the children have no network, by a namespace of their own or because they may not open sockets."""
        return bool(self.fences() & {"network", "system_calls"})

    def close(self) -> None:
        """Kill the children and remove their empty home."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for child in self._busy:  # their threads see the end and clean up
                child.end()
        for child in idle:
            child.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for child in self._idle:
            child.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def _one(self, content: Content, fmt: str) -> Parsed:
        try:
            return content, self._ask(content, fmt)
        except SkipDocument as skip:
            if self._closed:  # killed by us: says nothing about the document
                raise Retry(_CLOSED) from None
            return content, [Rejected(content.uri, skip.reason, skip.detail)]

    def _ask(self, content: Content, fmt: str) -> list[Document | Rejected]:
        child = self._take(fmt)
        used = bool(child.served)
        try:
            results = child.parse(content, fmt, self._limits.parse_seconds, self._limits.max_text_chars)
        except SkipDocument as skip:
            self._forget(child)
            # what earlier documents left behind in this child is not this document's fault
            if used and skip.reason in _MAYBE_INHERITED and not self._closed:
                return self._ask_fresh(content, fmt)
            raise
        except BaseException:
            self._forget(child)
            raise
        self._release(child)
        return results

    def _ask_fresh(self, content: Content, fmt: str) -> list[Document | Rejected]:
        child = self._start()
        try:
            results = child.parse(content, fmt, self._limits.parse_seconds, self._limits.max_text_chars)
        except BaseException:
            self._forget(child)
            raise
        self._release(child)
        return results

    def _take(self, fmt: str) -> Child:
        """An idle child, best one that has imported the parser already, or a new one."""
        with self._lock:
            if self._idle:
                warm = next((child for child in self._idle if fmt in child.served), self._idle[-1])
                self._idle.remove(warm)
                self._busy.add(warm)
                return warm
        return self._start()

    def _start(self) -> Child:
        with self._lock:
            if self._closed:
                raise Retry(_CLOSED)
            child = Child(self._parser, self._limits.parse_memory_mb, self._home)
            self._busy.add(child)
        return child

    def _release(self, child: Child) -> None:
        with self._lock:
            self._busy.discard(child)
            self._idle.append(child)

    def _forget(self, child: Child) -> None:
        child.kill()
        with self._lock:
            self._busy.discard(child)

"""Untrusted bytes are parsed in child processes: no secrets, no network, limits on memory and time.

A child that dies or is late costs only its document, which gets a reason code; the child is replaced. A document seen for
the first time gets processor time by its size, so that one that hangs does not hold up its neighbours for the whole
deadline; one that was tried before gets all of it. Imports no parser.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from pipelines.errors import Retry, SkipDocument
from pipelines.records import Content, Document, Reason, Rejected
from pipelines.scratch import Scratch
from pipelines.text.process import Child

if TYPE_CHECKING:
    from pipelines.config import Limits

PARSER = "pipelines.text.parse:parse"
HEAVY = frozenset({"docx"})  # formats whose parser takes seconds to import: their children read nothing else
FIRST_SECONDS, FIRST_BYTES_A_SECOND = 1.0, 50_000  # processor time at first sight: some ten times what real documents take
PATIENCE = 10  # times its processor time that a document may take by the clock, where others wait for the processor too
_CLOSED = "the parse pool was closed while it was parsing; run again"

Parsed: TypeAlias = tuple[Content, list[Document | Rejected]]


class ParsePool:
    """Up to `workers` busy parse children, started when there is work for them. A context manager."""

    def __init__(self, limits: Limits, workers: int = 2, parser: str = PARSER) -> None:
        self._limits = limits
        self._workers = workers
        self._parser = parser
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="parse")
        self._home = Scratch()
        self._closed = False

    def __enter__(self) -> ParsePool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def parse(self, items: Iterable[tuple[Content, str]], tried: Collection[str] = ()) -> Iterator[Parsed]:
        """Each (content, format) with its results, in any order. `items` is read a little ahead, so that no child
        waits while the caller is busy with a result.

        `tried` are the addresses of documents that were given up before: they get the whole of `parse_seconds`.
        Raises Retry when children cannot be started or the pool is closed meanwhile, FixConfiguration when a parser
        is not installed.
        """
        source = iter(items)
        running: set[Future[Parsed]] = set()
        try:
            while True:
                while len(running) < 2 * self._workers and (item := next(source, None)) is not None:
                    running.add(self._threads.submit(self._one, *item, item[0].uri in tried))
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
        self._home.close()

    def _one(self, content: Content, fmt: str, tried: bool) -> Parsed:
        seconds = float(self._limits.parse_seconds)
        if not tried:
            seconds = min(seconds, FIRST_SECONDS + len(content.data) / FIRST_BYTES_A_SECOND)
        try:
            return content, self._ask(content, fmt, seconds)
        except SkipDocument as skip:
            if self._closed:  # killed by us: says nothing about the document
                raise Retry(_CLOSED) from None
            return content, [Rejected(content.uri, skip.reason, skip.detail)]

    def _ask(self, content: Content, fmt: str, seconds: float) -> list[Document | Rejected]:
        child = self._take(fmt)
        used = bool(child.served)
        crowded = used and child.grown_mb() > self._limits.parse_memory_mb // 4
        try:
            return self._converse(child, content, fmt, seconds)
        except SkipDocument as skip:
            # what earlier documents left behind in this child is not this document's fault
            inherited = crowded if skip.reason is Reason.PARSE_OOM else used and skip.reason is Reason.PARSE_CRASH
            if inherited and not self._closed:
                return self._converse(self._start(fmt), content, fmt, seconds)
            raise

    def _converse(self, child: Child, content: Content, fmt: str, seconds: float) -> list[Document | Rejected]:
        """Ask one child, which may use so many seconds of processor time; it is idle or gone afterwards."""
        limits = self._limits
        clock = min(limits.parse_seconds, PATIENCE * seconds)
        try:
            return child.parse(content, fmt, seconds, clock, limits.max_text_chars)
        except SkipDocument:
            raise
        except BaseException:
            child.kill()
            raise
        finally:
            self._release(child)

    def _take(self, fmt: str) -> Child:
        """An idle child of the format's kind, best one that has imported the parser already, or a new one."""
        with self._lock:
            fit = [child for child in self._idle if child.heavy == (fmt in HEAVY)]
            if fit:
                warm = next((child for child in fit if fmt in child.served), fit[-1])
                self._idle.remove(warm)
                self._busy.add(warm)
                return warm
        return self._start(fmt)

    def _start(self, fmt: str) -> Child:
        with self._lock:
            if self._closed:
                raise Retry(_CLOSED)
            child = Child(self._parser, self._limits.parse_memory_mb, self._home.path, heavy=fmt in HEAVY)
            self._busy.add(child)
        return child

    def _release(self, child: Child) -> None:
        if not child.alive:
            child.kill()  # its pipes, and whatever else is in its session
        with self._lock:
            self._busy.discard(child)
            if child.alive:
                self._idle.append(child)

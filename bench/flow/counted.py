"""Counting what a sync does from outside: bytes read from its source, texts given to its embedder, chunks that changed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.faults.lab import Lab
from pipelines.embed import tolerant
from pipelines.ports import Source
from pipelines.records import Accounting, Content, RawObject


class CountedSource:
    """A source that counts; see `ports.Source`."""

    def __init__(self, inner: Source) -> None:
        self.inner = inner
        self.name, self.format = inner.name, inner.format
        self.objects_read = self.bytes_read = 0

    def list(self, prefix: str = "") -> Iterator[RawObject]:
        return self.inner.list(prefix)

    def read(self, listed: RawObject, max_bytes: int) -> Content:
        content = self.inner.read(listed, max_bytes)
        self.objects_read += 1
        self.bytes_read += len(content.data)
        return content

    def current_version(self, uri: str) -> str | None:
        return self.inner.current_version(uri)

    def root(self, prefix: str = "") -> str:
        return self.inner.root(prefix)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one sync did. `changed_chunks` are the distinct passages served afterwards that were not before."""

    seconds: float
    changed_chunks: int
    embedded: int  # texts that the embedder was given, counted before it
    reported: int  # of those, as the run's own record says
    objects_read: int
    bytes_read: int
    accounting: Accounting

    @property
    def off(self) -> int:
        """By how many the embeddings computed, or reported, differ from the changed chunks."""
        return max(abs(self.embedded - self.changed_chunks), abs(self.reported - self.changed_chunks))


def counted_sync(lab: Lab, source: Source) -> Cost:
    """One sync. Passages whose vector is still cached from before count as unchanged: nothing about them is computed."""
    counted, before = CountedSource(source), known_texts(lab)
    with counted_embedding() as given:
        began = time.monotonic()
        accounting = lab.sync(counted)
        seconds = time.monotonic() - began
    new = served_texts(lab) - before
    embedded = int(accounting.stats.get("embedded", 0))
    return Cost(seconds, len(new), sum(given), embedded, counted.objects_read, counted.bytes_read, accounting)


@contextmanager
def counted_embedding() -> Iterator[list[int]]:
    """The number of texts of each call that stage embed makes to its embedder, while the block runs."""
    given: list[int] = []
    real = tolerant.embed

    def counting(embedder: Any, texts: Sequence[str], portions: Any = None) -> Any:
        given.append(len(texts))
        return real(embedder, texts, portions)

    tolerant.embed = counting
    try:
        yield given
    finally:
        tolerant.embed = real


def served_texts(lab: Lab) -> set[bytes]:
    """The identity of every passage that is served."""
    return {bytes(sha) for (sha,) in lab.query("SELECT DISTINCT text_sha FROM chunk")}


def known_texts(lab: Lab) -> set[bytes]:
    """The identity of every text whose vector is there: served, or cached since it was."""
    return served_texts(lab) | {bytes(sha) for (sha,) in lab.query("SELECT DISTINCT text_sha FROM embedding_cache")}

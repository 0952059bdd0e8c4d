"""Readers that look for a mix: each answer must be one version of a document, whole.

They use the product's search in its three modes, and a plain reading of one object (attachments included) beside its ledger
rows in one REPEATABLE READ transaction. The documents are those of `direct.body`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import psycopg

from bench.faults.direct import Mark, read_marks
from bench.faults.lab import COLLECTION
from pipelines.embed.hashing import Hashing
from pipelines.search.hybrid import Query, search
from pipelines.search.query import Mode
from pipelines.store.batch import ChunkRow, chunk_digest
from pipelines.store.database import Pool, translate

PLACES = 40  # more passages than any document has
# Wrongs an answer can show; every one of them is counted by itself.
KINDS = ("mixed", "gap", "partial", "no_vector", "version_differs", "count_differs", "digest_differs")

LEDGER = """
SELECT doc_id, member, state, loaded_version, chunk_count, chunk_digest FROM document WHERE uri = %s ORDER BY member
"""
CHUNKS = """
SELECT c.doc_id, c.ordinal, c.text_sha, c.char_start, c.char_end, t.body, v.text_sha IS NOT NULL
FROM document d JOIN chunk c USING (tenant, chunk_set, doc_id)
LEFT JOIN text t USING (tenant, text_sha)
LEFT JOIN space_1 v USING (tenant, text_sha)
WHERE d.uri = %s ORDER BY c.doc_id, c.ordinal
"""


@dataclass(frozen=True, slots=True)
class Target:
    """One object to read.

    `lasting`: it is never deleted, so an answer without it is a gap. `counted`: each of its parts is one chunk, so a text
    search must find all of them.
    """

    uri: str
    name: str
    lasting: bool
    counted: bool


@dataclass(slots=True)
class Reader:
    """Reads random targets; `wrong` counts what it saw by kind, `examples` keeps the first few.

    `conn` is for the plain reading, in autocommit, read only and REPEATABLE READ.
    """

    pool: Pool
    conn: psycopg.Connection[Any]
    targets: Sequence[Target]
    rng: random.Random
    searches: float = 0.1  # share of searches among the reads
    embedder: Hashing = field(default_factory=Hashing)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def read(self) -> str:
        """One read of one object; returns its kind: direct, text, dense or hybrid."""
        target = self.rng.choice(self.targets)
        if self.rng.random() >= self.searches:
            self._direct(target)
            return "direct"
        mode: Mode = self.rng.choice(get_args(Mode))
        self._search(target, mode)
        return mode

    def _search(self, target: Target, mode: Mode) -> None:
        vector = None if mode == "text" else self.embedder.embed([f"{target.name} {target.name} passage"])[0]
        hits = search(self.pool, Query(target.name, COLLECTION, k=PLACES, mode=mode), vector)
        own = [hit for hit in hits if hit.uri == target.uri]
        marks = _of(target.name, (hit.passage for hit in own))
        if not marks:
            self._note("gap", target, mode) if target.lasting else None
            return
        versions = {mark.version for mark in marks}
        tokens = {hit.source_version for hit in own}
        if len(versions) > 1:
            self._note("mixed", target, f"{mode}: {sorted(versions)}")
        elif tokens != versions:
            self._note("version_differs", target, f"{mode}: ledger {sorted(tokens)}, text {sorted(versions)}")
        elif (
            target.counted and mode == "text" and {mark.part for mark in marks} != set(range(1, next(iter(marks)).parts + 1))
        ):
            self._note("partial", target, f"{mode}: {sorted(mark.part for mark in marks)} of {next(iter(marks)).parts}")

    def _direct(self, target: Target) -> None:
        with translate(), self.conn.pipeline(), self.conn.transaction():
            rows = self.conn.execute(LEDGER, (target.uri,))
            found = self.conn.cursor(binary=True).execute(CHUNKS, (target.uri,))
            ledger = rows.fetchall()
            chunks: dict[bytes, list[Any]] = {row[0]: [] for row in ledger}
            for doc_id, *chunk in found:
                chunks[doc_id].append(chunk)
        versions: set[str] = set()
        for doc_id, member, state, version, count, digest in ledger:
            versions |= self._document(target, member, (state, version, count, digest), chunks[doc_id])
        if len(versions) > 1:
            self._note("mixed", target, f"object and attachments: {sorted(versions)}")
        if target.lasting and not any(state == "loaded" for _, member, state, *_ in ledger if not member):
            self._note("gap", target, "not loaded")

    def _document(self, target: Target, member: str, row: tuple[Any, ...], chunks: Sequence[Any]) -> set[str]:
        """Check one document's chunks against its ledger row; the versions its text says."""
        state, version, count, digest = row
        marks = _of("", (chunk[4] or "" for chunk in chunks))
        versions = {mark.version for mark in marks}
        if count != len(chunks) or [chunk[0] for chunk in chunks] != list(range(count)):
            self._note("count_differs", target, f"{member} {state}: ledger {count}, found {len(chunks)}")
        if len(versions) > 1:
            self._note("mixed", target, f"{member}: {sorted(versions)}")
        if versions and versions != {version}:
            self._note("version_differs", target, f"{member}: ledger {version}, text {sorted(versions)}")
        if chunks and chunk_digest([_row(chunk) for chunk in chunks]) != digest:
            self._note("digest_differs", target, member)
        if not all(chunk[5] for chunk in chunks):
            self._note("no_vector", target, member)
        if state == "loaded" and not chunks:
            self._note("gap", target, f"{member}: loaded without chunks")
        return versions

    def _note(self, kind: str, target: Target, detail: str) -> None:
        self.wrong[kind] += 1
        if len(self.examples) < 5:
            self.examples.append(f"{kind} {target.uri} {detail}")


def _of(name: str, texts: Iterable[str]) -> set[Mark]:
    """The marks in the texts, of one document if named."""
    marks = set().union(*(read_marks(text) for text in texts))
    return {mark for mark in marks if not name or mark.name == name}


def _row(chunk: Sequence[Any]) -> ChunkRow:
    ordinal, sha, start, end, *_ = chunk
    return ChunkRow(b"", ordinal, sha, "", (), start, end, 0)

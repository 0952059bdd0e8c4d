"""Publish a batch of documents with chunks and vectors in one transaction, fenced per document.

Readers see a document's old version or its new one. A writer with an older fence changes nothing; a repeated attempt finds
its own commit tokens, which also settles a connection lost during COMMIT. A document the database refuses is found by
dividing the batch and does not hold up the others; its rejection names the chunk at fault. Parsing, embedding and quarantine
entries are not here.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import errors
from psycopg_pool import PoolTimeout

from pipelines.errors import Retry
from pipelines.portions import Portions
from pipelines.store import deletions, quarantine
from pipelines.store.batch import (
    Batch,
    ChunkRow,
    DocumentRow,
    Outcome,
    Recheck,
    RejectedRow,
    chunks_by_document,
)
from pipelines.store.database import Pool, translate
from pipelines.store.spaces import require_active
from pipelines.store.sql import load
from pipelines.store.writing import Work, write

Connection = psycopg.Connection[Any]
Chunks = dict[bytes, list[ChunkRow]]
Members = dict[bytes, set[bytes]]

ATTEMPTS = 6
FIRST_PAUSE = 0.05  # seconds, doubled with each attempt: 1.6 s in all


class _StartOver(Exception):
    """A document row appeared after the rows were locked."""


def publish(pool: Pool, batch: Batch, recheck: Recheck) -> Outcome:
    """Load the batch. `recheck` is asked, before anything is written, about documents that another attempt has written since
    they were planned; those it does not confirm are superseded.

    Raises Retry when texts lack a vector in the space and the cache, or when the database stays away; Switched when the
    collection is served from another space than the batch's by now.
    """
    chunks = chunks_by_document(batch.chunks)
    documents = sorted(batch.documents, key=lambda row: (row.parent_doc_id is not None, row.doc_id))
    if len({row.doc_id for row in documents}) != len(documents):
        raise ValueError("a document is in the batch twice")
    return _Publisher(pool, batch, recheck, chunks, _members(batch)).load(documents)


def _members(batch: Batch) -> Members:
    """The attachments of each object, by its doc_id."""
    members: Members = {}
    pairs = [(row.parent_doc_id, row.doc_id) for row in batch.documents]
    for parent, doc_id in (*pairs, *((item.parent_doc_id, item.doc_id) for item in batch.refused)):
        if parent is not None:
            members.setdefault(parent, set()).add(doc_id)
    return members


@dataclass(frozen=True, slots=True)
class _Publisher:
    pool: Pool
    batch: Batch
    recheck: Recheck
    chunks: Chunks
    members: Members

    def load(self, documents: Sequence[DocumentRow]) -> Outcome:
        """Load all, or divide until the refused documents stand alone."""
        outcome, portions, start = Outcome(), Portions(), 0
        while start < len(documents):
            part = documents[start : start + portions.size(len(documents) - start)]
            try:
                with translate():
                    outcome += self._persist(part)
            except (psycopg.Error, UnicodeEncodeError) as error:
                if not is_data_error(error):
                    raise
                if not portions.failed(len(part)):
                    continue
                outcome += Outcome(rejected=(_rejected(part[0], error, self._chunk_at_fault(part[0])),))
            else:
                portions.passed(len(part))
            start += len(part)
        return outcome

    def _chunk_at_fault(self, document: DocumentRow) -> str:
        """The chunk for which a document is refused, such as "chunk 3 of 7"; nothing when its chunks are not to blame."""
        own = self._of(document)
        suspects, innocent = list(own), False
        while len(suspects) > 1:
            middle = len(suspects) // 2
            halves = [half for half in (suspects[:middle], suspects[middle:]) if self._refused(document, half)]
            innocent |= len(halves) == 1
            if not halves:
                return ""
            suspects = halves[0]
        return f"chunk {suspects[0].ordinal + 1} of {len(own)}" if innocent else ""

    def _refused(self, document: DocumentRow, chunks: Sequence[ChunkRow]) -> bool:
        """Whether the database refuses the document with these chunks only, tried in a transaction that is rolled back."""
        rows = [row._replace(ordinal=number) for number, row in enumerate(chunks)]
        try:
            with translate(), self.pool.connection() as conn, conn.transaction(force_rollback=True):
                replace(self, chunks={document.doc_id: rows})._transaction(conn, [document])
        except _StartOver:  # another writer moves the row: what it leaves is for the next attempt to judge
            return False
        except (psycopg.Error, UnicodeEncodeError) as error:
            if is_data_error(error):
                return True
            raise
        return False

    def _persist(self, documents: Sequence[DocumentRow]) -> Outcome:
        unknown = True  # to the ledger, until a row in the way says otherwise
        for attempt in range(ATTEMPTS):
            try:
                with self.pool.connection() as conn:
                    return self._transaction(conn, documents, unknown)
            except (psycopg.Error, _StartOver) as error:
                if unknown and _in_the_way(error):
                    unknown = False
                    continue
                if not _passing(error):
                    raise
                cause = error
                time.sleep(FIRST_PAUSE * 2**attempt)
        raise Retry(f"publish: {ATTEMPTS} attempts ended with {' '.join(str(cause).split()) or type(cause).__name__}")

    def _transaction(self, conn: Connection, documents: Sequence[DocumentRow], unknown: bool = False) -> Outcome:
        """One attempt; `unknown` allows the way of new documents, if the locks find no row of them."""
        queries, names = load("publish"), self.batch.names()
        conn.execute(queries["begin"])
        conn.execute(queries["lock_collection"], names)
        require_active(conn, self.batch.space)
        known, seen = self._classify(conn, documents)
        settled = known.loaded | known.superseded | {row.doc_id for row in known.rejected}
        writable = [row for row in documents if row.doc_id not in settled]
        if not writable:
            return known
        work = Work(self.batch, writable, self.chunks, self.members)
        return known + self._write(conn, work, None if unknown and not seen else list(seen))

    def _classify(self, conn: Connection, documents: Sequence[DocumentRow]) -> tuple[Outcome, dict[bytes, int]]:
        """Lock the rows; what this attempt or a later or unexpected one has settled before, and the fences seen.

        An attachment follows its object: one of a version that does not stand would be served without ever being looked at.
        """
        ids = {row.doc_id for row in documents}
        objects = {row.parent_doc_id for row in documents if row.parent_doc_id}
        members = set().union(*(self.members.get(doc_id, ()) for doc_id in ids))
        names = {**self.batch.names(), "doc_ids": list(ids | objects | members)}
        locked = conn.execute(load("publish")["lock_documents"], names).fetchall()
        seen = {doc_id: fence for doc_id, fence, *_ in locked}
        done = {doc_id for doc_id, _, mine, _ in locked if mine}
        refused = {doc_id for doc_id, _, _, quarantined in locked if quarantined}
        superseded = {doc_id for doc_id, fence, *_ in locked if fence >= self.batch.fence} - done - refused
        moved = {row.doc_id for row in documents if seen.get(row.doc_id, 0) != row.expected_fence}
        conflicts = sorted(moved - done - refused - superseded)
        if conflicts:
            superseded |= set(conflicts) - self.recheck(conflicts)
        others = superseded | refused | (objects - ids - done)  # objects that do not stand in this attempt's version
        superseded |= {row.doc_id for row in documents if row.parent_doc_id in others} - refused
        again = tuple(RejectedRow(doc_id, "22000", "refused by this attempt before") for doc_id in sorted(refused & ids))
        return Outcome(frozenset(done & ids), frozenset(superseded & ids), again), seen

    def _write(self, conn: Connection, work: Work, seen: Sequence[bytes] | None) -> Outcome:
        """Write the documents and what hangs on them."""
        written = write(conn, work, seen)
        if written is None:
            raise _StartOver
        gone = self._delete_members(conn, work)
        conn.execute(load("publish")["resolve_quarantine"], work.names)
        self._quarantine_members(conn, work.documents)
        conn.execute(load("publish")["supersede_holds"], work.names)
        return Outcome(
            loaded=frozenset(row.doc_id for row in work.documents),
            deleted_members=frozenset(gone),
            chunks_written=written.chunks,
            chunks_kept=written.kept,
            chunks_retired=written.retired,
            vectors_written=written.vectors,
        )

    def _delete_members(self, conn: Connection, work: Work) -> list[bytes]:
        values = {**work.names, "present": list(set().union(*self.members.values()))}
        gone = [doc_id for (doc_id,) in conn.execute(load("publish")["vanished_members"], values)]
        if gone:
            deletions.mark(conn, run_id=self.batch.run_id, tenant=self.batch.tenant, fence=self.batch.fence, doc_ids=gone)
        return gone

    def _quarantine_members(self, conn: Connection, documents: Sequence[DocumentRow]) -> None:
        """The refused attachments of these objects, in the same transaction: a kill in between would lose them unseen."""
        sources = {row.doc_id: row.source for row in documents}
        items = [item for item in self.batch.refused if item.parent_doc_id in sources]
        if items:
            names = {"source": sources[items[0].parent_doc_id or b""], "doc_ids": [item.doc_id for item in items]}
            quarantine.enter(conn, {**self.batch.names(), **names}, items)

    def _of(self, row: DocumentRow) -> Sequence[ChunkRow]:
        return self.chunks.get(row.doc_id, ())


def is_data_error(error: BaseException) -> bool:
    """Whether one of the rows is at fault, so that the same rows would fail again."""
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return error.sqlstate[:2] in {"22", "23", "54"}
    return isinstance(error, (psycopg.DataError, UnicodeEncodeError, struct.error))


def _in_the_way(error: BaseException) -> bool:
    """Whether another writer was first with a row that was taken for new, so that only a merge can tell what to do."""
    return isinstance(error, (errors.UniqueViolation, errors.ForeignKeyViolation))


def _passing(error: BaseException) -> bool:
    """Whether the same transaction may succeed a moment later."""
    if isinstance(error, errors.ForeignKeyViolation):  # the collector removed a text that had no chunk a moment ago
        return (error.diag.constraint_name or "").endswith("text_sha_fkey")
    if isinstance(error, (_StartOver, errors.DeadlockDetected, errors.SerializationFailure)):
        return True
    if isinstance(error, PoolTimeout):  # the pool has waited long enough already
        return False
    lost = (psycopg.InterfaceError, errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow)
    return isinstance(error, lost) or (isinstance(error, psycopg.OperationalError) and error.sqlstate is None)


def _rejected(document: DocumentRow, error: BaseException, chunk: str) -> RejectedRow:
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    why = " ".join(str(error).split())[:500]
    return RejectedRow(document.doc_id, state or "22000", f"{chunk}: {why}" if chunk else why)

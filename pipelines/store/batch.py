"""What goes into and comes out of `publish`: the batch of documents with their chunks, and its outcome."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from pipelines.store.quarantine import Quarantined
from pipelines.store.spaces import Space

if TYPE_CHECKING:
    import pyarrow as pa

# Of the given documents, those whose version in this batch is still the current one at the source.
Recheck = Callable[[Sequence[bytes]], AbstractSet[bytes]]


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """One document or attachment to load. `expected_fence` is the ledger's fence as planned, 0 when it was unknown."""

    doc_id: bytes
    source: str
    uri: str
    source_version: str
    pipeline_fingerprint: str
    content_sha: bytes
    member: str = ""
    parent_doc_id: bytes | None = None
    title: str = ""
    media_type: str = ""
    lang: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    bytes: int = 0
    source_modified: datetime | None = None
    expected_fence: int = 0


class ChunkRow(NamedTuple):
    """One chunk; a Parquet table of chunks has columns of these names."""

    doc_id: bytes
    ordinal: int
    text_sha: bytes
    body: str
    heading_path: Sequence[str]
    char_start: int
    char_end: int
    tokens: int
    lang: str = ""
    kind: str = "prose"


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents published in one transaction, all of one attempt (`fence`), into the active space of a collection.

    An object's own document and its attachments belong into one batch. `refused` are the attachments of its objects that
    could not be prepared: they enter quarantine with their object. Attachments that are in neither are deleted.
    """

    run_id: int
    fence: int
    space: Space
    documents: Sequence[DocumentRow]
    chunks: Sequence[ChunkRow] | pa.Table
    refused: Sequence[Quarantined] = ()

    @property
    def tenant(self) -> str:
        return self.space.tenant

    @property
    def collection(self) -> str:
        return self.space.collection

    @property
    def chunk_set(self) -> int:
        return self.space.chunk_set

    def names(self) -> dict[str, Any]:
        """The values that statements about this batch name."""
        return {
            "tenant": self.tenant,
            "collection": self.collection,
            "fence": self.fence,
            "run_id": self.run_id,
            "chunk_set": self.chunk_set,
            "fingerprint": self.space.embedder_fingerprint,
        }


class RejectedRow(NamedTuple):
    """A document that the database refused, and its SQLSTATE."""

    doc_id: bytes
    sqlstate: str
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the documents of a batch: each is loaded, superseded or rejected.

    Superseded: another attempt's write stands, or the source has moved on; the ledger row says what is served. A retry of an
    attempt that was already committed reports its documents as loaded.
    """

    loaded: frozenset[bytes] = frozenset()
    superseded: frozenset[bytes] = frozenset()
    rejected: tuple[RejectedRow, ...] = ()
    deleted_members: frozenset[bytes] = frozenset()
    chunks_written: int = 0
    chunks_kept: int = 0
    chunks_retired: int = 0
    vectors_written: int = 0

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.loaded | other.loaded,
            self.superseded | other.superseded,
            self.rejected + other.rejected,
            self.deleted_members | other.deleted_members,
            self.chunks_written + other.chunks_written,
            self.chunks_kept + other.chunks_kept,
            self.chunks_retired + other.chunks_retired,
            self.vectors_written + other.vectors_written,
        )


def chunks_by_document(chunks: Sequence[ChunkRow] | pa.Table) -> dict[bytes, list[ChunkRow]]:
    """The chunks of each document in order, from rows or from a table with columns named as `ChunkRow`."""
    grouped: dict[bytes, list[ChunkRow]] = {}
    for row in chunks if isinstance(chunks, Sequence) else _rows(chunks):
        grouped.setdefault(row.doc_id, []).append(row)
    for rows in grouped.values():
        rows.sort(key=lambda row: row.ordinal)
    return grouped


def _rows(table: pa.Table) -> list[ChunkRow]:
    columns = (table.column(name).to_pylist() for name in ChunkRow._fields)
    return [ChunkRow._make(values) for values in zip(*columns, strict=True)]


def chunk_digest(rows: Sequence[ChunkRow]) -> bytes:
    """sha256 over (ordinal, text_sha, char_start, char_end) of the ordered chunks; `chunk_mark` in SQL says the same."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(struct.pack(">i32sii", row.ordinal, row.text_sha, row.char_start, row.char_end))
    return digest.digest()


def commit_token(fence: int, doc_id: bytes, action: str) -> UUID:
    """Names one write of one document; `commit_token` in SQL says the same."""
    return UUID(bytes=hashlib.sha256(struct.pack(">q", fence) + doc_id + action.encode()).digest()[:16])

"""How the rows of a batch reach the tables, inside publish's transaction and after its locks.

Documents of which the ledger knows nothing go straight into the tables by COPY, with the texts that are not there yet, each
once. Others are merged: staged by COPY, upserted as a set, and only the chunks that differ are exchanged, so that equal rows
are not touched; the new texts of a document that is served are analysed for full text with it. Vectors come from the
embedding cache, where the embedder left them. No statement joins a large table: each finds its rows by their keys in an
index, whatever the planner believes of a table that was never analysed. Fences, retries and outcomes are not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from pipelines.errors import Retry
from pipelines.records import sha256
from pipelines.store import lexicon
from pipelines.store.batch import Batch, ChunkRow, DocumentRow, chunk_digest, commit_token
from pipelines.store.sql import load

Connection = psycopg.Connection[Any]
Shape = tuple[Any, ...]

DOCUMENT_TYPES = (
    *("text", "bytea", "text", "text", "text", "text", "bytea", "text", "text", "bytea", "text", "int8", "uuid", "int8"),
    *("text", "int4", "int4", "bytea", "text", "text", "text", "jsonb", "text[]", "int8", "timestamptz"),
    *("int4", "timestamptz"),
)
TEXT_TYPES = ("text", "bytea", "text", "text")
CHUNK_TYPES = ("text", "int4", "bytea", "int4", "bytea", "text[]", "int4", "int4", "int4", "text", "text")


class Written(NamedTuple):
    """Rows of one transaction."""

    chunks: int
    kept: int
    retired: int
    vectors: int


class _Held(NamedTuple):
    """A chunk that is there: its place in the table, its chunk set, and what it says."""

    tid: str
    chunk_set: int
    shape: Shape


@dataclass(frozen=True)
class Work:
    """The documents of a batch that one transaction writes, with the chunks and attachments of each by doc_id."""

    batch: Batch
    documents: Sequence[DocumentRow]
    chunks: Mapping[bytes, Sequence[ChunkRow]]
    members: Mapping[bytes, set[bytes]]

    @cached_property
    def rows(self) -> list[ChunkRow]:
        """The chunks in the order of their texts, which is the order in which every writer locks texts."""
        rows = [row for document in self.documents for row in self.chunks.get(document.doc_id, ())]
        return sorted(rows, key=lambda row: row.text_sha)

    @cached_property
    def texts(self) -> dict[bytes, ChunkRow]:
        """One chunk for each distinct text, in order; where languages differ, that of the first by name.

        Raises DataError for a body that is not the text of its hash: it would stand for every document with that text.
        """
        texts: dict[bytes, ChunkRow] = {}
        for row in self.rows:
            known = texts.get(row.text_sha)
            if row.body != known.body if known else row.text_sha != sha256(row.body):
                raise psycopg.DataError(f"chunk {row.ordinal}: its body is not the text of hash {row.text_sha.hex()}")
            if known is None or row.lang < known.lang:
                texts[row.text_sha] = row
        return texts

    @cached_property
    def names(self) -> dict[str, Any]:
        """The values that the statements name."""
        return {
            **self.batch.names(),
            "shas": list(self.texts),
            "doc_ids": [row.doc_id for row in self.documents],
            "sources": sorted({row.source for row in self.documents}),
            "uris": sorted({row.uri for row in self.documents}),
        }


def write(conn: Connection, work: Work, seen: Sequence[bytes] | None) -> Written | None:
    """Write the batch. `seen` are the documents of which locked rows exist; None sends all straight to the tables, as new.

    Returns None when a row appeared since the locks were taken: the caller starts over. So it does, but with `seen`, when
    new ones meet a unique or foreign key violation: another writer was first with a document or a text. Raises Retry when
    a text has no vector.
    """
    if seen is None:
        _copy(conn, "copy_documents", DOCUMENT_TYPES, _documents(conn, work))
    elif not _merge_documents(conn, work, seen):
        return None
    known = _write_texts(conn, work, straight=seen is None)
    kept, served, retired = _retire_chunks(conn, work) if seen else (set(), set(), 0)
    new = [row for row in work.rows if not kept or _shape(row) not in kept]
    key = (work.batch.tenant, work.batch.chunk_set)
    chunks = ((*key, row.doc_id, row.ordinal, row.text_sha, list(row.heading_path), *row[5:]) for row in new)
    _copy(conn, "copy_chunks", CHUNK_TYPES, chunks)
    vectors = _write_vectors(conn, work, known)
    if served:
        lexicon.analyse(conn, work.batch.tenant, {row.text_sha for row in new if row.doc_id in served})
    return Written(len(new), len(work.rows) - len(new), retired, vectors)


def _documents(conn: Connection, work: Work) -> list[tuple[Any, ...]]:
    """The rows of the ledger. The moment is the server's: clocks of workers differ."""
    batch = work.batch
    (now,) = conn.execute(load("publish")["now"]).fetchall()[0]
    rows = []
    for row in work.documents:
        own = work.chunks.get(row.doc_id, ())
        token = commit_token(batch.fence, row.doc_id, "loaded")
        rows.append(
            (
                *(batch.tenant, row.doc_id, batch.collection, row.source, row.uri, row.member, row.parent_doc_id),
                *(row.source_version, row.pipeline_fingerprint, row.content_sha, "loaded", batch.fence, token, batch.run_id),
                *(row.source_version, batch.chunk_set, len(own), chunk_digest(own), row.title, row.media_type, row.lang),
                *(Jsonb(dict(row.metadata)), list(row.warnings), row.bytes, row.source_modified),
                *(len(work.members.get(row.doc_id, ())), now),
            )
        )
    return rows


def _merge_documents(conn: Connection, work: Work, seen: Sequence[bytes]) -> bool:
    """Insert and update; whether every row was written. One that nobody had seen is left alone."""
    conn.execute(load("publish")["stage_documents"])
    _copy(conn, "copy_staged_documents", DOCUMENT_TYPES, _documents(conn, work))
    written = conn.execute(load("publish")["write_documents"], {"seen": list(seen)}).rowcount
    return bool(written == len(work.documents))


def _write_texts(conn: Connection, work: Work, *, straight: bool) -> list[bytes]:
    """Add the texts that are not there; returns those that were.

    A stored body that is not the text of its hash was altered behind the ledger; whoever publishes the text restores it.
    """
    queries = load("publish")
    known = dict(conn.execute(queries["known_texts"], work.names).fetchall())
    for sha in (sha for sha, true in known.items() if not true):
        conn.execute(queries["mend_text"], {**work.names, "sha": sha, "body": work.texts[sha].body})
    new = [(work.batch.tenant, sha, row.body, row.lang) for sha, row in work.texts.items() if sha not in known]
    if straight:
        _copy(conn, "copy_texts", TEXT_TYPES, new)
    elif new:
        conn.execute(queries["stage_texts"])
        _copy(conn, "copy_staged_texts", TEXT_TYPES, new)
        conn.execute(queries["write_texts"])
    return list(known)


def _write_vectors(conn: Connection, work: Work, known: Sequence[bytes]) -> int:
    """Take from the cache what the space lacks; only a text that was there before can have its vector."""
    queries, space = load("publish"), work.batch.space
    rows = conn.execute(space.fill(queries["known_vectors"]), {**work.names, "shas": known}) if known else ()
    lacking = work.texts.keys() - {sha for (sha,) in rows}
    if not lacking:
        return 0
    values = {**work.names, "shas": sorted(lacking)}
    written = conn.execute(space.fill(queries["write_vectors"]), values).rowcount
    if written != len(lacking):
        absent = conn.execute(space.fill(queries["without_vector"]), values).fetchall()[0][0]
        if absent:
            raise Retry(f"publish: {absent} texts have no vector in space {space.id}; embed the shard again")
    return written


def _retire_chunks(conn: Connection, work: Work) -> tuple[set[Shape], set[bytes], int]:
    """Take out what these documents no longer have, the served of it into the past, and what stood by for a switch.

    Returns the chunks that stay as they are, the documents that had chunks, and how many chunks went into the past.
    """
    queries = load("publish")
    with conn.cursor(binary=True) as cursor:
        held = [_Held(row[0], row[1], _with_tuple(row[2:])) for row in cursor.execute(queries["held_chunks"], work.names)]
    wanted = {_shape(row) for row in work.rows}
    gone = [chunk for chunk in held if chunk.chunk_set != work.batch.chunk_set or chunk.shape not in wanted]
    conn.execute(queries["drop_standby"], work.names)
    retired = 0
    if gone:
        names = {**work.names, "tids": [chunk.tid for chunk in gone], "shas": list({chunk.shape[2] for chunk in gone})}
        retired = conn.execute(queries["retire_chunks"], names).rowcount
    kept = {chunk.shape for chunk in held} - {chunk.shape for chunk in gone}
    return kept, {chunk.shape[0] for chunk in held}, retired


def _shape(row: ChunkRow) -> Shape:
    """A chunk without its text's body: of equal shape, two are the same row."""
    return _with_tuple((*row[:3], *row[4:]))


def _with_tuple(values: Sequence[Any]) -> Shape:
    """(doc_id, ordinal, text_sha, heading_path, …) with a heading path that can be compared."""
    return (*values[:3], tuple(values[3]), *values[4:])


def _copy(conn: Connection, statement: str, types: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Binary COPY. The driver's formatter for these types is compiled: 2 microseconds a row, the server needs 100."""
    with conn.cursor() as cursor, cursor.copy(load("publish")[statement]) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)

"""The product's own load: its cache, its publish with ledger and fences, its index; and bare COPY of the very same rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Self

import psycopg

from bench.loads.rows import CHUNKS, DIM, TEXT_BYTES, Rows
from pipelines import config
from pipelines.records import document_id, sha256
from pipelines.store import database, ledger, lexicon, space_index, spaces, vectors
from pipelines.store.batch import Batch, ChunkRow, DocumentRow
from pipelines.store.publish import publish

SOURCE, COLLECTION, FINGERPRINT = "bench", "knowledge", "bench-384"
BATCH = config.load().limits.publish_batch_documents
EMBED_BATCH = config.load().limits.embed_batch_texts
TABLES = {
    "document": "tenant, doc_id, collection, source, uri, member, parent_doc_id, source_version, pipeline_fingerprint,"
    " content_sha, state, fence, commit_token, run_id, loaded_version, chunk_set, chunk_count, chunk_digest, title,"
    " media_type, lang, metadata, warnings, bytes, source_modified, members, loaded_at",
    "text": "tenant, text_sha, body, lang, created_at",
    "chunk": "tenant, chunk_set, doc_id, ordinal, text_sha, heading_path, char_start, char_end, tokens, lang, kind,"
    " valid_from",
    "space_1": "tenant, text_sha, embedding",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """An embedder that nobody asks."""

    fingerprint: str = FINGERPRINT
    model: str = "bench"
    revision: str = "1"
    dim: int = DIM
    dtype: str = "f32"
    max_tokens: int = 256


@dataclass(slots=True)
class Loader:
    """One writer into one database."""

    pool: database.Pool
    space: spaces.Space
    run_id: int
    fences: dict[bytes, int] = field(default_factory=dict)

    @classmethod
    def open(cls, dsn: str) -> Self:
        """Into a migrated database, whose first space, run and chunk set this makes: their numbers are 1."""
        pool = database.open_pool(dsn)
        chunk_set = spaces.ensure_chunk_set(pool, fingerprint="bench", settings={}, tokenizer_sha="bench", max_tokens=256)
        space = spaces.ensure_space(pool, Identity(), collection=COLLECTION, chunk_set=chunk_set, storage="halfvec")
        fence = ledger.next_fence(pool)
        run = ledger.start_run(pool, source=SOURCE, collection=COLLECTION, door="cli", scope="bench://", fence=fence)
        return cls(pool, space, run.id)

    def close(self) -> None:
        """End the connections."""
        self.pool.close()

    def remember(self, rows: Rows) -> float:
        """The vectors into the cache, in the batches in which stage embed commits them; returns the seconds."""
        shas = [sha256(text) for text in rows.texts]
        began = time.monotonic()
        for start in range(0, len(shas), EMBED_BATCH):
            part = slice(start, start + EMBED_BATCH)
            vectors.remember(self.pool, FINGERPRINT, shas[part], rows.vectors[part])
        return time.monotonic() - began

    def publish(self, documents: Sequence[tuple[int, Sequence[str]]], version: str) -> float:
        """(number, texts) of documents through publish, in batches as the stage makes them; returns the seconds.

        Raises RuntimeError unless every one was loaded.
        """
        fence = ledger.next_fence(self.pool)
        made = [self._document(number, texts, version) for number, texts in documents]
        began = time.monotonic()
        for start in range(0, len(made), BATCH):
            part = made[start : start + BATCH]
            chunks = [chunk for _, own in part for chunk in own]
            batch = Batch(self.run_id, fence, self.space, [row for row, _ in part], chunks)
            outcome = publish(self.pool, batch, frozenset)
            if len(outcome.loaded) != len(part):
                raise RuntimeError(
                    f"{len(outcome.loaded)} of {len(part)} documents were loaded: there is nothing to measure"
                )
            self.fences |= dict.fromkeys(outcome.loaded, fence)
        return time.monotonic() - began

    def fold(self) -> float:
        """Analyse the pending texts for full-text search; returns texts a second."""
        began = time.monotonic()
        return lexicon.fold(self.pool) / (time.monotonic() - began)

    def index(self) -> float:
        """Build the space's index as settle does; returns the seconds."""
        began = time.monotonic()
        space_index.ensure_index(self.pool, self.space)
        return time.monotonic() - began

    def _document(self, number: int, texts: Sequence[str], version: str) -> tuple[DocumentRow, list[ChunkRow]]:
        uri = f"bench://guide/{number:08d}.md"
        doc_id = document_id(SOURCE, uri)
        row = DocumentRow(
            doc_id,
            SOURCE,
            uri,
            version,
            "bench",
            sha256(uri, version),
            title=f"Guide {number}",
            media_type="text/markdown",
            lang="en",
            metadata={"team": "platform"},
            bytes=CHUNKS * TEXT_BYTES,
            expected_fence=self.fences.get(doc_id, 0),
        )
        chunks = [
            ChunkRow(
                doc_id, place, sha256(text), text, ("Guide", "Part"), TEXT_BYTES * place, TEXT_BYTES * (place + 1), 180, "en"
            )
            for place, text in enumerate(texts)
        ]
        return row, chunks


def documents(rows: Rows, first: int = 0) -> list[tuple[int, list[str]]]:
    """All rows as documents, numbered from `first`."""
    return [(first + number, rows.texts[CHUNKS * number : CHUNKS * (number + 1)]) for number in range(rows.documents)]


def dump(dsn: str) -> dict[str, list[bytes]]:
    """Every row that a load wrote, as the blocks of a binary COPY by table."""
    found: dict[str, list[bytes]] = {}
    with psycopg.connect(database.session_conninfo(dsn)) as conn:
        for table, columns in TABLES.items():
            with conn.cursor().copy(
                f"COPY (SELECT {columns} FROM {table} ORDER BY ctid) TO STDOUT (FORMAT binary)".encode()
            ) as copy:
                found[table] = [bytes(block) for block in copy]
    return found


def bare_copy(dsn: str, dumped: dict[str, list[bytes]]) -> float:
    """Those rows by COPY alone, in one transaction, into the same tables with all their constraints and indexes."""
    with closing(Loader.open(dsn)):
        pass
    with psycopg.connect(database.session_conninfo(dsn)) as conn:
        began = time.monotonic()
        for table, blocks in dumped.items():
            statement = f"COPY {table} ({TABLES[table]}) FROM STDIN (FORMAT binary)".encode()
            with conn.cursor() as cursor, cursor.copy(statement) as copy:
                for block in _joined(blocks):
                    copy.write(block)
        conn.commit()
        return time.monotonic() - began


def _joined(blocks: Sequence[bytes], size: int = 2**17) -> list[bytes]:
    whole = b"".join(blocks)
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def touched(dsn: str, before: dict[str, Any]) -> int:
    """Rows of `before` that are still there in another version."""
    after = row_versions(dsn)
    return sum(after[key] != version for key, version in before.items() if key in after)


def row_versions(dsn: str) -> dict[str, Any]:
    """The version (xmin and place) of each chunk, text and vector, by table and key."""
    found: dict[str, Any] = {}
    with psycopg.connect(database.session_conninfo(dsn)) as conn:
        for table, key in (
            ("chunk", "doc_id::text || ordinal || text_sha::text"),
            ("text", "text_sha::text"),
            ("space_1", "text_sha::text"),
        ):
            statement = f"SELECT '{table} ' || {key}, xmin::text || ctid::text FROM {table}".encode()
            found |= dict(conn.execute(statement).fetchall())
    return found

"""Rows for the search tests, written straight into the tables so that these tests depend on the schema only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from pipelines.records import document_id, sha256

Vectors = npt.NDArray[np.float32]
DIM = 32


@dataclass
class Doc:
    """One document of passages; `vectors` has a row for each."""

    uri: str
    passages: Sequence[str]
    vectors: Vectors
    source: str = "s"
    tenant: str = "public"
    collection: str = "k"
    state: str = "loaded"
    lang: str = "en"
    title: str = ""
    heading: str = ""
    media_type: str = "text/plain"
    metadata: dict[str, Any] = field(default_factory=dict)
    modified: datetime | None = None


class Corpus:
    """Fills a fresh database: a run, a chunk set and spaces on request."""

    def __init__(self, dsn: str, dim: int) -> None:
        self.conn = psycopg.connect(dsn, autocommit=True)
        self.conn.execute("SET search_path = millrace, public")
        self.dim = dim
        self.run = self._id(
            "INSERT INTO run (source, collection, door, scope, fence) VALUES ('s', 'k', 'cli', '', 1) RETURNING id"
        )
        self.chunk_set = self._id(
            "INSERT INTO chunk_set (fingerprint, settings, tokenizer_sha, max_tokens)"
            " VALUES ('c', '{}', 't', 254) RETURNING id"
        )

    def close(self) -> None:
        self.conn.close()

    def space(self, *, tenant: str = "public", collection: str = "k", state: str = "active", model: str = "m") -> int:
        space = self._id(
            "INSERT INTO space (tenant, collection, chunk_set, model, revision, embedder_fingerprint, dim, dtype, storage,"
            " max_length, state) VALUES (%s, %s, %s, %s, 'r', %s, %s, 'f32', 'halfvec', 256, %s) RETURNING id",
            (tenant, collection, self.chunk_set, model, model, self.dim, state),
        )
        table = sql.Identifier(f"space_{space}")
        self.conn.execute(
            sql.SQL(
                "CREATE TABLE {} (tenant text NOT NULL, text_sha bytea NOT NULL, embedding halfvec({}) NOT NULL,"
                " PRIMARY KEY (tenant, text_sha))"
            ).format(table, sql.Literal(self.dim))
        )
        self.conn.execute(sql.SQL("CREATE INDEX ON {} USING hnsw (embedding halfvec_ip_ops)").format(table))
        return space

    def add(self, space: int, doc: Doc) -> None:
        doc_id = document_id(doc.source, doc.uri)
        served = doc.state != "deleted"
        self.conn.execute(
            "INSERT INTO document (tenant, doc_id, collection, source, uri, source_version, pipeline_fingerprint, state,"
            " reason, fence, commit_token, run_id, loaded_version, chunk_set, chunk_count, title, media_type, lang,"
            " metadata, source_modified) VALUES (%s, %s, %s, %s, %s, %s, 'p', %s, %s, 1, gen_random_uuid(), %s, %s, %s, %s,"
            " %s, %s, %s, %s, %s)",
            (
                doc.tenant, doc_id, doc.collection, doc.source, doc.uri,
                "2" if doc.state == "quarantined" else "1", doc.state,
                "malformed" if doc.state == "quarantined" else None,
                self.run, "1" if served else None, self.chunk_set if served else None,
                len(doc.passages) if served else 0, doc.title, doc.media_type, doc.lang, Jsonb(doc.metadata), doc.modified,
            ),
        )  # fmt: skip
        start = 0
        for ordinal, (passage, vector) in enumerate(zip(doc.passages, doc.vectors, strict=True)):
            self._chunk(space, doc, doc_id, ordinal, passage, start, vector)
            start += len(passage) + 1

    def _chunk(self, space: int, doc: Doc, doc_id: bytes, ordinal: int, passage: str, start: int, vector: Vectors) -> None:
        body = f"{doc.heading}\n\n{passage}" if doc.heading else passage
        text_sha = sha256(body)
        self.conn.execute(
            "INSERT INTO text (tenant, text_sha, body, lang) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (doc.tenant, text_sha, body, doc.lang),
        )
        self.conn.execute(
            "INSERT INTO chunk (tenant, chunk_set, doc_id, ordinal, text_sha, heading_path, char_start, char_end, tokens,"
            " lang) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 9, %s)",
            (
                doc.tenant, self.chunk_set, doc_id, ordinal, text_sha, [doc.heading] if doc.heading else [],
                start, start + len(passage), doc.lang,
            ),
        )  # fmt: skip
        table = sql.Identifier(f"space_{space}")
        self.conn.execute(
            sql.SQL("INSERT INTO {} VALUES (%s, %s, %s::vector::halfvec) ON CONFLICT DO NOTHING").format(table),
            (doc.tenant, text_sha, literal(vector)),
        )

    def _id(self, statement: str, values: Sequence[object] = ()) -> int:
        row = self.conn.execute(statement.encode(), values).fetchone()
        assert row is not None
        return int(row[0])


def literal(vector: Vectors) -> str:
    """A vector in pgvector's text form."""
    return "[" + ",".join(f"{value:.6g}" for value in vector) + "]"


def unit(rng: np.random.Generator, count: int, dim: int) -> Vectors:
    """(count, dim) random unit rows."""
    rows = rng.normal(size=(count, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)

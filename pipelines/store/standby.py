"""Passages of a chunk set that is not served: which documents lack them, and writing them beside those that are served.

Every write is fenced: a document that was written since its bytes were read is left alone, and whoever publishes or deletes
a document takes its passages of all chunk sets along. So what stands by is always of the very version that is served.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

import psycopg
from psycopg import errors

from pipelines.errors import Retry
from pipelines.store.batch import ChunkRow
from pipelines.store.database import Pool, connection, translate
from pipelines.store.fill import FIRST, LAST
from pipelines.store.spaces import Space
from pipelines.store.sql import load

TYPES = ("bytea", "int4", "bytea", "text", "text[]", "int4", "int4", "int4", "text", "text")
ATTEMPTS = 4  # against the collector, which may take a text that nobody used a moment ago
PAUSE = 0.05


class Served(NamedTuple):
    """A served document of an object; `stuck`: its object is in quarantine, so the bytes of this version are gone."""

    root: bytes
    doc_id: bytes
    source: str
    uri: str
    member: str
    state: str
    loaded_version: str
    content_sha: bytes | None
    bytes: int
    source_modified: datetime | None
    fence: int
    stuck: bool


@dataclass(frozen=True, slots=True)
class Family:
    """An object with all its served attachments, to be written together: new passages by doc_id, the fences seen."""

    fences: Mapping[bytes, int]
    chunks: Mapping[bytes, Sequence[ChunkRow]]


def missing(
    pool: Pool, space: Space, size: int, *, after: bytes = FIRST, last: bytes = LAST, run_id: int | None = None
) -> Iterator[list[list[Served]]]:
    """Objects of a span that lack passages in the space's chunk set, `size` at a time, each with its served documents."""
    while True:
        values = {**_names(space), "after": after, "last": last, "limit": size, "run_id": run_id}
        with connection(pool) as conn, conn.cursor(binary=True, row_factory=lambda _: Served._make) as cursor:
            rows = cursor.execute(load("standby")["missing_families"], values).fetchall()
        if not rows:
            return
        yield [list(group) for _, group in groupby(rows, key=lambda row: row.root)]
        after = rows[-1].root


def passages(pool: Pool, space: Space, doc_ids: Sequence[bytes]) -> dict[bytes, list[ChunkRow]]:
    """The served passages of documents, in order."""
    found: dict[bytes, list[ChunkRow]] = {}
    with connection(pool) as conn, conn.cursor(binary=True, row_factory=lambda _: ChunkRow._make) as cursor:
        for row in cursor.execute(load("standby")["passages"], {"tenant": space.tenant, "doc_ids": list(doc_ids)}):
            found.setdefault(row.doc_id, []).append(row)
    return found


def write(pool: Pool, space: Space, families: Sequence[Family]) -> set[bytes]:
    """Write families whose documents are as they were seen, in one transaction; returns the doc_ids written."""
    if not families:
        return set()
    for attempt in range(ATTEMPTS):
        try:
            with translate(), pool.connection() as conn:
                return _write(conn, space, families)
        except (errors.ForeignKeyViolation, errors.DeadlockDetected) as error:
            cause = error
            time.sleep(PAUSE * 2**attempt)
    raise Retry(f"standby: {ATTEMPTS} attempts ended with {' '.join(str(cause).split())}")


def _write(conn: psycopg.Connection[Any], space: Space, families: Sequence[Family]) -> set[bytes]:
    queries, names = load("standby"), _names(space)
    conn.execute(load("fill")["share_collection"], names)
    asked = [doc_id for family in families for doc_id in family.fences]
    locked = conn.execute(queries["lock_documents"], {**names, "doc_ids": asked}).fetchall()
    free = {doc_id: fence for doc_id, fence, wanted in locked if wanted}
    standing = [family for family in families if all(free.get(doc_id) == at for doc_id, at in family.fences.items())]
    rows = [row for family in standing for chunks in family.chunks.values() for row in chunks]
    doc_ids = {doc_id for family in standing for doc_id in family.chunks}
    if not rows:
        return set()
    conn.execute(queries["stage"])
    with conn.cursor() as cursor, cursor.copy(queries["copy"]) as copy:
        copy.set_types(TYPES)
        for row in rows:
            copy.write_row(row._replace(heading_path=list(row.heading_path)))
    values = {**names, "doc_ids": list(doc_ids)}
    for name in ("clear", "write_texts", "write_chunks", "note"):
        conn.execute(queries[name], values)
    return doc_ids


def _names(space: Space) -> dict[str, Any]:
    return {"tenant": space.tenant, "collection": space.collection, "chunk_set": space.chunk_set}

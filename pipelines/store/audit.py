"""The audit: one statement that finds every disagreement between ledger, chunks, texts, vectors and runs.

It reads and never repairs: a document with a finding is loaded again by the next sync. `fingerprint` compares
final states.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import psycopg
from psycopg import sql

from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.spaces import NORMS, active
from pipelines.store.sql import load
from pipelines.store.vectors import decode


class Finding(NamedTuple):
    """One damage. `doc_id` is hex, "" where the damage is not one document's."""

    check: str
    doc_id: str
    uri: str
    detail: str


def audit(pool: Pool, source: str | None = None, *, tenant: str = PUBLIC_TENANT) -> list[Finding]:
    """Every finding, ordered by check and uri; vectors of all, documents and runs of `source` if given."""
    with connection(pool) as conn:
        statement = sql.SQL(load("audit")["audit"]).format(vectors=_vectors(conn))
        rows = conn.execute(statement, {"tenant": tenant, "source": source})
        return [Finding(check, doc_id.hex() if doc_id else "", uri, detail) for check, doc_id, uri, detail in rows]


def fingerprint(pool: Pool, collection: str, *, tenant: str = PUBLIC_TENANT, decimals: int = 3) -> str:
    """Hex sha256 over the ordered (uri, member, ordinal, text, rounded vector) of all that a collection serves."""
    digest = hashlib.sha256()
    space = active(pool, collection, tenant=tenant)
    if space is None:
        return digest.hexdigest()
    statement = space.fill(load("audit")["final_state"])
    with connection(pool) as conn, conn.cursor(name="final_state", binary=True) as cursor:
        cursor.itersize = 2000
        for uri, member, ordinal, text_sha, sent in cursor.execute(statement, {"tenant": tenant, "collection": collection}):
            digest.update(repr((uri, member, ordinal, text_sha)).encode())
            if sent is not None:
                digest.update((np.round(decode([sent], space.dim), decimals) + np.float32(0)).tobytes())  # no minus zero
    return digest.hexdigest()


def _vectors(conn: psycopg.Connection[Any]) -> sql.Composable:
    """The vectors of every space that is kept, as one relation."""
    queries = load("audit")
    parts = [
        sql.SQL(queries["vectors_of_space"]).format(
            id=sql.Literal(space_id),
            norm=sql.Identifier("public", NORMS[storage]),
            table=sql.Identifier("millrace", f"space_{space_id}"),
        )
        for space_id, storage in conn.execute(queries["spaces"])
    ]
    return sql.SQL(" UNION ALL ").join(parts) if parts else sql.SQL(queries["vectors_of_none"])

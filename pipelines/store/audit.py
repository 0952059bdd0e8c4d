"""The audit: every disagreement between ledger, chunks, texts, vectors and runs, found at one instant.

It reads and never repairs: `repair` and the next sync do. `fingerprint` compares final states.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
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


class Sampled(NamedTuple):
    """A loaded object as the ledger has it; `content_sha` is the sha256 of the bytes it says it was loaded from."""

    doc_id: bytes
    uri: str
    source_version: str
    size: int
    content_sha: bytes | None
    fence: int


class StoredSpace(NamedTuple):
    """A space that is kept; `stored` is false when its table is gone."""

    id: int
    chunk_set: int
    embedder_fingerprint: str
    dim: int
    storage: str
    state: str
    stored: bool
    holder: int  # the space whose table it reads

    def fill(self, statement: str, **parts: sql.Composable) -> sql.Composed:
        """`statement` with this space's table, types and numbers, and `parts`, in place of its `{names}`."""
        kind = sql.SQL("{}({})").format(sql.Identifier("public", self.storage), sql.Literal(self.dim))
        return sql.SQL(statement).format(
            id=sql.Literal(self.id),
            table=sql.Identifier("millrace", f"space_{self.holder}"),
            type=kind,
            dim=sql.Literal(self.dim),
            norm=sql.Identifier("public", NORMS[self.storage]),
            fingerprint=sql.Literal(self.embedder_fingerprint),
            chunk_set=sql.Literal(self.chunk_set),
            **parts,
        )


def audit(pool: Pool, source: str | None = None, *, contents: bool = True, tenant: str = PUBLIC_TENANT) -> list[Finding]:
    """Every finding, ordered by check and uri: of `source` if given, and those that are no one source's.

    Without `contents`, texts and vectors are not read: enough at the end of a run that began with a whole audit and wrote
    none.
    """
    with connection(pool) as conn:
        conn.execute(load("audit")["snapshot"])
        conn.execute(load("audit")["memory"])
        values = {"tenant": tenant, "source": source}
        rows = [row for statement in _statements(conn, tenant, contents) for row in conn.execute(statement, values)]
    found = [Finding(check, doc_id.hex() if doc_id else "", uri, detail) for check, doc_id, uri, detail in rows]
    return sorted(found, key=lambda finding: (finding.check, finding.uri, finding.doc_id, finding.detail))


def stored_spaces(conn: psycopg.Connection[Any], tenant: str) -> list[StoredSpace]:
    """The spaces of the tenant that are kept."""
    with conn.cursor(row_factory=lambda _: StoredSpace._make) as cursor:
        return cursor.execute(load("audit")["spaces"], {"tenant": tenant}).fetchall()


def wrong_vectors(space: StoredSpace) -> sql.Composed:
    """The statement that finds (text_sha, check) of the vectors of a space that are no embedding of their text."""
    return space.fill(load("audit")["wrong_vectors"])


def sample(pool: Pool, source: str, count: int, seed: int, *, tenant: str = PUBLIC_TENANT) -> list[Sampled]:
    """At most `count` loaded objects of a source; the same seed draws the same of the same."""
    values = {"tenant": tenant, "source": source, "count": count, "seed": seed}
    with connection(pool) as conn, conn.cursor(row_factory=lambda _: Sampled._make) as cursor:
        return cursor.execute(load("audit")["sample"], values).fetchall()


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


def _statements(conn: psycopg.Connection[Any], tenant: str, contents: bool) -> Iterator[sql.Composed | sql.SQL]:
    """What is asked, cheapest first."""
    queries = load("audit")
    yield sql.SQL(queries["ledger"])
    if not contents:
        return
    yield sql.SQL(queries["texts"]).format(altered=sql.SQL(queries["altered_texts"]))
    yield sql.SQL(queries["terms"]).format(wrong=sql.SQL(queries["wrong_terms"]))
    yield sql.SQL(queries["terms_without_text"])
    yield sql.SQL(queries["term_statistics"])
    yield sql.SQL(queries["cached_vectors"])
    for space in stored_spaces(conn, tenant):
        if not space.stored:
            yield space.fill(queries["space_without_table"])
            continue
        yield space.fill(queries["vectors"], wrong=wrong_vectors(space))
        if space.state == "active":
            yield space.fill(queries["missing_vectors"])

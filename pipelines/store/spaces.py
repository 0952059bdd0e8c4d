"""Chunk sets and embedding spaces: which model and which chunk settings a collection is served with.

A space has its own table `space_<id>` of unit vectors with an HNSW index for inner products. The first space of a collection
becomes active; another model or other chunk settings never write into it (one collection, one space). Building, switching
and rolling back further spaces is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipelines.errors import FixConfiguration
from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.sql import load

Storage = Literal["vector", "halfvec"]
INDEX_LIMIT = {"vector": 2000, "halfvec": 4000}  # dimensions that pgvector's HNSW takes
OPERATORS = {"vector": "vector_ip_ops", "halfvec": "halfvec_ip_ops"}
NORMS = {"vector": "vector_norm", "halfvec": "l2_norm"}


class Identity(Protocol):
    """What names an embedder; every `ports.Embedder` has it, and so has a model card."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def max_tokens(self) -> int: ...


class Stored(Protocol):
    """What a space's table is made from."""

    @property
    def id(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def storage(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Space:
    """One model version in one collection."""

    id: int
    tenant: str
    collection: str
    chunk_set: int
    model: str
    revision: str
    embedder_fingerprint: str
    dim: int
    dtype: str
    storage: str
    max_length: int
    state: str

    @property
    def table(self) -> sql.Identifier:
        """The quoted name of the table with its vectors."""
        return sql.Identifier("millrace", f"space_{self.id}")

    def fill(self, statement: str) -> sql.Composed:
        """`statement` with `{table}` and `{type}` replaced by this space's."""
        kind = sql.SQL("{}({})").format(sql.Identifier("public", self.storage), sql.Literal(self.dim))
        return sql.SQL(statement).format(table=self.table, type=kind)


def ensure_chunk_set(
    pool: Pool, *, fingerprint: str, settings: Mapping[str, Any], tokenizer_sha: str, max_tokens: int
) -> int:
    """The id of the chunk set with this fingerprint, made when it is new."""
    values = {
        "fingerprint": fingerprint,
        "settings": Jsonb(dict(settings)),
        "tokenizer_sha": tokenizer_sha,
        "max_tokens": max_tokens,
    }
    with connection(pool) as conn:
        found = conn.execute(load("spaces")["chunk_set"], values).fetchone()
        if found is None:
            conn.execute(load("spaces")["insert_chunk_set"], values)
            found = conn.execute(load("spaces")["chunk_set"], values).fetchone()
    if found is None:
        raise RuntimeError(f"chunk set {fingerprint} was neither found nor made")
    return int(found[0])


def active(pool: Pool, collection: str, *, tenant: str = PUBLIC_TENANT) -> Space | None:
    """The space that a collection is served from, if it has one."""
    with connection(pool) as conn:
        return _active(conn, tenant, collection)


def ensure_space(
    pool: Pool, embedder: Identity, *, collection: str, chunk_set: int, storage: Storage, tenant: str = PUBLIC_TENANT
) -> Space:
    """The active space of the collection, made when there is none; safe to call from several processes at once.

    Raises FixConfiguration when the collection is served by another model or with other chunk settings.
    """
    with connection(pool) as conn:
        found = _active(conn, tenant, collection)
        if found is None:
            conn.execute(load("spaces")["lock_creation"], {"tenant": tenant, "collection": collection})
            found = _active(conn, tenant, collection) or _create(conn, embedder, collection, chunk_set, storage, tenant)
    _expect(found, embedder, chunk_set)
    return found


def _active(conn: psycopg.Connection[Any], tenant: str, collection: str) -> Space | None:
    with conn.cursor(row_factory=class_row(Space)) as cursor:
        return cursor.execute(load("spaces")["active"], {"tenant": tenant, "collection": collection}).fetchone()


def _expect(space: Space, embedder: Identity, chunk_set: int) -> None:
    if space.embedder_fingerprint != embedder.fingerprint:
        raise FixConfiguration(
            f"include/config/models.yaml: collection {space.collection!r} is served by {space.model} ({space.dtype}, "
            f"{space.dim} dimensions), configured is {embedder.model} ({embedder.dtype}, {embedder.dim}); one collection, "
            "one space: restore the model, or give the source a new collection"
        )
    if space.chunk_set != chunk_set:
        raise FixConfiguration(
            f"include/config/chunking.yaml: collection {space.collection!r} is served with chunk set {space.chunk_set}, the "
            f"configured settings are chunk set {chunk_set}; restore the settings, or give the source a new collection"
        )


def _create(
    conn: psycopg.Connection[Any], embedder: Identity, collection: str, chunk_set: int, storage: Storage, tenant: str
) -> Space:
    if embedder.dim > INDEX_LIMIT[storage]:
        raise FixConfiguration(
            f"include/config/models.yaml: {embedder.model} has {embedder.dim} dimensions, an index on {storage} takes "
            f"{INDEX_LIMIT[storage]}; {'use storage: halfvec' if storage == 'vector' else 'use a smaller model'}"
        )
    values = {
        "tenant": tenant,
        "collection": collection,
        "chunk_set": chunk_set,
        "model": embedder.model,
        "revision": embedder.revision,
        "embedder_fingerprint": embedder.fingerprint,
        "dim": embedder.dim,
        "dtype": embedder.dtype,
        "storage": storage,
        "max_length": embedder.max_tokens,
    }
    with conn.cursor(row_factory=class_row(Space)) as cursor:
        space = cursor.execute(load("spaces")["insert_space"], values).fetchone()
    if space is None:
        raise RuntimeError(f"space of collection {collection} was not returned")
    create_table(conn, space)
    return space


def create_table(conn: psycopg.Connection[Any], space: Stored) -> None:
    """The empty table of a space, with its index."""
    parts = {
        "table": sql.Identifier("millrace", f"space_{space.id}"),
        "type": sql.Identifier("public", space.storage),
        "dim": sql.Literal(space.dim),
        "norm": sql.Identifier("public", NORMS[space.storage]),
        "ops": sql.Identifier("public", OPERATORS[space.storage]),
    }
    for name in ("create_table", "create_index"):
        conn.execute(sql.SQL(load("spaces")[name]).format(**parts))

"""Chunk sets and embedding spaces: which model and which chunk settings a collection is served with.

A space has its own table `space_<id>` of unit vectors, made without an index (`space_index` builds it after a load). The
first space of a collection becomes active; another model or other chunk settings get a space of their own beside it, never
rows in this one. `space_states` switches between them, `fill` and `standby` keep the others complete. A model that embeds
only questions otherwise, as a query adapter does, gets a space that reads another one's table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipelines.errors import FixConfiguration, Switched
from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.sql import load

Storage = Literal["vector", "halfvec"]
INDEX_LIMIT = {"vector": 2000, "halfvec": 4000}  # dimensions that pgvector's HNSW takes
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
    def holder(self) -> int: ...
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
    holder: int  # the space whose table it reads: its own number, or that of the space whose vectors it shares

    @property
    def table(self) -> sql.Identifier:
        """The quoted name of the table with its vectors."""
        return sql.Identifier("millrace", f"space_{self.holder}")

    def fill(self, statement: str, **parts: sql.Composable) -> sql.Composed:
        """`statement` with `{table}` and `{type}` replaced by this space's, and `parts` in place of its other `{names}`."""
        kind = sql.SQL("{}({})").format(sql.Identifier("public", self.storage), sql.Literal(self.dim))
        return sql.SQL(statement).format(table=self.table, type=kind, **parts)


@dataclass(frozen=True, slots=True)
class ChunkSet:
    """Settings that passages are cut with, as they were when the set was made."""

    id: int
    fingerprint: str
    settings: dict[str, Any]
    tokenizer_sha: str
    max_tokens: int


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


def chunk_set(pool: Pool, number: int) -> ChunkSet:
    """One chunk set. Raises FixConfiguration when there is none with this number."""
    with connection(pool) as conn, conn.cursor(row_factory=class_row(ChunkSet)) as cursor:
        found = cursor.execute(load("spaces")["chunk_set_of"], {"chunk_set": number}).fetchone()
    if found is None:
        raise FixConfiguration(f"chunk set {number} is not in the database; restore it from a backup")
    return found


def active(pool: Pool, collection: str, *, tenant: str = PUBLIC_TENANT) -> Space | None:
    """The space that a collection is served from, if it has one."""
    with connection(pool) as conn:
        return active_in(conn, collection, tenant=tenant)


def active_in(conn: psycopg.Connection[Any], collection: str, *, tenant: str = PUBLIC_TENANT) -> Space | None:
    """As `active`, as the connection's transaction sees it."""
    return _one(conn, "active", {"tenant": tenant, "collection": collection})


def require_active(conn: psycopg.Connection[Any], space: Space) -> None:
    """Raise Switched unless the space serves its collection, as the connection's transaction sees it."""
    serving = active_in(conn, space.collection, tenant=space.tenant)
    if serving is None or serving.id != space.id:
        raise Switched(
            f"collection {space.collection!r} was switched from space {space.id} to "
            f"{serving.id if serving else 'none'} meanwhile; it is tried again with that one"
        )


def get(pool: Pool, space_id: int) -> Space:
    """One space. Raises FixConfiguration when there is none with this number."""
    with connection(pool) as conn:
        found = _one(conn, "get", {"space_id": space_id})
    if found is None:
        raise FixConfiguration(f"space {space_id} does not exist; `millrace spaces` lists them")
    return found


def kept(pool: Pool, collection: str, *, tenant: str = PUBLIC_TENANT) -> list[Space]:
    """The spaces of a collection that have a table, the active one first."""
    with connection(pool) as conn, conn.cursor(row_factory=class_row(Space)) as cursor:
        return cursor.execute(load("spaces")["kept"], {"tenant": tenant, "collection": collection}).fetchall()


def ensure_space(
    pool: Pool, embedder: Identity, *, collection: str, chunk_set: int, storage: Storage, tenant: str = PUBLIC_TENANT
) -> Space:
    """The active space of the collection, made for this embedder and chunk set when there is none.

    What serves decides: an existing one is returned whatever its model and chunk set. Safe to call from several processes.
    """
    with connection(pool) as conn:
        found = active_in(conn, collection, tenant=tenant)
        if found is None:
            conn.execute(load("spaces")["lock_creation"], {"tenant": tenant, "collection": collection})
            found = active_in(conn, collection, tenant=tenant)
        return found or _create(conn, "active", embedder, collection, chunk_set, storage, tenant)


def begin(
    pool: Pool, embedder: Identity, *, collection: str, chunk_set: int, storage: Storage, tenant: str = PUBLIC_TENANT
) -> Space:
    """The kept space of this embedder and chunk set, in whatever state; a new one, `building` and empty, if there is none.

    Where another space is kept whose vectors this embedder's are equal to, the new one reads its table.
    Raises FixConfiguration when the kept one stores its vectors otherwise.
    """
    values = {"tenant": tenant, "collection": collection, "chunk_set": chunk_set}
    with connection(pool) as conn:
        conn.execute(load("spaces")["lock_creation"], values)
        found = _one(conn, "twin", {**values, "embedder_fingerprint": embedder.fingerprint, "revision": embedder.revision})
        if found is None:
            return _create(conn, "building", embedder, collection, chunk_set, storage, tenant)
    if found.storage != storage:
        raise FixConfiguration(
            f"include/config/models.yaml: space {found.id} of {embedder.model} stores {found.storage}, not {storage}; "
            + (
                "restore the setting: the space serves, and only a retired one can be made anew"
                if found.state == "active"
                else f"retire it first: `millrace retire {collection} {found.id}`"
            )
        )
    return found


def _one(conn: psycopg.Connection[Any], name: str, values: Mapping[str, Any]) -> Space | None:
    with conn.cursor(row_factory=class_row(Space)) as cursor:
        return cursor.execute(load("spaces")[name], values).fetchone()


def _create(
    conn: psycopg.Connection[Any],
    state: str,
    embedder: Identity,
    collection: str,
    chunk_set: int,
    storage: Storage,
    tenant: str,
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
        "state": state,
    }
    shared = conn.execute(load("spaces")["holder"], values).fetchone()
    values["vectors_of"] = shared[0] if shared else None
    space = _one(conn, "insert_space", values)
    if space is None:
        raise RuntimeError(f"space of collection {collection} was not returned")
    conn.execute(load("spaces")["remember_state"], {"space_id": space.id, "state": state, "by": ""})
    create_table(conn, space)
    return space


def create_table(conn: psycopg.Connection[Any], space: Stored) -> None:
    """The empty table of a space, without its index."""
    statement = sql.SQL(load("spaces")["create_table"])
    conn.execute(
        statement.format(
            table=sql.Identifier("millrace", f"space_{space.holder}"),
            type=sql.Identifier("public", space.storage),
            dim=sql.Literal(space.dim),
            norm=sql.Identifier("public", NORMS[space.storage]),
        )
    )

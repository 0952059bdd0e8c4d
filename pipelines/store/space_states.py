"""The states of a space, and the transactions that change them: begin, verify, switch, roll back, retire.

    building --> shadow --> active --> previous --> retired --> building (the same model, begun anew)
       |           |          ^-----------'            ^
       '-----------'-----------------------------------'

One space of a collection is active. A switch is one transaction under the collection's exclusive lock, which publishers hold
shared: they write before it into the old space or after it into the new one. It refuses while a vector or a document's
passages are missing in the target. Passages of another chunk set trade places with those served; nothing is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipelines.errors import FailRun, FixConfiguration
from pipelines.records import PUBLIC_TENANT
from pipelines.store import fill
from pipelines.store.database import Pool, connection
from pipelines.store.spaces import Space, active_in
from pipelines.store.sql import load

ALLOWED = frozenset(
    {
        ("building", "shadow"),
        ("shadow", "building"),
        ("shadow", "active"),
        ("active", "previous"),
        ("previous", "active"),
        ("building", "retired"),
        ("shadow", "retired"),
        ("previous", "retired"),
    }
)
REMEDY = {
    "building": "finish it with `millrace reembed {collection}`",
    "active": "it serves already; `millrace rollback {collection}` or `millrace switch` puts another in its place",
    "retired": "make it anew with `millrace reembed {collection}`",
}


@dataclass(frozen=True, slots=True)
class Overview:
    """One space as a person sees it."""

    id: int
    collection: str
    chunk_set: int
    model: str
    revision: str
    dtype: str
    dim: int
    storage: str
    state: str
    created_at: datetime
    built_at: datetime | None
    verified_at: datetime | None
    changed_at: datetime
    report: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Switch:
    """What a switch did: the space that served, and the one that serves."""

    collection: str
    left: int
    serves: int


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What documents are marked with under the old and the new settings of a switch."""

    old: str
    new: str


def overview(pool: Pool, collection: str | None = None, *, tenant: str = PUBLIC_TENANT) -> list[Overview]:
    """Every space ever made, by collection, the retired ones last."""
    with connection(pool) as conn, conn.cursor(row_factory=class_row(Overview)) as cursor:
        return cursor.execute(load("space_states")["overview"], {"tenant": tenant, "collection": collection}).fetchall()


def verified(pool: Pool, space: Space, report: Mapping[str, Any], *, passed: bool, by: str = "") -> None:
    """Store what a verification measured: a building space that passed becomes shadow, a shadow that failed building."""
    with connection(pool) as conn:
        conn.execute(load("space_states")["set_report"], {"space_id": space.id, "report": Jsonb(dict(report))})
        now = _locked(conn, space.id)
        to = {("building", True): "shadow", ("shadow", False): "building"}.get((now.state, passed))
        if to:
            _change(conn, now, to, by)


def switch(pool: Pool, space: Space, fingerprints: Fingerprints, *, by: str = "", instead_of: int | None = None) -> Switch:
    """Let a shadow or previous space serve its collection; the one that served becomes previous.

    `instead_of`: only in the place of that space; FailRun when another one serves by now. Raises FailRun with counts and
    remedy while anything is missing in it, FixConfiguration when its state does not allow it, Retry when writers or readers
    hold the locks for too long. Then nothing has changed.
    """
    _require_allowed(space, "active")
    fill.require_complete(pool, space)  # before the lock: what is missing by far shall not hold up anybody
    with connection(pool) as conn:
        _lock(conn, space)
        target, old = _locked(conn, space.id), active_in(conn, space.collection, tenant=space.tenant)
        _require_allowed(target, "active")
        if old is None:
            raise FixConfiguration(f"collection {space.collection!r} has no active space; sync a source of it first")
        if instead_of not in {None, old.id}:
            raise FailRun(
                f"space {target.id} of collection {space.collection!r} was compared with space {instead_of}, and space "
                f"{old.id} serves by now; run `millrace evaluate {space.collection}`"
            )
        if old.chunk_set != target.chunk_set:
            _lock_documents(conn, target)
        fill.require_complete_in(conn, target)
        if old.chunk_set != target.chunk_set:
            _exchange(conn, old, target, fingerprints)
        _change(conn, old, "previous", by)
        _change(conn, target, "active", by)
    return Switch(space.collection, old.id, target.id)


def last_previous(pool: Pool, collection: str, *, tenant: str = PUBLIC_TENANT) -> int:
    """The space that a rollback goes back to. Raises FixConfiguration when there is none."""
    with connection(pool) as conn:
        found = conn.execute(load("space_states")["last_previous"], {"tenant": tenant, "collection": collection}).fetchone()
    if found is None:
        raise FixConfiguration(
            f"collection {collection!r} has no previous space to go back to; `millrace spaces {collection}` lists its spaces"
        )
    return int(found[0])


def old_previous(pool: Pool, collection: str, days: int, *, tenant: str = PUBLIC_TENANT) -> list[int]:
    """The previous spaces that stopped serving more than `days` days ago."""
    values = {"tenant": tenant, "collection": collection, "days": days}
    with connection(pool) as conn:
        return [number for (number,) in conn.execute(load("space_states")["old_previous"], values)]


def retire(pool: Pool, space: Space, *, by: str = "") -> None:
    """Drop a space's table and its chunk set's passages, each if no other space needs it.

    Its vectors stay in the embedding cache until they expire. Raises FixConfiguration for the active space, Retry when
    readers or a filler hold its table.
    """
    values = {"tenant": space.tenant, "collection": space.collection, "chunk_set": space.chunk_set}
    with connection(pool) as conn:
        _lock(conn, space)
        now = _locked(conn, space.id)
        _require_allowed(now, "retired")
        _change(conn, now, "retired", by)
        read = conn.execute(load("space_states")["table_kept"], {"holder": space.holder}).fetchone()
        if not (read and read[0]):
            conn.execute(space.fill(load("space_states")["drop_table"]))
        needed = conn.execute(load("space_states")["chunk_set_kept"], values).fetchone()
        if not (needed and needed[0]):
            for name in ("drop_chunks", "drop_standby"):
                conn.execute(load("space_states")[name], values)


def _lock(conn: psycopg.Connection[Any], space: Space) -> None:
    conn.execute(load("space_states")["lock_collection"], {"tenant": space.tenant, "collection": space.collection})


def _locked(conn: psycopg.Connection[Any], space_id: int) -> Space:
    with conn.cursor(row_factory=class_row(Space)) as cursor:
        found = cursor.execute(load("space_states")["locked"], {"space_id": space_id}).fetchone()
    if found is None:
        raise FixConfiguration(f"space {space_id} does not exist; `millrace spaces` lists them")
    return found


def _lock_documents(conn: psycopg.Connection[Any], space: Space) -> None:
    conn.execute(load("space_states")["lock_documents"], {"tenant": space.tenant, "collection": space.collection})


def _exchange(conn: psycopg.Connection[Any], old: Space, new: Space, fingerprints: Fingerprints) -> None:
    """The passages that stood by are served, those served stand by."""
    values = {
        "tenant": new.tenant,
        "collection": new.collection,
        "old": old.chunk_set,
        "new": new.chunk_set,
        "old_fingerprint": fingerprints.old,
        "new_fingerprint": fingerprints.new,
    }
    for name in ("stand_by", "serve", "keep_quarantined", "served"):
        conn.execute(load("space_states")[name], values)


def _require_allowed(space: Space, to: str) -> None:
    if (space.state, to) in ALLOWED:
        return
    remedy = REMEDY[space.state].format(collection=space.collection)
    if (space.state, to) == ("retired", "retired"):
        remedy = "nothing is left of it but its history"
    raise FixConfiguration(f"space {space.id} of collection {space.collection!r} is {space.state}; {remedy}")


def _change(conn: psycopg.Connection[Any], space: Space, to: str, by: str) -> None:
    if (space.state, to) not in ALLOWED:
        raise FailRun(f"space {space.id} is {space.state} and cannot become {to}")
    values = {"space_id": space.id, "was": space.state, "state": to, "by": by}
    conn.execute(load("spaces")["name_person"], values)
    if conn.execute(load("space_states")["set_state"], values).rowcount != 1:
        raise FailRun(f"space {space.id} is no longer {space.state}; try again")
    conn.execute(load("spaces")["remember_state"], values)

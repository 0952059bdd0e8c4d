"""Upkeep of the corpus tables: leftovers of interrupted rebuilds, worn indexes, dead rows, the planner's statistics.

Everything here runs beside readers and writers, outside of transactions and for as long as it takes. It needs the rights of
the tables' owner, or MAINTAIN on them (PostgreSQL 17 and later), never a superuser's. `tables` tells how worn an index is;
what to do about it, and whether it still finds what it should, is the stage's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from pipelines.errors import FixConfiguration, Retry
from pipelines.store.database import Pool, connection, unbounded
from pipelines.store.sql import load

Connection = psycopg.Connection[Any]
MEMORY = "512MB"  # for one rebuild or vacuum; a graph that does not fit builds much slower


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the server's statistics have it; `worn` names the index that wears out, `churn` is made of `changes`."""

    name: str
    rows: int
    bytes: int
    worn: str | None
    index_bytes: int
    changes: int
    churn: float
    allowed: bool


@contextmanager
def at_work(pool: Pool) -> Iterator[Connection]:
    """A connection for upkeep, alone. Raises Retry when another maintenance is at work."""
    queries = load("maintain")
    with unbounded(pool) as conn:
        if not conn.execute(queries["try_lock"]).fetchall()[0][0]:
            raise Retry("maintenance: another one is at work; run it again when that is done")
        conn.execute(queries["settings"], {"memory": MEMORY})
        try:
            yield conn
        finally:
            if not conn.closed:
                conn.execute(queries["unlock"])


def tables(conn: Connection) -> list[Table]:
    """Every table. Raises FixConfiguration where this role may not maintain one: a vacuum would pass it over silently."""
    conn.execute(load("maintain")["flush"])
    with conn.cursor(row_factory=class_row(Table)) as cursor:
        found = cursor.execute(load("maintain")["tables"]).fetchall()
    refused = [table.name for table in found if not table.allowed]
    if refused:
        raise FixConfiguration(
            f"maintenance: role {conn.info.user} may not maintain {len(refused)} of {len(found)} tables ({refused[0]}, …); "
            "connect as the schema's owner, or let the owner run `millrace roles` (PostgreSQL 17 or later)"
        )
    return found


def drop_leftovers(conn: Connection) -> list[str]:
    """Remove the invalid indexes of rebuilds that were cut off; returns their names."""
    names = [name for (name,) in conn.execute(load("maintain")["leftovers"]).fetchall()]
    for name in names:
        conn.execute(sql.SQL(load("maintain")["drop"]).format(index=_in_schema(name)))
    return names


def rebuild(conn: Connection, index: str) -> None:
    """Build an index anew beside its readers and writers, then put it in the old one's place."""
    conn.execute(sql.SQL(load("maintain")["rebuild"]).format(index=_in_schema(index)))


def vacuum(conn: Connection, table: str) -> None:
    """Give dead rows' room back to the table, and new statistics to the planner."""
    conn.execute(sql.SQL(load("maintain")["vacuum"]).format(table=_in_schema(table)))


def analyse_unknown(pool: Pool) -> list[str]:
    """Give the planner statistics of tables that a load has filled; their names. Autovacuum would within some minutes."""
    with connection(pool) as conn:
        names = [name for (name,) in conn.execute(load("maintain")["unknown"]).fetchall()]
        for name in names:
            conn.execute(sql.SQL(load("maintain")["analyse"]).format(table=_in_schema(name)))
    return names


def space_ids(conn: Connection) -> list[int]:
    """Spaces that have a table."""
    return [number for (number,) in conn.execute(load("maintain")["space_ids"]).fetchall()]


def record(conn: Connection, table: Table, *, recall: float | None, rebuilt: bool, seconds: float) -> None:
    """Keep what was found and done; a rebuild is where the next churn counts from."""
    values = {
        "relation": table.name,
        "rows": table.rows,
        "bytes": table.bytes,
        "index_bytes": table.index_bytes,
        "changes": table.changes,
        "churn": table.churn,
    }
    conn.execute(load("maintain")["record"], {**values, "recall": recall, "rebuilt": rebuilt, "seconds": seconds})


def _in_schema(name: str) -> sql.Identifier:
    return sql.Identifier("millrace", name)

"""The HNSW index of a space: built after its load, beside readers and writers, by whoever finished the load.

Building over all rows is several times quicker than inserting them one by one, and gives a better graph. Until it is there,
search compares exactly. An interrupted build leaves an invalid index, which the next call removes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors, sql

from pipelines.errors import Retry
from pipelines.store.database import Pool, endless, translate
from pipelines.store.spaces import Space
from pipelines.store.sql import load

OPERATORS = {"vector": "vector_ip_ops", "halfvec": "halfvec_ip_ops"}
VALUE_BYTES = {"vector": 4, "halfvec": 2}
GRAPH_BYTES = 700  # a row's neighbours and headers at m = 16
LEAST_MB, MOST_MB = 64, 2048
SMALL_ROWS = 20_000  # built by one process before helpers have started
MOST_WORKERS = 7
LOCK_SECONDS = 600.0  # how long to wait for another builder of the same space
POLL_SECONDS = 0.2

Connection = psycopg.Connection[Any]


def ensure_index(pool: Pool, space: Space, *, patience: float = LOCK_SECONDS) -> bool:
    """Build the index of a filled space unless a valid one is there; whether one was built.

    An empty space gets none: its first load comes first. Raises Retry when another process is building for longer than
    `patience` seconds, when the build cannot get its locks, or when the database fails; the next call goes on.
    """
    with translate(), pool.connection() as conn, _autocommit(conn), _alone(conn, space, patience):
        valid: dict[str, bool] = dict(conn.execute(load("space_index")["indexes"], {"space_id": space.holder}).fetchall())
        if any(valid.values()) or not (rows := _rows(conn, space)):
            return False
        for name in valid:
            conn.execute(space.fill(load("space_index")["drop"], name=sql.Identifier("millrace", name)))
        _build(pool, conn, space, rows)
        conn.execute(load("space_index")["built"], {"space_id": space.holder})
        return True


def memory_mb(space: Space, rows: int) -> int:
    """What the graph takes in memory, in MB: a build that does not fit slows down by an order of magnitude."""
    size = rows * (GRAPH_BYTES + space.dim * VALUE_BYTES[space.storage]) * 1.2
    return min(MOST_MB, max(LEAST_MB, int(size / 2**20) + 1))


def _rows(conn: Connection, space: Space) -> int:
    row = conn.execute(space.fill(load("space_index")["rows"])).fetchone()
    return int(row[0]) if row else 0


def _build(pool: Pool, conn: Connection, space: Space, rows: int) -> None:
    name = f"space_{space.holder}_embedding_idx"
    operators = sql.Identifier("public", OPERATORS[space.storage])
    create = space.fill(load("space_index")["create"], name=sql.Identifier(name), ops=operators)
    for settings in _plans(conn, space, rows):
        conn.execute(load("space_index")["settings"], settings)
        try:
            with endless(pool, conn):
                conn.execute(create)
            return
        except errors.DiskFull:
            # Parallel workers share the graph in /dev/shm, which a container may have little of; one process needs none.
            if settings["workers"] == "0":
                raise
            conn.execute(space.fill(load("space_index")["drop"], name=sql.Identifier("millrace", name)))


def _plans(conn: Connection, space: Space, rows: int) -> Iterator[Mapping[str, str]]:
    """Settings to build with: as many workers as the server lends, then none."""
    found = conn.execute(load("space_index")["server"]).fetchone()
    usual, lent = found if found else (LEAST_MB, 0)
    memory = f"{max(usual, memory_mb(space, rows))}MB"
    workers = 0 if rows < SMALL_ROWS else min(MOST_WORKERS, lent)
    yield {"memory": memory, "workers": str(workers)}
    if workers:
        yield {"memory": memory, "workers": "0"}


@contextmanager
def _autocommit(conn: Connection) -> Iterator[None]:
    """A concurrent build runs in no transaction; the pool gets the connection back as it was."""
    conn.autocommit = True
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("RESET ALL")
            conn.autocommit = False


@contextmanager
def _alone(conn: Connection, space: Space, patience: float) -> Iterator[None]:
    """One builder a space; others wait until it is done, or lose patience."""
    values = {"space_id": space.holder}
    ends = time.monotonic() + patience
    while not _locked(conn, values):
        if time.monotonic() > ends:
            raise Retry(
                f"the index of space {space.id} is being built elsewhere, for more than {patience:.0f} s; try again later"
            )
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute(load("space_index")["unlock"], values)


def _locked(conn: Connection, values: Mapping[str, Any]) -> bool:
    row = conn.execute(load("space_index")["try_lock"], values).fetchone()
    return bool(row and row[0])

"""One durable server for a whole bench, with the settings of the embedded one, and a fresh database for each measurement."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql

from pipelines.embedded.postgres import Postgres
from pipelines.store.database import migrate

ASKED = 100  # vectors asked for their neighbours
NEIGHBOURS = 10
EF_SEARCH = 100


class Server:
    """`with Server() as server`: everybody is measured on it, one after the other."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="millrace-load-"))
        self.folder.chmod(0o711)
        self.postgres = Postgres(self.folder / "pg")

    def __enter__(self) -> Self:
        self.postgres.start()
        self.postgres.ensure_database("corpus")
        migrate(self.postgres.dsn("corpus"))
        self.postgres.ensure_database("bare")
        with psycopg.connect(self.postgres.dsn("bare")) as conn:
            conn.execute("CREATE EXTENSION vector")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.postgres.discard()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def database(self, template: str) -> Iterator[str]:
        """The DSN of a fresh copy of `corpus` (migrated) or `bare` (pgvector only); what came before is on disk already."""
        self.postgres.drop_database("measured")
        self.postgres.ensure_database("measured", template)
        with psycopg.connect(self.postgres.dsn("postgres"), autocommit=True) as conn:
            conn.execute("CHECKPOINT")
        yield self.postgres.dsn("measured")


def count(dsn: str, table: str) -> int:
    """Rows of a table."""
    with psycopg.connect(dsn) as conn:
        found = conn.execute(sql.SQL("SELECT count(*) FROM {}").format(_name(table))).fetchone()
    return int(found[0]) if found else 0


def index_bytes(dsn: str, table: str) -> int:
    """Size of a table's HNSW index."""
    with psycopg.connect(dsn) as conn:
        found = conn.execute(
            "SELECT sum(pg_relation_size(i.oid))::bigint FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
            " JOIN pg_am a ON a.oid = i.relam WHERE x.indrelid = %s::regclass AND a.amname = 'hnsw'",
            (table,),
        ).fetchone()
    return int(found[0] or 0) if found else 0


def recall(dsn: str, table: str, operator: str, kind: str, vectors: npt.NDArray[np.float32]) -> float:
    """recall@10 of a table's index against exact search, asked for slightly moved vectors of its own."""
    rng = np.random.default_rng(7)
    drawn = vectors[rng.choice(len(vectors), min(ASKED, len(vectors)), replace=False)]
    asked = drawn + 0.02 * rng.standard_normal(drawn.shape)
    statement = sql.SQL("SELECT ctid FROM {} ORDER BY embedding {} %s::{} LIMIT {}").format(
        _name(table), sql.SQL(operator), sql.SQL(kind), sql.Literal(NEIGHBOURS)
    )
    with psycopg.connect(dsn) as conn:
        by_index, exact = (_asked(conn, statement, asked, index=index) for index in (True, False))
    return sum(len(set(a) & set(b)) for a, b in zip(by_index, exact, strict=True)) / sum(map(len, exact))


def _asked(
    conn: psycopg.Connection[Any], statement: sql.Composed, asked: npt.NDArray[np.float64], *, index: bool
) -> list[list[Any]]:
    settings = {"hnsw.ef_search": str(EF_SEARCH), "enable_seqscan": "off" if index else "on"}
    settings |= {"enable_indexscan": "on" if index else "off"}
    for name, value in settings.items():
        conn.execute("SELECT set_config(%s, %s, false)", (name, value))
    answers = []
    for row in asked:
        literal = "[" + ",".join(f"{value:.6g}" for value in row) + "]"
        answers.append([tid for (tid,) in conn.execute(statement, (literal,))])
    return answers


def _name(table: str) -> sql.Identifier:
    parts: Sequence[str] = table.split(".")
    return sql.Identifier(*parts)

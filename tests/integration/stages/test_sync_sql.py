"""Whole syncs of a table: text from a template, work by cursor, deletions by key comparison."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import Connection
from pipelines.context import Context
from pipelines.errors import FixConfiguration
from pipelines.records import SyncRequest
from pipelines.search.hybrid import Filters, Query
from pipelines.stages import sync
from pipelines.stages.search import run as search

pytestmark = pytest.mark.integration
ENTRY = {
    "kind": "sql",
    "connection": "desk",
    "table": "ticket",
    "key": "id",
    "title": "subject",
    "text": "{subject}\n\n{body}",
    "cursor": "updated_at",
    "metadata": ["status"],
}


@pytest.fixture
def table(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "desk.db", isolation_level=None)) as connection:
        connection.execute(
            "CREATE TABLE ticket (id INTEGER PRIMARY KEY, subject TEXT, body TEXT, status TEXT, updated_at TEXT)"
        )
        rows = [
            (n, f"Gate {n} stuck", f"The lower gate number {n} does not close.", "open", f"2026-10-0{n}")
            for n in range(1, 7)
        ]
        connection.executemany("INSERT INTO ticket VALUES (?, ?, ?, ?, ?)", rows)
        yield connection


def open_desk(make: Any, tmp_path: Path, **changes: Any) -> Context:
    desk = Connection(conn_id="desk", conn_type="sqlite", host=str(tmp_path / "desk.db"))
    context: Context = make({"desk": {**ENTRY, **changes}}, connections={"desk": desk})
    return context


def counts(ctx: Context) -> dict[str, int]:
    return {state: number for state, number in sync.run(ctx, SyncRequest("desk")).counts.items() if number}


def test_rows_are_added_changed_and_deleted(make: Any, tmp_path: Path, table: sqlite3.Connection) -> None:
    ctx = open_desk(make, tmp_path)
    assert counts(ctx) == {"loaded": 6}
    assert counts(ctx) == {"unchanged": 6}
    table.execute(
        "UPDATE ticket SET body = 'A new hinge was fitted.', status = 'done', updated_at = '2026-10-09' WHERE id = 3"
    )
    table.execute("DELETE FROM ticket WHERE id = 5")
    table.execute("INSERT INTO ticket VALUES (9, 'Light out', 'The lamp at the quay is dark.', 'open', '2026-10-10')")
    assert counts(ctx) == {"loaded": 2, "unchanged": 4, "deleted": 1}
    done = search(ctx, Query("new hinge", "knowledge", filters=Filters(metadata={"status": "done"})))
    assert [(hit.title, hit.uri) for hit in done] == [("Gate 3 stuck", "sql://desk/ticket/3")]
    assert not any("number 5" in hit.passage for hit in search(ctx, Query("gate number 5", "knowledge", k=50)))


def test_an_unknown_column_names_the_columns_there_are(make: Any, tmp_path: Path, table: sqlite3.Connection) -> None:
    with pytest.raises(FixConfiguration, match=r"bodytext.*body"):
        sync.run(open_desk(make, tmp_path, text="{bodytext}"), SyncRequest("desk"))

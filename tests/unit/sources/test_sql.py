"""What is particular to tables: checked names, keys, cursors, titles and metadata; on SQLite."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipelines.config import Connection, SqlSource
from pipelines.errors import FixConfiguration, MillraceError, Retry, SkipDocument
from pipelines.records import RawObject, Reason
from pipelines.sources import open_source, relative
from pipelines.sources.sql import Sql
from pipelines.sources.sql_table import failure, open_engine

SCHEMA = """
CREATE TABLE tickets (id INTEGER PRIMARY KEY, subject TEXT, body TEXT, price NUMERIC, opened DATETIME,
    secret TEXT, rev INTEGER);
CREATE VIEW open_tickets AS SELECT id AS number, body FROM tickets;
CREATE TABLE canary (x INTEGER);
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.db"
    run(path, SCHEMA)
    for number in range(1, 6):
        run(
            path, "INSERT INTO tickets VALUES (?, ?, ?, ?, ?, ?, ?)", number, f"S{number}", f"B{number}", 1.5, "x", "hush", 1
        )
    return path


def run(path: Path, statement: str, *values: Any) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values) if values else connection.executescript(statement)
    connection.close()


def source(file: Path, **changed: Any) -> Sql:
    settings: dict[str, Any] = {"table": "tickets", "key": "id", "text": "{subject}\n\n{body}"} | changed
    return Sql("docs", SqlSource(kind="sql", connection="c", **settings), open_engine(f"sqlite:///{file}", "c"))


def listing(rows: Sql) -> dict[str, RawObject]:
    return {relative(rows.root(), listed.uri): listed for listed in rows.list()}


def test_a_row_becomes_text_title_and_metadata(file: Path) -> None:
    rows = source(file, title="subject", metadata=("price", "opened", "rev"))
    content = rows.read(listing(rows)["3"], 100)
    assert content.data == b"S3\n\nB3"
    assert content.metadata == {"title": "S3", "price": 1.5, "opened": "x", "rev": 1}


def test_a_view_is_read_like_a_table(file: Path) -> None:
    rows = source(file, table="open_tickets", key="number", text="{body}")
    found = listing(rows)
    assert [rows.read(found[str(number)], 100).data for number in (1, 5)] == [b"B1", b"B5"]


@pytest.mark.parametrize("column", ["subject", "body", "price"])
def test_without_a_cursor_any_used_column_makes_a_new_version_and_an_unused_one_does_not(file: Path, column: str) -> None:
    rows = source(file, metadata=("price",))
    before = listing(rows)
    run(file, "UPDATE tickets SET secret = 'other', rev = 2")
    assert listing(rows) == before
    run(file, f"UPDATE tickets SET {column} = '7' WHERE id = 2")
    after = listing(rows)
    assert {key for key in before if before[key].version != after[key].version} == {"2"}
    assert rows.read(after["2"], 100).version == after["2"].version == rows.current_version(after["2"].uri)


def test_with_a_cursor_the_version_follows_the_cursor_and_the_listing_reads_no_text(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = source(file, cursor="rev")
    before = listing(rows)
    run(file, "UPDATE tickets SET body = 'new', rev = 2 WHERE id = 4")
    fetched: list[Any] = []
    monkeypatch.setattr(rows, "_listed", lambda key, cursor, columns: fetched.append((key, cursor, *columns)))
    list(rows.list())
    monkeypatch.undo()
    after = listing(rows)

    assert fetched == [
        ("1", 1, None, None),
        ("2", 1, None, None),
        ("3", 1, None, None),
        ("4", 2, None, None),
        ("5", 1, None, None),
    ]
    assert {key for key in before if before[key].version != after[key].version} == {"4"}
    content = rows.read(before["4"], 100)
    assert (content.data, content.version) == (b"S4\n\nnew", after["4"].version)


def test_a_null_cursor_falls_back_to_the_content(file: Path) -> None:
    run(file, "UPDATE tickets SET rev = NULL WHERE id = 1")
    rows = source(file, cursor="rev")
    before = listing(rows)
    assert rows.read(before["1"], 100).version == before["1"].version
    run(file, "UPDATE tickets SET body = 'new' WHERE id = 1")
    assert listing(rows)["1"].version != before["1"].version


@pytest.mark.parametrize("changed", [{"text": "{body}"}, {"title": "subject"}, {"metadata": ("price",)}])
@pytest.mark.parametrize("cursor", [None, "rev"])
def test_a_changed_template_is_a_new_version_of_every_row(file: Path, changed: dict[str, Any], cursor: str | None) -> None:
    before, after = listing(source(file, cursor=cursor)), listing(source(file, cursor=cursor, **changed))
    assert all(before[key].version != after[key].version for key in before)


PAYLOADS = [
    "tickets; DROP TABLE canary; --",
    'tickets" WHERE 1=1; --',
    "(SELECT 1)",
    "tickets'",
    "main.tickets; --",
    "nope",
    "",
]


REQUIRED = ["table", "key", "metadata", "text"]


@pytest.mark.parametrize(
    ("place", "payload"),
    [(place, payload) for place in [*REQUIRED, "cursor", "title"] for payload in PAYLOADS if payload or place in REQUIRED],
)
def test_a_name_the_database_does_not_know_is_refused_before_any_statement(file: Path, place: str, payload: str) -> None:
    value: Any = {"metadata": (payload,), "text": "{" + payload + "}"}.get(place, payload)
    with pytest.raises(FixConfiguration) as caught:
        listing(source(file, **{place: value}))
    assert "\n" not in str(caught.value)
    assert payload in str(caught.value)
    run(file, "INSERT INTO canary VALUES (1)")


def test_an_unknown_column_lists_those_there_are_and_an_unknown_table_the_nearest(file: Path) -> None:
    with pytest.raises(FixConfiguration, match="no column 'sbject'; its columns are: id, subject, body, price"):
        listing(source(file, text="{sbject}"))
    with pytest.raises(FixConfiguration, match="no table or view 'tickts'; known: tickets"):
        listing(source(file, table="tickts"))


@pytest.mark.parametrize("key", ["id' OR '1'='1", "1 OR 1=1", "1; DROP TABLE canary", "999", "abc", "1.0", "01", ""])
def test_a_forged_key_finds_no_row(file: Path, key: str) -> None:
    rows = source(file)
    uri = rows.root(key)
    assert rows.current_version(uri) is None
    with pytest.raises(SkipDocument) as caught:
        rows.read(RawObject(uri, "v", 0), 100)
    assert caught.value.reason is Reason.SOURCE_VANISHED


@pytest.mark.parametrize("bad", ["repeated", "null"])
def test_a_key_that_identifies_no_row_is_a_configuration_error(file: Path, bad: str) -> None:
    value = "S1" if bad == "repeated" else None
    run(file, "UPDATE tickets SET subject = ? WHERE id = 2", value)
    with pytest.raises(FixConfiguration, match="key column 'subject' holds .*choose one that identifies a row"):
        listing(source(file, key="subject", text="{body}"))


@pytest.mark.parametrize("kind", ["BLOB", "FLOAT", "DATETIME"])
def test_a_key_of_an_unsuitable_type_is_refused(file: Path, kind: str) -> None:
    run(file, f"CREATE TABLE odd (k {kind}, body TEXT)")
    with pytest.raises(FixConfiguration, match=f"key column 'k' has type {kind}; choose an integer, text or uuid"):
        listing(source(file, table="odd", key="k", text="{body}"))


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("INTEGER", [-5, 0, 2**62]),
        ("TEXT", ["", "a/b", "ü%20", "1", "nul\0inside"]),
        ("VARCHAR(9)", ["x", "X"]),
        ("NUMERIC(10,2)", [7, 1.25]),
        ("", ["text", 12, "007"]),
        ("CHAR(36)", [str(uuid.UUID(int=5))]),
    ],
)
def test_keys_of_every_suitable_type_are_found_again(file: Path, kind: str, keys: list[Any]) -> None:
    run(file, f"CREATE TABLE odd (k {kind}, body TEXT)")
    for number, key in enumerate(keys):
        run(file, "INSERT INTO odd VALUES (?, ?)", key, f"body {number}")
    rows = source(file, table="odd", key="k", text="{body}")
    found = list(rows.list())
    assert [rows.read(listed, 100).data.decode() for listed in found] == [f"body {number}" for number in range(len(keys))]
    assert len({listed.uri for listed in found}) == len(keys)


def test_a_huge_row_is_refused_by_its_stored_size(file: Path) -> None:
    run(file, "UPDATE tickets SET body = zeroblob(30000000) WHERE id = 1")
    rows = source(file, cursor="rev")
    with pytest.raises(SkipDocument, match="too_large: 30000002 bytes, limit 1000"):
        rows.read(listing(rows)["1"], 1000)


def test_a_database_that_is_not_there_is_named_and_not_created(tmp_path: Path) -> None:
    connection = Connection(conn_id="db", conn_type="sqlite", host=str(tmp_path / "missing.db"))
    config = SqlSource(kind="sql", connection="db", table="t", key="id", text="{x}")
    with pytest.raises(FixConfiguration, match="connection 'db': no database file .*missing.db"):
        open_source("docs", config, {"db": connection})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["nonsense", "nosuchdialect://h/d", "postgresql+nosuchdriver://u:s3cret@h/d", "mysql+pymysql://u@h/d"]
)
def test_an_unusable_url_names_the_connection_and_no_password(url: str) -> None:
    with pytest.raises(FixConfiguration, match="^connection 'db': ") as caught:
        open_engine(url, "db")
    assert "s3cret" not in str(caught.value)


def test_an_unreachable_server_is_retried_without_its_password() -> None:
    rows = Sql(
        "docs",
        SqlSource(kind="sql", connection="db", table="t", key="id", text="{x}"),
        open_engine("postgresql+psycopg://u:s3cret@127.0.0.1:9/d", "db"),
    )
    with pytest.raises(Retry, match="connection 'db'") as caught:
        list(rows.list())
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "kind", "expected"),
    [
        ('FATAL:  password authentication failed for user "u"', sa.exc.OperationalError, FixConfiguration),
        ('FATAL:  database "d" does not exist', sa.exc.OperationalError, FixConfiguration),
        ("permission denied for table t", sa.exc.ProgrammingError, FixConfiguration),
        ("FATAL:  the database system is starting up", sa.exc.OperationalError, Retry),
        ("server closed the connection unexpectedly\n\tprobably", sa.exc.OperationalError, Retry),
        ("database is locked", sa.exc.OperationalError, Retry),
    ],
)
def test_a_database_failure_tells_setup_from_outage(
    said: str, kind: type[sa.exc.DBAPIError], expected: type[MillraceError]
) -> None:
    error = failure(kind("SELECT secret", {"p": "hush"}, Exception(said)), "connection 'db'")
    assert isinstance(error, expected)
    assert said.splitlines()[0] in str(error)
    assert "hush" not in str(error)
    assert "\n" not in str(error)


def test_a_listing_cut_off_by_the_database_raises(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows_then_failure(*_: Any, **__: Any) -> Any:
        yield (1, None, "S", "B")
        raise sa.exc.OperationalError("SELECT", {}, Exception("server closed the connection unexpectedly"))

    rows = source(file)
    listing(rows)
    monkeypatch.setattr(sa.Connection, "execute", rows_then_failure)
    seen: list[RawObject] = []
    with pytest.raises(Retry, match="server closed"):
        seen.extend(rows.list())
    assert len(seen) == 1

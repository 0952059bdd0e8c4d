"""The way in: migrations equal the declared schema, every failure is one line with a remedy."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pipelines.errors import FixConfiguration, MillraceError, Retry
from pipelines.store import database, ledger
from pipelines.store.sql import SQL_FOLDER

pytestmark = pytest.mark.integration

CATALOGUE = {
    "columns": """
        SELECT c.relname, c.relkind::text, a.attname, row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum),
               format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text, a.attgenerated::text,
               a.attstorage::text, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'millrace'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p') ORDER BY 1, 4""",
    "sequences": "SELECT * FROM pg_sequences WHERE schemaname = 'millrace' ORDER BY sequencename",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'millrace'::regnamespace ORDER BY 1, 2""",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'millrace' ORDER BY 1",
    "functions": """
        SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'millrace'::regnamespace ORDER BY 1""",
    "triggers": """
        SELECT t.tgname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE NOT t.tgisinternal AND c.relnamespace = 'millrace'::regnamespace ORDER BY 1""",
    "elsewhere": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
    "extensions": "SELECT extname, extnamespace::regnamespace::text FROM pg_extension ORDER BY 1",
}


@pytest.fixture
def empty(dsn: str) -> Iterator[str]:
    """A database with nothing in it."""
    name = f"empty_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield make_conninfo(dsn, dbname=name)
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


def catalogue(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    with psycopg.connect(dsn) as conn:
        return {name: conn.execute(statement).fetchall() for name, statement in CATALOGUE.items()}


def test_migrations_from_zero_make_the_declared_schema(dsn: str, empty: str) -> None:
    with psycopg.connect(empty) as conn:
        conn.execute((SQL_FOLDER / "schema.sql").read_bytes())
    declared, migrated = catalogue(empty), catalogue(dsn)
    assert {name: len(rows) for name, rows in migrated.items() if rows}.keys() >= {"columns", "constraints", "indexes"}
    for name in CATALOGUE:
        assert migrated[name] == declared[name], name


def test_migrating_twice_and_at_once_applies_each_file_once(empty: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(database.migrate, [empty] * 4))
    files = sorted(path.stem for path in database.MIGRATIONS.glob("*.sql"))
    assert sorted(name for names in applied for name in names) == files
    assert database.migrate(empty) == []


def test_a_migration_that_fails_leaves_nothing_behind(empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0001_ok.sql").write_text("CREATE TABLE public.ok (x int);")
    (tmp_path / "0002_broken.sql").write_text("-- depends: 0001_ok\nCREATE TABLE public.half (x int);\nSELECT 1/0;")
    monkeypatch.setattr(database, "MIGRATIONS", tmp_path)
    with pytest.raises(psycopg.errors.DivisionByZero):
        database.migrate(empty)
    assert catalogue_tables(empty) == ["ok"]
    (tmp_path / "0002_broken.sql").write_text("-- depends: 0001_ok\nCREATE TABLE public.half (x int);")
    assert database.migrate(empty) == ["0002_broken"]
    assert catalogue_tables(empty) == ["half", "ok"]


def test_a_lock_left_by_a_killed_migration_is_no_obstacle(empty: str) -> None:
    database.migrate(empty)
    with psycopg.connect(empty) as conn:
        conn.execute("INSERT INTO millrace_migrations.yoyo_lock (locked, ctime, pid) VALUES (1, now(), 1)")
    assert database.migrate(empty) == []


def catalogue_tables(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as conn:
        return [name for (name,) in conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")]


def test_a_database_behind_is_named_with_the_remedy(empty: str) -> None:
    with database.open_pool(empty) as pool, pytest.raises(FixConfiguration, match="millrace up.*millrace migrate"):
        database.require_schema(pool)
    with database.open_pool(empty) as pool, pytest.raises(FixConfiguration, match="millrace migrate"):
        ledger.next_fence(pool)
    database.migrate(empty)
    with database.open_pool(empty) as pool:
        database.require_schema(pool)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"dbname": "no_such_database"}, FixConfiguration, "no_such_database"),
        ({"user": "nobody_known"}, FixConfiguration, "nobody_known"),
        ({"host": "/nonexistent"}, Retry, "/nonexistent"),
        ({"host": "127.0.0.1", "port": "1"}, Retry, "refused"),
    ],
)
def test_an_unreachable_database_is_explained_in_one_line(
    dsn: str, change: dict[str, str], error: type[MillraceError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        database.open_pool(make_conninfo(dsn, **change))
    assert "\n" not in str(caught.value)


def test_a_malformed_address_is_a_wrong_configuration() -> None:
    with pytest.raises(FixConfiguration, match="libpq"):
        database.open_pool("postgresql://user@host/db?no_such_option=1")


def test_sessions_see_the_schema_and_have_deadlines(dsn: str) -> None:
    with database.open_pool(dsn) as pool, pool.connection() as conn:
        shown = [
            conn.execute(f"SHOW {name}").fetchone()
            for name in ("search_path", "statement_timeout", "idle_in_transaction_session_timeout", "application_name")
        ]
    assert shown == [("millrace,public",), ("10min",), ("2min",), ("millrace",)]


def test_a_dead_connection_in_the_pool_is_replaced(dsn: str) -> None:
    with database.open_pool(dsn, size=1) as pool:
        first = ledger.next_fence(pool)
        with psycopg.connect(dsn) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'millrace'"
            )
        assert ledger.next_fence(pool) > first

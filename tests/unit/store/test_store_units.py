"""What the store does without a database: named statements, error mapping, grouping and digests."""

from __future__ import annotations

import hashlib
import random

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors

from pipelines.errors import FailRun, FixConfiguration, Retry
from pipelines.records import sha256
from pipelines.store import sql
from pipelines.store.batch import ChunkRow, chunk_digest, chunks_by_document
from pipelines.store.database import session_conninfo, translate
from pipelines.store.publish import is_data_error
from pipelines.store.quarantine import storable

QUERIES = sorted(path.stem for path in (sql.SQL_FOLDER / "queries").glob("*.sql"))


def test_statements_are_found_by_room_and_name() -> None:
    assert "publish" in QUERIES
    for room in QUERIES:
        assert sql.load(room)
        assert all(sql.load(room).values())


def test_a_name_used_twice_is_refused(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "twice.sql").write_text("-- name: a\nSELECT 1\n\n-- name: a\nSELECT 2\n")
    monkeypatch.setattr(sql, "SQL_FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"twice\.sql"):
        sql.load("twice")


@pytest.mark.parametrize(
    ("raised", "expected", "words"),
    [
        (errors.DiskFull("could not extend file"), FailRun, "disk_full"),
        (errors.InvalidPassword("password authentication failed"), FixConfiguration, "login"),
        (psycopg.OperationalError('FATAL:  password authentication failed for user "x"'), FixConfiguration, "login"),
        (psycopg.OperationalError('FATAL:  database "x" does not exist'), FixConfiguration, "x"),
        (errors.InsufficientPrivilege("permission denied"), FixConfiguration, "grant"),
        (errors.UndefinedTable('relation "run" does not exist'), FixConfiguration, "migrate"),
        (errors.DeadlockDetected("deadlock detected"), Retry, "deadlock"),
        (errors.LockNotAvailable("lock timeout"), Retry, "lock"),
        (errors.AdminShutdown("terminating connection"), Retry, "terminating"),
        (errors.IdleInTransactionSessionTimeout("idle"), Retry, "idle"),
        (psycopg.OperationalError("server closed the\nconnection"), Retry, "closed the connection"),
        (psycopg.InterfaceError("the connection is closed"), Retry, "closed"),
    ],
)
def test_driver_errors_become_the_projects(raised: psycopg.Error, expected: type[Exception], words: str) -> None:
    with pytest.raises(expected, match=words) as caught, translate():
        raise raised
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    "raised", [errors.SyntaxError("oops"), errors.CheckViolation("no"), errors.ProgramLimitExceeded("54")]
)
def test_mistakes_and_data_errors_pass_through(raised: psycopg.Error) -> None:
    with pytest.raises(type(raised)), translate():
        raise raised


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.CheckViolation("x"), True),
        (errors.CharacterNotInRepertoire("x"), True),
        (errors.ProgramLimitExceeded("x"), True),
        (psycopg.DataError("PostgreSQL text fields cannot contain NUL"), True),
        (errors.DeadlockDetected("x"), False),
        (errors.UndefinedTable("x"), False),
        (psycopg.OperationalError("lost"), False),
    ],
)
def test_only_data_errors_are_blamed_on_a_document(error: Exception, expected: bool) -> None:
    assert is_data_error(error) is expected


def test_what_the_address_says_of_the_link_wins_and_options_add_up() -> None:
    conninfo = session_conninfo("postgresql:///x?host=/tmp/s&connect_timeout=3&options=-c%20work_mem%3D64MB")
    assert "connect_timeout=3" in conninfo
    assert "host=/tmp/s" in conninfo
    assert "search_path=millrace,public" in conninfo
    assert "work_mem=64MB" in conninfo


def rows(count: int, seed: int) -> list[ChunkRow]:
    rng = random.Random(seed)
    shuffled = [
        ChunkRow(bytes([n % 3]) * 32, n // 3, sha256(f"t{n}"), f"t{n}", ["h"], n, n + 5, 2, "en", "prose")
        for n in range(count)
    ]
    rng.shuffle(shuffled)
    return shuffled


@pytest.mark.parametrize("count", [0, 1, 17])
def test_chunks_are_grouped_in_order_from_rows_and_from_a_table(count: int) -> None:
    given_rows = rows(count, seed=count)
    table = pa.table({name: [getattr(row, name) for row in given_rows] for name in reversed(ChunkRow._fields)})
    grouped = chunks_by_document(given_rows)
    assert grouped == chunks_by_document(table)
    assert sum(len(part) for part in grouped.values()) == count
    assert all([row.ordinal for row in part] == list(range(len(part))) for part in grouped.values())


def test_the_digest_is_of_order_text_and_place() -> None:
    base = sorted(rows(9, 1))[:3]
    assert chunk_digest([]) == hashlib.sha256().digest()
    assert chunk_digest(base) == chunk_digest([row._replace(lang="de") for row in base])
    changed = [
        base[::-1],
        base[:2],
        [base[0]._replace(char_start=99), *base[1:]],
        [base[0]._replace(char_end=99), *base[1:]],
        [base[0]._replace(text_sha=sha256("x")), *base[1:]],
    ]
    assert len({chunk_digest(base), *(chunk_digest(variant) for variant in changed)}) == 6


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_any_text_becomes_storable_and_good_text_stays(text: str) -> None:
    stored = storable(text)
    stored.encode("utf-8")
    assert "\x00" not in stored
    if "\x00" not in text and not any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        assert stored == text

"""Each outage is there while it lasts and gone afterwards; the bench's aims name statements that the product has."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest

from bench.faults import outages
from bench.faults.cut_cases import TRANSACTIONS
from bench.faults.lab import ROOT, Lab

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Only the server of a lab."""
    made = Lab()
    made.postgres.start()
    made.postgres.ensure_database("lab")
    made.dsn = made.postgres.dsn("lab")
    made.query("CREATE SCHEMA millrace CREATE TABLE t (n integer)")
    made.query("CHECKPOINT")  # a throw-away server commits asynchronously
    yield made
    made.postgres.discard()


@pytest.mark.parametrize(
    "outage",
    [outages.terminate, outages.kill_backend, outages.stop_immediate, outages.kill_postmaster],
    ids=["terminate", "kill -9 of a backend", "stop -m immediate", "kill -9 of the postmaster"],
)
def test_a_session_is_lost_and_the_server_is_back(lab: Lab, outage: outages.Outage) -> None:
    with psycopg.connect(lab.dsn, application_name="millrace", autocommit=True) as conn:
        with outage(lab):
            assert lab.query("SELECT 1") == [(1,)]
        with pytest.raises(psycopg.OperationalError):
            conn.execute("SELECT 1")


def test_nothing_is_written_while_the_server_is_read_only(lab: Lab) -> None:
    with outages.read_only(lab), pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        lab.query("INSERT INTO t VALUES (1)")
    lab.query("INSERT INTO t VALUES (1)")


def test_a_locked_table_runs_into_the_lock_timeout(lab: Lab) -> None:
    with outages.locked("t", "50ms")(lab), pytest.raises(psycopg.errors.LockNotAvailable):
        lab.query("SELECT n FROM t")
    lab.query("SELECT n FROM t")


def test_no_connection_is_to_be_had_while_there_are_too_many(lab: Lab) -> None:
    with outages.too_many_connections(lab), pytest.raises(psycopg.OperationalError, match="too many clients"):
        lab.query("SELECT 1")
    assert lab.query("SELECT 1") == [(1,)]


def test_every_aim_is_a_statement_of_the_product() -> None:
    statements = "\n".join(path.read_text() for path in (ROOT / "include/sql/queries").glob("*.sql"))
    sent = re.sub(r"%\(\w+\)s", "$1", statements)
    assert [name for name, text in TRANSACTIONS.items() if text not in sent] == []

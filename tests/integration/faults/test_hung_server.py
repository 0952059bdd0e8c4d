"""A server that lives and says nothing costs a bounded time, and the pool serves again once it answers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from psycopg.conninfo import conninfo_to_dict

from bench.faults.pg_proxy import Fault, PgProxy
from pipelines.embedded.postgres import Postgres
from pipelines.errors import Retry
from pipelines.store import database, ledger, watch

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def proxy(postgres_server: Postgres) -> Iterator[PgProxy]:
    with PgProxy(postgres_server.sockets, postgres_server.port) as running:
        yield running


@pytest.fixture
def through(proxy: PgProxy, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The DSN of a fresh corpus behind the proxy; statements may take 0.2 s, answers 0.3 s."""
    monkeypatch.setattr(database, "SESSION", database.SESSION.replace("600s", "200ms"))
    monkeypatch.setattr(database, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(database, "CHECK_SECONDS", 0.3)
    monkeypatch.setattr(database, "POOL_SECONDS", 0.5)
    yield proxy.dsn(str(conninfo_to_dict(dsn)["dbname"]))
    proxy.disarm()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="query", action="hang"),
        Fault(kind="query", within="nextval", side="after", action="hang"),
        Fault(kind="commit", within="nextval", side="before", action="hang"),
    ],
    ids=["at the pool's check", "during a statement", "during COMMIT"],
)
def test_a_hung_server_is_a_retry_and_the_pool_recovers(proxy: PgProxy, through: str, fault: Fault) -> None:
    with database.open_pool(through, size=2) as pool:
        ledger.next_fence(pool)
        proxy.arm(fault)
        began = time.monotonic()
        with pytest.raises(Retry, match="not answered for 0.3 s|couldn't get a connection"):
            ledger.next_fence(pool)
        assert time.monotonic() - began < 5
        proxy.disarm()
        assert ledger.next_fence(pool) > 0


def test_a_connection_beside_the_pool_is_bounded_too(proxy: PgProxy, through: str) -> None:
    proxy.arm(Fault(kind="query", within="pg_advisory_lock", side="after", action="hang"))
    with pytest.raises(Retry, match=r"not answered for 0.3 s"):
        ledger.sign_of_life(through, 1)


def test_what_has_no_deadline_ends_when_the_server_answers_nobody(
    proxy: PgProxy, through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "EVERY_SECONDS", 0.2)
    monkeypatch.setitem(database.LINK, "connect_timeout", "2")  # the least that libpq takes
    with database.open_pool(through, size=2) as pool:
        with database.unbounded(pool) as conn:
            conn.execute("SELECT pg_sleep(1.5)")  # longer than every deadline, and watched: the server answers
        proxy.arm(Fault(kind="query", within="pg_sleep", side="after", action="hang"))
        began = time.monotonic()
        with pytest.raises(Retry, match="database:"), database.unbounded(pool) as conn:
            conn.execute("SELECT pg_sleep(0.1)")
        assert 6 < time.monotonic() - began < 20  # three connections that were not answered
        proxy.disarm()
        assert ledger.next_fence(pool) > 0


def test_the_client_waits_longer_than_the_server_lets_a_statement_run(dsn: str) -> None:
    with database.open_pool(dsn, size=1) as pool, pool.connection() as conn:
        assert isinstance(conn, database.Patient)
        assert conn.patience == 600 + database.GRACE_SECONDS


def test_commits_are_durable_whatever_the_server_says(dsn: str) -> None:
    with database.open_pool(dsn, size=1) as pool, pool.connection() as conn:
        assert conn.execute("SHOW synchronous_commit").fetchone() == ("on",)  # the server's own setting here is off

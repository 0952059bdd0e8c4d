"""The proxy forwards everything, and each fault strikes at the message it names and nowhere else."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from bench.faults.lab import in_child
from bench.faults.pg_proxy import Fault, PgProxy
from pipelines.embedded.postgres import Postgres

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def proxy(postgres_server: Postgres) -> Iterator[PgProxy]:
    with PgProxy(postgres_server.sockets, postgres_server.port) as running:
        yield running


@pytest.fixture
def through(proxy: PgProxy, dsn: str) -> Iterator[str]:
    """The DSN of a fresh database behind the proxy, with the table t (n integer)."""
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE t (n integer)")
    proxy.disarm()
    yield proxy.dsn(str(conninfo_to_dict(dsn)["dbname"]))
    proxy.disarm()


def insert(dsn: str) -> None:
    """Copies 1,000 rows in one transaction with a parametrised insert before."""
    with psycopg.connect(dsn) as conn:
        conn.execute("INSERT INTO t VALUES (%s)", (-1,), prepare=True)
        with conn.cursor().copy("COPY t FROM STDIN") as copy:
            for n in range(1000):
                copy.write_row((n,))


def count(dsn: str) -> int:
    with psycopg.connect(dsn) as conn:
        row = conn.execute("SELECT count(*) FROM t").fetchone()
    return int(row[0]) if row else -1


def test_without_a_fault_everything_passes(proxy: PgProxy, through: str, dsn: str) -> None:
    proxy.arm(Fault(nth=10_000))
    insert(through)
    with psycopg.connect(through, autocommit=True) as conn, conn.pipeline():
        conn.cursor().executemany("INSERT INTO t VALUES (%s)", [(1,), (2,)])
    assert count(dsn) == 1003
    assert proxy.fired == 0
    assert proxy.messages > 10
    assert proxy.copied == sum(len(f"{n}\n") for n in range(1000))


@pytest.mark.parametrize(
    ("fault", "rows"),
    [
        (Fault(kind="commit", side="before"), 0),
        (Fault(kind="commit", side="after"), 1001),
        (Fault(kind="commit", action="drop_reply"), 1001),
        (Fault(kind="startup"), 0),
        (Fault(kind="query", nth=2, side="after"), 0),
        (Fault(kind="copy", side="before"), 0),
        (Fault(kind="copy", side="after"), 0),
        (Fault(bytes_into=1), 0),
        (Fault(bytes_into=3000), 0),
        (Fault(kind="commit", side="after", within="INSERT INTO t"), 1001),
    ],
)
def test_a_cut_is_seen_by_the_client_and_leaves_all_or_nothing(
    proxy: PgProxy, through: str, dsn: str, fault: Fault, rows: int
) -> None:
    proxy.arm(fault)
    with pytest.raises(psycopg.OperationalError):
        insert(through)
    assert proxy.fired == 1
    assert count(dsn) == rows


def test_a_fault_aimed_at_another_transaction_does_not_fire(proxy: PgProxy, through: str) -> None:
    proxy.arm(Fault(kind="commit", within="INSERT INTO t"))
    assert count(through) == 0
    assert proxy.fired == 0


def test_a_kill_ends_the_client_and_not_its_neighbours(proxy: PgProxy, through: str, dsn: str) -> None:
    proxy.arm(Fault(kind="commit", side="after", action="kill"))
    assert in_child(lambda: insert(through)) == -signal.SIGKILL
    assert count(dsn) == 1001
    assert count(through) == 1001


def test_a_hang_lasts_until_disarm_for_all_connections(proxy: PgProxy, through: str, dsn: str) -> None:
    proxy.arm(Fault(kind="commit", side="before", action="hang"))
    with ThreadPoolExecutor(2) as threads:
        inserting = threads.submit(insert, through)
        while not proxy.fired:
            time.sleep(0.01)
        counting = threads.submit(count, through)
        time.sleep(0.2)
        assert not inserting.done()
        assert not counting.done()
        assert count(dsn) == 0
        proxy.disarm()
        inserting.result(5)
        counting.result(5)
    assert count(dsn) == 1001


def test_a_cancel_request_reaches_the_server(proxy: PgProxy, through: str) -> None:
    with psycopg.connect(through) as conn:
        timer = threading.Timer(0.2, conn.cancel_safe)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute("SELECT pg_sleep(10)")
        timer.join()

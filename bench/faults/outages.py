"""What happens to a database server: restarts, killed processes, locks, no room, no connections, no writes.

Each is a context: entered, the fault is there; left, it is lifted and the server serves again. Those that pass by
themselves (restarts, terminations) are over before the context's body runs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path

import psycopg

from bench.faults.lab import Lab

Outage = Callable[[Lab], AbstractContextManager[None]]
OURS = "application_name = 'millrace' AND pid <> pg_backend_pid() AND datname = 'lab'"
BUSY_FIRST = "ORDER BY state = 'idle', pid LIMIT 1"
UP_SECONDS = 30
FEW = 12  # connections, when there are too many


@contextmanager
def stop_immediate(lab: Lab) -> Iterator[None]:
    """`pg_ctl stop -m immediate`, then a start with recovery."""
    lab.postgres.stop("immediate")
    lab.postgres.start()
    yield


@contextmanager
def kill_backend(lab: Lab) -> Iterator[None]:
    """SIGKILL to one backend of the sync: the server ends all others and recovers."""
    with closing(psycopg.connect(lab.dsn, autocommit=True)) as witness:
        for (pid,) in witness.execute(f"SELECT pid FROM pg_stat_activity WHERE {OURS} {BUSY_FIRST}".encode()).fetchall():
            os.kill(pid, signal.SIGKILL)
            with suppress(psycopg.OperationalError):  # until the server has noticed, it would take connections
                while True:
                    witness.execute("SELECT pg_sleep(0.01)")
    await_server(lab)
    yield


@contextmanager
def kill_postmaster(lab: Lab) -> Iterator[None]:
    """SIGKILL to the server's first process, then a start that finds what it left."""
    pid = lab.postgres.pid()
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    lab.postgres.start()
    await_server(lab)
    yield


@contextmanager
def terminate(lab: Lab) -> Iterator[None]:
    """An administrator ends all of the sync's sessions."""
    lab.query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}")
    yield


@contextmanager
def read_only(lab: Lab) -> Iterator[None]:
    """The server takes no writes, as after a failover to a standby."""
    configure(lab, "ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        yield
    finally:
        configure(lab, "ALTER SYSTEM RESET default_transaction_read_only")


@contextmanager
def too_many_connections(lab: Lab) -> Iterator[None]:
    """Every connection that the server allows is taken; the sync's own have just been lost."""
    lab.postgres.stop()
    lab.postgres.start(max_connections=str(FEW), superuser_reserved_connections="0", max_wal_senders="0")
    with ExitStack() as taken:
        with suppress(psycopg.OperationalError):
            for _ in range(FEW + 1):
                taken.enter_context(closing(psycopg.connect(lab.postgres.dsn("postgres"))))
        yield
    lab.postgres.stop()
    lab.postgres.start()


def locked(table: str, lock_timeout: str = "0") -> Outage:
    """Somebody holds `table`; sessions give up waiting after `lock_timeout`, else after their statement_timeout."""

    @contextmanager
    def outage(lab: Lab) -> Iterator[None]:
        configure(lab, f"ALTER ROLE postgres SET lock_timeout = '{lock_timeout}'")
        with closing(psycopg.connect(lab.dsn)) as holder:
            holder.execute(f"LOCK TABLE millrace.{table} IN ACCESS EXCLUSIVE MODE".encode())
            yield
        configure(lab, "ALTER ROLE postgres RESET lock_timeout")

    return outage


@contextmanager
def disk_full(lab: Lab) -> Iterator[None]:
    """The server's volume, a small one made by `small_disk`, has no free block."""
    filler = lab.postgres.data.parent / "filler"
    _fill(filler)
    try:
        yield
    finally:
        filler.unlink()
        await_server(lab)


@contextmanager
def wal_full(lab: Lab) -> Iterator[None]:
    """The same when the next WAL segment is due: the server panics, and comes back once there is room."""
    filler = lab.postgres.data.parent / "filler"
    _fill(filler)
    with suppress(psycopg.Error):
        for _ in range(8):
            lab.query("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 4000000))")
    try:
        yield
    finally:
        filler.unlink()
        time.sleep(0.2)
        lab.postgres.start()
        await_server(lab)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """A volume of that size at `folder`; False where this account may not mount one."""
    folder.mkdir(mode=0o711)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0711", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def configure(lab: Lab, statement: str) -> None:
    """Run a statement for the whole server and let every session read its settings again."""
    with closing(psycopg.connect(lab.postgres.dsn("postgres"), autocommit=True)) as conn:
        conn.execute("SET default_transaction_read_only = off")
        conn.execute(statement.encode())
        conn.execute("SELECT pg_reload_conf()")


def await_server(lab: Lab) -> None:
    """Until the server takes connections again, starting it if it has ended."""
    deadline = time.monotonic() + UP_SECONDS
    while True:
        try:
            psycopg.connect(lab.dsn, connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            if lab.postgres.pid() is None:
                lab.postgres.start()
            time.sleep(0.05)


def _fill(path: Path) -> None:
    """Take every free block of the volume."""
    with path.open("wb", buffering=0) as handle, suppress(OSError):
        while True:
            handle.write(bytes(2**16))

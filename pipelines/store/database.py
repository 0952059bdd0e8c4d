"""The way into Postgres: the pool, the migrations and the one mapping of driver errors to `pipelines.errors`.

Every connection sees `search_path = millrace, public`, commits durably whatever the server's default, has deadlines on
statements and idle transactions, and notices a dead peer by keepalives. A peer that lives but is stuck answers those and
overruns the server's own deadlines, so the client has one too, and what has no deadline is watched (`watch.py`). yoyo keeps
its own tables in the schema `millrace_migrations`. Nothing here knows what the tables mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from pgvector.psycopg import register_vector
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg.types import TypeInfo
from psycopg_pool import ConnectionPool

from pipelines.errors import FailRun, FixConfiguration, MillraceError, Retry
from pipelines.store.sql import SQL_FOLDER, load
from pipelines.store.watch import watched

Pool = ConnectionPool[psycopg.Connection[TupleRow]]
RV = TypeVar("RV")

MIGRATIONS = SQL_FOLDER / "migrations"
MIGRATION_SCHEMA = "millrace_migrations"
# jit costs a tenth of a second on the first wide query and saves nothing at our sizes.
SESSION = (
    "-c search_path=millrace,public -c statement_timeout=600s -c idle_in_transaction_session_timeout=120s "
    "-c synchronous_commit=on -c jit=off -c client_encoding=UTF8"
)
CHECK_SECONDS = 10.0  # for what costs a server nothing: a fresh connection's first questions, the pool's check
POOL_SECONDS = 30.0  # until a connection is to be had
GRACE_SECONDS = 30.0  # beyond statement_timeout, in which the server should have answered
LINK = {
    "application_name": "millrace",
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
WRONG_LOGIN = ("password authentication failed", "no pg_hba.conf entry", "authentication failed", "no password supplied")


class Patient(psycopg.Connection[TupleRow]):
    """A connection that is closed when an answer takes longer than `patience` seconds (None: for ever, see `endless`)."""

    patience: float | None = CHECK_SECONDS

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for the server's part of one operation. Raises OperationalError when it does not come in time."""
        allowed = self.patience if timeout is None else timeout
        try:
            return super().wait(gen, interval, allowed)
        except psycopg.OperationalError as error:
            if timeout is not None or type(error).__name__ != "_WaitTimeout":  # which is private
                raise
            self.pgconn.finish()  # an answer that still comes would be taken for the next one's
            raise psycopg.OperationalError(f"the server has not answered for {allowed:g} s") from None


def open_pool(dsn: str, size: int = 4) -> Pool:
    """An open pool of at most `size` connections; the caller closes it.

    Raises FixConfiguration for a malformed DSN, a wrong login or an unknown database; Retry when the server is not reached.
    """
    conninfo = session_conninfo(dsn)
    with translate():
        psycopg.connect(conninfo).close()  # a pool would hide the reason behind its own time-out
        pool: Pool = ConnectionPool(
            conninfo,
            min_size=1,
            max_size=size,
            open=False,
            connection_class=Patient,
            configure=_configure,
            check=_check,
            timeout=POOL_SECONDS,
            name="millrace",
        )
        pool.open()
    return pool


def connect(dsn: str) -> psycopg.Connection[TupleRow]:
    """A connection beside the pool, in autocommit, with the pool's deadlines; the caller closes it and translates errors."""
    conn = Patient.connect(session_conninfo(dsn), autocommit=True)
    try:
        _set_patience(conn)
    except BaseException:
        conn.close()
        raise
    return conn


def session_conninfo(dsn: str) -> str:
    """`dsn` with our session settings; what the DSN itself says about the link wins."""
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        raise FixConfiguration(
            f"database connection: not a libpq address ({_line(error)}); correct host, schema and extra"
        ) from None
    options = f"{SESSION} {given.pop('options', None) or ''}".strip()
    return make_conninfo("", **{**LINK, **given, "options": options})


def migrate(dsn: str) -> list[str]:
    """Apply the pending migrations, each in one transaction with its own record; returns their ids.

    Safe to run at the same time from several processes and after a kill at any instant.
    """
    with translate(), psycopg.connect(session_conninfo(dsn), autocommit=True) as guard:
        guard.execute("SET statement_timeout = 0")
        guard.execute(load("database")["migration_lock"])
        guard.execute(load("database")["migration_schema"])
        return _apply(dsn)


def _apply(dsn: str) -> list[str]:
    import yoyo  # noqa: PLC0415  only migrating needs it

    applied = []
    with yoyo.get_backend(_yoyo_uri(dsn)) as backend:
        backend.break_lock()  # ours is the advisory lock, which a killed process cannot leave behind
        for migration in backend.to_apply(yoyo.read_migrations(str(MIGRATIONS))):
            if migration.use_transactions:
                with backend.transaction():
                    migration.process_steps(backend, "apply")
                    backend.mark_one(migration, log=False)
            else:
                backend.apply_one(migration)
            applied.append(migration.id)
    return applied


def _yoyo_uri(dsn: str) -> str:
    """The address in yoyo's form: everything but the database's name goes through the query, so socket folders work."""
    from yoyo.connections import DatabaseURI  # noqa: PLC0415  only migrating needs it

    given = {key: str(value) for key, value in conninfo_to_dict(session_conninfo(dsn)).items() if value is not None}
    database = given.pop("dbname", "")
    given["options"] += f" -c search_path={MIGRATION_SCHEMA},public -c statement_timeout=0"
    return str(DatabaseURI("postgresql+psycopg", None, None, None, None, f"/{database}", given))


def require_schema(pool: Pool) -> None:
    """Raise FixConfiguration unless every migration of this version is applied."""
    wanted = {path.stem for path in MIGRATIONS.glob("*.sql") if not path.stem.endswith(".rollback")}
    queries = load("database")
    with connection(pool) as conn:
        row = conn.execute(queries["migrations_known"]).fetchone()
        known = {name for (name,) in conn.execute(queries["migrations_applied"])} if row and row[0] else set()
    if wanted - known:
        raise FixConfiguration(
            f"database: {len(wanted - known)} of {len(wanted)} migrations are not applied; "
            "run `millrace up` or `millrace migrate`"
        )


@contextmanager
def connection(pool: Pool) -> Iterator[psycopg.Connection[TupleRow]]:
    """A connection of the pool as one transaction, with errors translated."""
    with translate(), pool.connection() as conn:
        yield conn


@contextmanager
def unbounded(pool: Pool) -> Iterator[psycopg.Connection[TupleRow]]:
    """A connection of the pool in autocommit whose statements may take as long as they need; handed back as it was."""
    with translate(), pool.connection() as conn:
        conn.autocommit = True
        conn.execute(load("database")["no_timeout"])
        try:
            with endless(pool, conn):
                yield conn
        finally:
            if not conn.closed:
                conn.execute(load("database")["reset"])
                conn.autocommit = False


@contextmanager
def endless(pool: Pool, conn: psycopg.Connection[TupleRow]) -> Iterator[None]:
    """Answers on `conn` may take as long as they need while the server answers others."""
    assert isinstance(conn, Patient)
    assert isinstance(pool.conninfo, str)  # as `open_pool` made it
    patience, conn.patience = conn.patience, None
    try:
        with watched(conn, pool.conninfo):
            yield
    finally:
        conn.patience = patience


@contextmanager
def translate() -> Iterator[None]:
    """Map what the driver raises to the project's errors; a mistake in our own SQL passes through unchanged."""
    try:
        yield
    except psycopg.Error as error:
        mapped = _mapped(error)
        if mapped is None:
            raise
        raise mapped from error


def _mapped(error: psycopg.Error) -> MillraceError | None:
    state, text = error.sqlstate or "", _line(error)
    if state == "53100":
        return FailRun(f"disk_full: the database server has no space left ({text}); free space, then run again")
    if state.startswith("28") or state == "3D000" or (not state and _refused(text)):
        return FixConfiguration(f"database: {text}; correct login and schema of the database connection")
    if state == "42501" and "extension" in text:
        return FixConfiguration(
            f"database: {text}; have an administrator run CREATE EXTENSION vector in this database once: "
            "nothing else needs a superuser"
        )
    if state == "0A000" and "extension" in text:
        return FixConfiguration(f"database: {text}; install pgvector 0.8.4 or later on the server")
    if state == "42501":
        return FixConfiguration(f"database: {text}; grant the role the right or connect as the schema's owner")
    if state in {"42P01", "3F000"}:
        return FixConfiguration(f"database: {text}; run `millrace up` or `millrace migrate`")
    if state.startswith("54"):  # a value beyond the server's limits: trying again cannot help
        return None
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)) or state in {"25P03", "25006"}:
        return Retry(f"database: {text or type(error).__name__}; it is tried again")
    return None


def _refused(text: str) -> bool:
    missing = "does not exist" in text and ("FATAL" in text) and ("database" in text or "role" in text)
    return missing or any(phrase in text for phrase in WRONG_LOGIN)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _configure(conn: psycopg.Connection[TupleRow]) -> None:
    """Teach the connection pgvector's types, once the extension is there, and how long to wait for an answer."""
    if TypeInfo.fetch(conn, "vector") is not None:
        register_vector(conn)
    _set_patience(conn)
    conn.commit()


def _set_patience(conn: psycopg.Connection[TupleRow]) -> None:
    assert isinstance(conn, Patient)
    row = conn.execute(load("database")["statement_seconds"]).fetchone()
    conn.patience = row[0] + GRACE_SECONDS if row and row[0] else None


def _check(conn: psycopg.Connection[TupleRow]) -> None:
    """Before the pool lends a connection: it must answer, and soon."""
    assert isinstance(conn, Patient)
    usual, conn.patience = conn.patience, CHECK_SECONDS
    try:
        ConnectionPool.check_connection(conn)
    finally:
        conn.patience = usual

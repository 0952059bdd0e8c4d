"""The way into Postgres: the pool, the migrations and the one mapping of driver errors to `pipelines.errors`.

Every connection sees `search_path = millrace, public`, has deadlines on statements and idle transactions, and notices a dead
peer by keepalives. yoyo keeps its own tables in the schema `millrace_migrations`. Nothing here knows what the tables mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg.types import TypeInfo
from psycopg_pool import ConnectionPool

from pipelines.errors import FailRun, FixConfiguration, MillraceError, Retry
from pipelines.store.sql import SQL_FOLDER, load

Pool = ConnectionPool[psycopg.Connection[TupleRow]]

MIGRATIONS = SQL_FOLDER / "migrations"
MIGRATION_SCHEMA = "millrace_migrations"
# jit costs a tenth of a second on the first wide query and saves nothing at our sizes.
SESSION = (
    "-c search_path=millrace,public -c statement_timeout=600s -c idle_in_transaction_session_timeout=120s "
    "-c jit=off -c client_encoding=UTF8"
)
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
            configure=_configure,
            check=ConnectionPool.check_connection,
            timeout=30,
            name="millrace",
        )
        pool.open()
    return pool


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


def _configure(conn: psycopg.Connection[Any]) -> None:
    """Teach the connection pgvector's types, once the extension is there."""
    if TypeInfo.fetch(conn, "vector") is not None:
        register_vector(conn)
    conn.commit()

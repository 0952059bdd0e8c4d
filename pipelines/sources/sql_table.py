"""The table behind a SQL source: engine, checked names, and what a database's failures mean.

Names come from configuration, so each one is looked up in the database's own inspection before a statement holds it, and
SQLAlchemy quotes it. Values are read as the driver delivers them.
"""

from __future__ import annotations

import difflib
import re
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.types import NullType, TypeEngine

from pipelines.errors import FixConfiguration, MillraceError, Retry

POOL = 4  # connections; more reading threads wait for one
_SETUP = re.compile(
    r"authentication failed|no password supplied|does not exist|access denied|permission denied|no pg_hba|unknown database"
    r"|unable to open database|not a database|no such (table|column)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Table:
    """A table or view as its database describes it."""

    selectable: sa.Table
    types: dict[str, TypeEngine[Any]]

    def column(self, name: str) -> sa.Column[Any]:
        """A column whose name was checked by `require`; its values come as the driver delivers them."""
        return self.selectable.c[name]

    def require(self, names: Iterable[str], where: str) -> None:
        """Raises FixConfiguration for the first name that is not a column, listing those that are."""
        for name in names:
            if name not in self.types:
                raise FixConfiguration(f"{where}: no column {name!r}; its columns are: {', '.join(self.types)}")

    def size(self, names: Iterable[str]) -> sa.ColumnElement[int]:
        """SQL for the stored length of the text and bytes among the columns, so that a huge row is never fetched."""
        sized = [name for name in names if isinstance(self.types[name], (sa.String, sa.LargeBinary))]
        lengths = [sa.func.coalesce(sa.func.length(self.column(name)), 0) for name in sized if not self._is_enum(name)]
        total: sa.ColumnElement[int] = sa.literal(0, sa.BigInteger)
        for length in lengths:
            total = total + sa.cast(length, sa.BigInteger)
        return total

    def _is_enum(self, name: str) -> bool:
        return isinstance(self.types[name], sa.Enum)


def open_engine(url: str, conn_id: str) -> sa.Engine:
    """An engine with a small pool, not yet connected."""
    where = f"connection {conn_id!r}"
    try:
        parsed = sa.make_url(url)
        timeout = {"connect_timeout": 10} if parsed.get_driver_name() in {"psycopg", "psycopg2"} else {}
        engine = sa.create_engine(
            parsed, poolclass=sa.QueuePool, pool_size=POOL, max_overflow=0, pool_pre_ping=True, connect_args=timeout
        )
    except (exc.ArgumentError, ImportError, ValueError) as error:
        raise FixConfiguration(f"{where}: {_line(error)}; correct it or install the driver") from None
    file = parsed.database or ""
    if parsed.get_backend_name() == "sqlite" and not file.startswith("file:") and not Path(file).is_file():
        raise FixConfiguration(f"{where}: no database file {file!r}; correct host in the connection")
    return engine


def inspect_table(engine: sa.Engine, name: str, where: str) -> Table:
    """`table` or `schema.table` as the database knows it. Raises FixConfiguration with the nearest name when it does not."""
    schema, _, bare = name.rpartition(".")
    with translated(where), warnings.catch_warnings():
        warnings.simplefilter("ignore", exc.SAWarning)  # column types that SQLAlchemy does not know are fine here
        inspector = sa.inspect(engine)
        if not inspector.has_table(bare, schema or None):
            raise _no_table(inspector, name, bare, schema or None, where)
        columns = inspector.get_columns(bare, schema or None)
    types = {str(column["name"]): column["type"] for column in columns}
    plain = [sa.Column(column, NullType()) for column in types]
    return Table(sa.Table(bare, sa.MetaData(), *plain, schema=schema or None), types)


def _no_table(inspector: sa.Inspector, name: str, bare: str, schema: str | None, where: str) -> FixConfiguration:
    known: list[str] = []
    if schema is None or schema in inspector.get_schema_names():
        known = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
    near = difflib.get_close_matches(bare, known, n=1) or sorted(known)[:20]
    return FixConfiguration(f"{where}: no table or view {name!r}; known: {', '.join(near) or 'none'}; correct `table`")


def key_values(kind: TypeEngine[Any], rendered: str) -> list[Any] | None:
    """What a key column may hold for a key's text; None when columns of this type cannot identify a row.

    A database without strict types may hold a number as number or as text.
    """
    if isinstance(kind, sa.Float):
        return None
    for types, convert in ((sa.Integer, int), (sa.Uuid, uuid.UUID), (sa.Numeric, Decimal)):
        if isinstance(kind, types):
            return _converted(convert, rendered)
    if isinstance(kind, sa.String):
        return [rendered]
    if isinstance(kind, NullType):
        return [rendered, *(_converted(int, rendered) if re.fullmatch(r"0|-?[1-9]\d{0,17}", rendered) else [])]
    return None


def _converted(convert: Any, rendered: str) -> list[Any]:
    try:
        return [convert(rendered)]
    except (ValueError, ArithmeticError):
        return [rendered]


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turns every SQLAlchemy error inside into Retry or FixConfiguration."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise failure(error, where) from error


def failure(error: exc.SQLAlchemyError, where: str) -> MillraceError:
    """What a database error means to the caller; the message is the driver's own first line, without the statement."""
    cause = getattr(error, "orig", None) or error
    said = _line(cause)
    state = str(getattr(cause, "sqlstate", None) or "")
    wrong = isinstance(
        error, (exc.ProgrammingError, exc.DataError, exc.NotSupportedError, exc.ArgumentError, exc.CompileError)
    )
    if wrong or state[:2] in {"28", "3D"} or _SETUP.search(said):
        return FixConfiguration(f"{where}: {said}; correct the connection, the source or the database's grants")
    return Retry(f"{where}: {said}; check that the database is up, then try again")


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

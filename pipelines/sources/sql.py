"""Rows of a table or view in any database that SQLAlchemy speaks.

An address is `sql://<connection>/<table>/<key>`, percent-encoded; a document is the text template filled from one row. The
change token is the row's cursor value when the source names a cursor column, so a listing reads key and cursor only; without
one (or where a row's cursor is null) it is a hash of everything the document is made of, computed while listing. The token
also covers the template, so a changed template is a changed document. A cursor must change with every change of its row.
A listing is one statement: deletions are found by comparing its keys. Content carries the title as metadata["title"].
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.types import NullType

from pipelines.config import Connection, SqlSource
from pipelines.connections import sqlalchemy_url
from pipelines.errors import FixConfiguration, SkipDocument
from pipelines.records import Content, RawObject, Reason, sha256
from pipelines.sources.sql_table import Table, inspect_table, key_values, open_engine, translated
from pipelines.sources.sql_values import as_json, fill, template_columns, text

_ROWS_OF_KEYS, _ROWS_OF_TEXT = 5000, 200  # fetched at a time


class Sql:
    """A table's rows; see `ports.Source`."""

    format: str | None = "text"

    def __init__(self, name: str, config: SqlSource, engine: sa.Engine) -> None:
        self.name = name
        self._config = config
        self._engine = engine
        self._where = f"source {name!r}, connection {config.connection!r}, table {config.table!r}"
        self._root = f"sql://{_quoted(config.connection)}/{_quoted(config.table)}/"
        named = template_columns(config.text, self._where)
        titled = [config.title] if config.title else []
        self._columns = list(dict.fromkeys([*named, *titled, *config.metadata]))
        self._recipe = sha256(config.text, config.title or "", *config.metadata).hex()[:8]
        weakref.finalize(self, engine.dispose)

    @classmethod
    def open(cls, name: str, config: SqlSource, connections: Mapping[str, Connection], day: date | None) -> Sql:
        """The adapter of a sources.yaml entry."""
        return cls(name, config, open_engine(sqlalchemy_url(connections[config.connection]), config.connection))

    def root(self, prefix: str = "") -> str:
        """`sql://connection/table/prefix`: what every address that `list(prefix)` yields starts with."""
        return self._root + _quoted(prefix)

    def list(self, prefix: str = "") -> Iterator[RawObject]:
        """Every row whose key, as text, starts with `prefix`. Raises FixConfiguration for a null or repeated key."""
        seen: set[str] = set()
        rows = _ROWS_OF_KEYS if self._config.cursor else _ROWS_OF_TEXT
        with translated(self._where), self._engine.connect() as connection:
            for row in connection.execute(self._listing(), execution_options={"yield_per": rows}):
                key = _key(row[0])
                if row[0] is None or key in seen:
                    raise self._wrong_key("null" if row[0] is None else f"{key!r} twice")
                seen.add(key)
                if key.startswith(prefix):
                    yield self._listed(key, row[1], row[2:])

    def read(self, listed: RawObject, max_bytes: int) -> Content:
        """The row as it is now, in one statement, so text and token belong together."""
        try:
            row = self._row(listed.uri, max_bytes)
        except FixConfiguration as error:
            if isinstance(error.__cause__, exc.DataError):  # a value no driver type holds, such as a year beyond 9999
                raise SkipDocument(Reason.MALFORMED, f"a column cannot be read: {error.__cause__.orig}") from error
            raise
        if row is None:
            raise SkipDocument(Reason.SOURCE_VANISHED, "deleted after it was listed")
        size, cursor, *columns = row
        if size > max_bytes:
            raise _too_large(size, max_bytes)
        values = dict(zip(self._columns, columns, strict=True))
        data = fill(self._config.text, values).encode()
        if len(data) > max_bytes:
            raise _too_large(len(data), max_bytes)
        return Content(listed.uri, self._token(cursor, values), data, metadata=self._metadata(values))

    def current_version(self, uri: str) -> str | None:
        """The token as of now, None when the row is gone."""
        row = self._row(uri, None)
        if row is None:
            return None
        _, cursor, *columns = row
        return self._token(cursor, dict(zip(self._columns, columns, strict=True)))

    @cached_property
    def _table(self) -> Table:
        table = inspect_table(self._engine, self._config.table, self._where)
        cursor = [self._config.cursor] if self._config.cursor else []
        table.require([self._config.key, *cursor, *self._columns], self._where)
        kind = table.types[self._config.key]
        if key_values(kind, "1") is None:
            raise FixConfiguration(
                f"{self._where}: key column {self._config.key!r} has type {kind}; choose an integer, text or uuid column"
            )
        return table

    def _cursor(self) -> sa.ColumnElement[Any]:
        return self._table.column(self._config.cursor) if self._config.cursor else sa.null()

    def _listing(self) -> sa.Select[Any]:
        """Key, cursor, and the document's columns where the cursor cannot tell a change."""
        cursor = self._cursor()
        columns: list[sa.ColumnElement[Any]] = [self._table.column(name) for name in self._columns]
        if self._config.cursor:
            columns = [sa.case((cursor.is_(None), column)) for column in columns]
        return sa.select(*_labelled([self._table.column(self._config.key), cursor, *columns]))

    def _row(self, uri: str, max_bytes: int | None) -> Sequence[Any] | None:
        """Stored size, cursor and the document's columns (null when the size exceeds max_bytes), or None."""
        if not uri.startswith(self._root):
            return None
        size = self._table.size(self._columns)
        columns: list[sa.ColumnElement[Any]] = [self._table.column(name) for name in self._columns]
        if max_bytes is not None:
            columns = [sa.case((size <= max_bytes, column)) for column in columns]
        key = self._table.column(self._config.key)
        wanted = unquote(uri[len(self._root) :])
        statement = sa.select(*_labelled([key, size, self._cursor(), *columns])).where(self._is(key, wanted))
        with translated(self._where), self._engine.connect() as connection:
            rows = [row[1:] for row in connection.execute(statement) if _key(row[0]) == wanted]  # 1.0 finds 1 in some
        if len(rows) > 1:
            raise self._wrong_key(f"{uri} twice")
        return rows[0] if rows else None

    def _is(self, key: sa.Column[Any], wanted: str) -> sa.ColumnElement[bool]:
        kind = self._table.types[self._config.key]
        return sa.or_(*(key == _bound(value, kind) for value in key_values(kind, wanted) or []))

    def _listed(self, key: str, cursor: Any, columns: Sequence[Any]) -> RawObject:
        values = dict(zip(self._columns, columns, strict=True))
        modified = cursor if isinstance(cursor, datetime) and cursor.tzinfo else None
        size = len(fill(self._config.text, values).encode()) if cursor is None else 0
        return RawObject(self.root(key), self._token(cursor, values), size, modified)

    def _token(self, cursor: Any, values: Mapping[str, Any]) -> str:
        if cursor is not None:
            return f"{self._recipe}:{text(cursor)}"
        made_of = [fill(self._config.text, values), json.dumps(self._metadata(values), sort_keys=True)]
        return f"{self._recipe}:sha256-{sha256(*made_of).hex()[:32]}"

    def _metadata(self, values: Mapping[str, Any]) -> dict[str, Any]:
        chosen = {name: as_json(values[name]) for name in self._config.metadata}
        return chosen | ({"title": text(values[self._config.title])} if self._config.title else {})

    def _wrong_key(self, what: str) -> FixConfiguration:
        return FixConfiguration(
            f"{self._where}: key column {self._config.key!r} holds {what}; choose one that identifies a row"
        )


def _key(value: Any) -> str:
    return value if isinstance(value, str) else text(value)  # text keys exactly as they are


def _bound(value: Any, kind: Any) -> sa.ColumnElement[Any]:
    """A parameter of the column's own type, unless the value could not be converted to it."""
    plain = isinstance(kind, NullType) or (isinstance(value, str) and not isinstance(kind, sa.String))
    return sa.literal(value) if plain else sa.literal(value, kind)


def _labelled(columns: Sequence[sa.ColumnElement[Any]]) -> list[sa.ColumnElement[Any]]:
    return [column.label(f"c{index}") for index, column in enumerate(columns)]


def _quoted(value: str) -> str:
    return quote(value, safe="")


def _too_large(size: int, limit: int) -> SkipDocument:
    return SkipDocument(
        Reason.TOO_LARGE, f"{size} bytes, limit {limit}; raise max_object_bytes in limits.yaml or exclude it"
    )

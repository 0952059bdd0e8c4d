"""Named SQL statements from `include/sql/queries/<room>.sql`. Statements are never put together in Python."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

SQL_FOLDER = Path(__file__).resolve().parents[2] / "include" / "sql"
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def load(room: str) -> Mapping[str, str]:
    """The statements of one file by name; each begins at its `-- name: <statement>` line.

    Dynamic identifiers are written `{table}` and filled with `psycopg.sql` only. Lists of hashes are written `%(shas)b` and
    sent in binary: as text, the driver takes some 15 microseconds for each, more than the server needs to find it.
    Raises ValueError on a name used twice.
    """
    pieces = _NAME.split((SQL_FOLDER / "queries" / f"{room}.sql").read_text(encoding="utf-8"))
    names, bodies = pieces[1::2], pieces[2::2]
    if len(set(names)) != len(names):
        raise ValueError(f"include/sql/queries/{room}.sql: a statement name is used twice: {names}")
    return MappingProxyType({name: body.strip() for name, body in zip(names, bodies, strict=True)})

"""Who may see which document: the access lists that documents carry, as a condition inside SQL.

A document's metadata key `access` lists the groups that may read it: a JSON list, or a string with commas as front matter
has it. Every statement that gives text to a reader contains the condition of `include/sql/queries/access.sql`, so nothing
is filtered afterwards and no result is cut short by it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from psycopg import sql

from pipelines.search.query import Filters
from pipelines.store.sql import load


@cache
def visible(alias: str = "d") -> sql.Composed:
    """The condition on the table `document`, which the statement calls `alias`; its values are those of `arguments`."""
    queries = load("access")
    allowed, document = sql.SQL(queries["allowed"]), sql.Identifier(alias)
    return sql.SQL(queries["visible"]).format(
        d=document, allowed=allowed.format(d=document), object_allowed=allowed.format(d=sql.Identifier("object"))
    )


@cache
def corpus() -> sql.Composed:
    """The fragment that every statement of a search begins with: what this reader may be given."""
    return sql.SQL(load("search")["corpus"]).format(visible=visible())


def arguments(filters: Filters) -> dict[str, Any]:
    """The condition's values. Without principals, the reader is trusted with everything."""
    return {
        "principals": None if filters.principals is None else list(filters.principals),
        "open_sources": list(filters.open_sources),
    }

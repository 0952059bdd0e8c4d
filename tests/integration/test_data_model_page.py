"""docs/data-model.md lists every table and column of a migrated database, and none that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/data-model.md"
pytestmark = pytest.mark.integration


def documented() -> dict[str, set[str]]:
    """Table -> columns, from the page's `## table` headings and the first cells of the rows below."""
    found: dict[str, set[str]] = {}
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]:
        heading = re.match(r"`(\w+)`", section)
        if heading:
            cells = re.findall(r"^\| ([^|]+) \|", section, flags=re.M)
            found[heading[1]] = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    return found


def test_the_page_lists_every_table_and_column(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        rows = conn.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'millrace'"
        ).fetchall()
    actual: dict[str, set[str]] = {}
    for table, column in rows:
        actual.setdefault(table, set()).add(column)
    assert documented() == actual

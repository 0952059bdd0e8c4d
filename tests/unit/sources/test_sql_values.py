"""Values of any database become the same text and JSON on every run."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import FixConfiguration
from pipelines.sources.sql_values import as_json, fill, template_columns, text


class Colour(Enum):
    RED = "red"


VALUES: list[tuple[Any, str, Any]] = [
    (None, "", None),
    (True, "true", True),
    (7, "7", 7),
    (2**70, str(2**70), 2**70),
    (0.1, "0.1", 0.1),
    (float("nan"), "NaN", "NaN"),
    (float("-inf"), "-Infinity", "-Infinity"),
    (Decimal("12.50"), "12.50", "12.50"),
    (Decimal("1E+3"), "1000", "1000"),
    (Decimal("NaN"), "NaN", "NaN"),
    (Decimal("sNaN"), "NaN", "NaN"),
    (Decimal("-Infinity"), "-Infinity", "-Infinity"),
    (datetime(2026, 3, 29, 1, 30), "2026-03-29T01:30:00", "2026-03-29T01:30:00"),
    (
        datetime(2026, 3, 29, 1, 30, tzinfo=timezone(timedelta(hours=2))),
        "2026-03-28T23:30:00+00:00",
        "2026-03-28T23:30:00+00:00",
    ),
    (datetime(2026, 3, 29, 1, 30, 0, 5, tzinfo=UTC), "2026-03-29T01:30:00.000005+00:00", "2026-03-29T01:30:00.000005+00:00"),
    (date(2026, 1, 2), "2026-01-02", "2026-01-02"),
    (time(3, 4), "03:04:00", "03:04:00"),
    (b"", "", ""),
    ("grün".encode(), "grün", "grün"),
    (memoryview(b"\xff\x00"), "\\xff00", "\\xff00"),
    ("a\0b", "ab", "ab"),
    ("\ud800x", "?x", "?x"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000001"),
    ({"b": [1, Decimal("1.0")], "a": None}, '{"a": null, "b": [1, "1.0"]}', {"b": [1, "1.0"], "a": None}),
    ([float("nan"), "ü"], '["NaN", "ü"]', ["NaN", "ü"]),
    (Colour.RED, "red", "red"),
]


# A memoryview's repr is its address, and a test's name must be the same in every process.
NAMES = [f"{type(value).__name__} {bytes(value) if isinstance(value, memoryview) else value!r}" for value, *_ in VALUES]


@pytest.mark.parametrize(("value", "as_text", "json_value"), VALUES, ids=NAMES)
def test_a_value_has_one_text_and_one_json_form(value: Any, as_text: str, json_value: Any) -> None:
    assert text(value) == as_text
    assert as_json(value) == json_value
    json.dumps(as_json(value), allow_nan=False)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), st.lists))
def test_whatever_a_row_holds_can_be_stored(value: Any) -> None:
    assert "\0" not in text(value)
    text(value).encode()
    assert "\\u0000" not in json.dumps(as_json(value), allow_nan=False) or isinstance(value, list)


def test_a_template_is_filled_once() -> None:
    row = {"title": "{body} and {title.__class__}", "body": "b", "order no": None}
    assert template_columns("{title}\n\n{body} {{x}} {title}{order no}", "here") == ["title", "body", "order no"]
    assert fill("{title}\n\n{body} {{x}}{order no}", row) == "{body} and {title.__class__}\n\nb {x}"


@pytest.mark.parametrize("template", ["{a.__class__}", "{a[0]}", "{}", "{a!r}", "{a:>10}", "{a", "a}", "{a:{b}}", "{a;b}"])
def test_a_template_holds_plain_columns_only(template: str) -> None:
    with pytest.raises(FixConfiguration, match="^here: ") as caught:
        template_columns(template, "here")
    assert "brace" in str(caught.value)

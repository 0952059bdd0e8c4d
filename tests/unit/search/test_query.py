"""What cannot be searched is refused in one line; what can is made storable."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.errors import FixConfiguration
from pipelines.search.query import Filters, Query, check, clean_text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": ""}, "empty"),
        ({"text": " \n\x00\ud800"}, "empty"),
        ({"text": "x" * 2**20}, r"1,048,576 characters, more than 4,000"),
        ({"k": 0}, "k is 0; use a whole number from 1 to 200"),
        ({"k": 201}, "k is 201"),
        ({"k": 10**6}, "k is 1000000"),
        ({"k": True}, "k is True"),
        ({"k": 2.5}, r"k is 2\.5"),
        ({"mode": "fuzzy"}, "one of hybrid, dense, text"),
        ({"filters": Filters(sources=("s",) * 101)}, "sources has 101 values"),
        ({"filters": Filters(uri_prefix="a\x00b")}, "uri_prefix.*control characters"),
        ({"filters": Filters(lang="x" * 2001)}, "lang has 2,001"),
        ({"filters": Filters(since=datetime(2026, 1, 1))}, "no time zone"),
        ({"filters": Filters(since=datetime(2026, 2, 1, tzinfo=UTC), until=datetime(2026, 1, 1, tzinfo=UTC))}, "not before"),
        ({"filters": Filters(metadata={"a": {"b": {"c": {"d": 1}}}})}, "nested too deep"),
        ({"filters": Filters(metadata={"a": object()})}, "no JSON value"),
        ({"filters": Filters(metadata={"a": ["\x00"]})}, "control characters"),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FixConfiguration, match=message) as caught:
        check(Query(**{"text": "weir", "collection": "k", **changes}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("k", [1, 200])
def test_accepted(k: int) -> None:
    check(Query("of the", "k", k=k, filters=Filters(metadata={"a": {"b": [1, None, "x"]}}, sources=())))


def test_clean_text() -> None:
    assert clean_text(" A\x00B\ud800 e\u0301\n\tz ") == "A B \u00e9 z"


def test_an_empty_tuple_is_a_filter() -> None:
    assert not Filters().any
    assert Filters(sources=()).any

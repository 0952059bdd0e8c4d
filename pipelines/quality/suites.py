"""Reads expectation suites: JSON data files in the format of great_expectations, each rule marked `row` or `batch`.

Checks what great_expectations would not: that zero rows can never pass, that each rule says whom it fails, and that every
`$PARAMETER` has a value. Does not import great_expectations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import FixConfiguration

ROW_COUNT = "expect_table_row_count_to_be_between"
LEVELS = ("row", "batch")

Suite = dict[str, Any]


def load(folder: Path, name: str, parameters: Mapping[str, float | str]) -> Suite:
    """The suite `folder/name.json`, checked. Raises FixConfiguration with the file, the place and the remedy."""
    path = folder / f"{name}.json"
    try:
        suite: Suite = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in folder.glob("*.json"))) or "none"
        raise FixConfiguration(f"{path}: no such suite (known: {known}); restore it from the repository") from None
    except json.JSONDecodeError as error:
        raise FixConfiguration(f"{path}: not valid JSON ({error}); correct it") from None
    rules = suite.get("expectations") or []
    _first_counts_rows(path, rules)
    for index, rule in enumerate(rules):
        if rule.get("meta", {}).get("level") not in LEVELS:
            raise FixConfiguration(f'{path}: expectation {index} ({rule.get("type")}): set meta.level to "row" or "batch"')
    missing = sorted(set(_parameters(rules)) - set(parameters))
    if missing:
        raise FixConfiguration(f"{path}: no value for parameter {', '.join(missing)}; pass it to validate()")
    return suite


def _first_counts_rows(path: Path, rules: list[dict[str, Any]]) -> None:
    first = rules[0] if rules else {}
    minimum = first.get("kwargs", {}).get("min_value")
    if first.get("type") != ROW_COUNT or not isinstance(minimum, int) or minimum < 1:
        raise FixConfiguration(f"{path}: the first expectation must be {ROW_COUNT} with min_value 1 or more; add it")


def _parameters(value: object) -> Iterator[str]:
    """Names of every {"$PARAMETER": name} inside a JSON value."""
    if isinstance(value, dict):
        if "$PARAMETER" in value:
            yield value["$PARAMETER"]
        for entry in value.values():
            yield from _parameters(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _parameters(entry)

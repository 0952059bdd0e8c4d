"""The suite files evaluated in this process, thousands of times a minute, for benches that sweep more often than that.

The same JSON files and parameters as the real worker reads, the same verdict without its pages. A share of the calls asks
the real worker as well and raises when the verdicts differ.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow.parquet as pq

from pipelines.quality import suites
from pipelines.quality.validator import Failure, SuiteResult, Validator

Rows = list[dict[str, Any]]
Bad = Callable[[Rows, dict[str, Any]], list[bool]]
ROW_COUNT = "expect_table_row_count_to_be_between"
SAMPLE = {"passing": 200, "failing": 20}  # one of so many verdicts is compared with the real worker's


class Quick(Validator):
    """A Validator that evaluates in process; each n-th passing and m-th failing suite also asks `real`. `asked` counts."""

    def __init__(self, expectations: Path, real: Validator, sample: Mapping[str, int] = MappingProxyType(SAMPLE)) -> None:
        self._folder = expectations
        self._real = real
        self._sample = sample
        self.asked: Counter[str] = Counter()

    def start(self) -> None:
        """Nothing to import."""

    def validate(
        self,
        suite: str,
        table: Path,
        docs: Path | None = None,
        label: str = "",
        parameters: Mapping[str, float | str] | None = None,
    ) -> SuiteResult:
        """The verdict; no page is written. Raises AssertionError when the real worker's differs."""
        values = dict(parameters or {})
        rows = pq.read_table(table).to_pylist()
        found = evaluate(suites.load(self._folder, suite, values), rows, values)
        self.asked["suites"] += 1
        verdict = "failing" if found.failed_documents or not found.success else "passing"
        self.asked[verdict] += 1
        if self.asked[verdict] % self._sample[verdict] == self._sample[verdict] // 10:  # soon in a short run as well
            self._compare(found, self._real.validate(suite, table, None, label, values))
        return found

    def _compare(self, found: SuiteResult, real: SuiteResult) -> None:
        self.asked["compared"] += 1
        if _verdict(found) != _verdict(real):
            raise AssertionError(f"suite {found.suite}: in process {_verdict(found)}, great-expectations {_verdict(real)}")


def _verdict(result: SuiteResult) -> tuple[object, ...]:
    return result.success, result.rows, sorted(result.failed_documents)


def evaluate(suite: suites.Suite, rows: Rows, parameters: Mapping[str, float | str]) -> SuiteResult:
    """One suite over the rows of one table."""
    failures: list[Failure] = []
    documents: dict[str, tuple[str, ...]] = {}
    for rule in suite["expectations"]:
        kind, kwargs, level = rule["type"], _filled(rule["kwargs"], parameters), rule["meta"]["level"]
        if kind == ROW_COUNT:
            bad = [False] * len(rows) if len(rows) >= kwargs["min_value"] else [True]
        else:
            bad = RULES[kind](rows, kwargs)
        if not any(bad):
            continue
        failures.append(Failure(kind, kwargs.get("column", ""), sum(bad), kind, level))
        if level == "row":
            documents |= {row["doc_id"]: (kind,) for row, wrong in zip(rows, bad, strict=True) if wrong}
    success = bool(rows) and not any(failure.level == "batch" for failure in failures)
    return SuiteResult(suite["name"], success, len(rows), tuple(failures), documents)


def _filled(kwargs: dict[str, Any], parameters: Mapping[str, float | str]) -> dict[str, Any]:
    return {
        key: parameters[value["$PARAMETER"]] if isinstance(value, dict) and "$PARAMETER" in value else value
        for key, value in kwargs.items()
    }


def _each(test: Callable[[Any, dict[str, Any]], bool]) -> Bad:
    """A rule about each value that is not null."""

    def bad(rows: Rows, kwargs: dict[str, Any]) -> list[bool]:
        column = kwargs["column"]
        return [row[column] is not None and not test(row[column], kwargs) for row in rows]

    return bad


def _within(value: Any, kwargs: dict[str, Any]) -> bool:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    return (low is None or value >= low) and (high is None or value <= high)


def _repeated(rows: Rows, kwargs: dict[str, Any]) -> list[bool]:
    columns = kwargs.get("column_list") or [kwargs["column"]]
    keys = [tuple(row[column] for column in columns) for row in rows]
    times = Counter(keys)
    return [times[key] > 1 for key in keys]


RULES: dict[str, Bad] = {
    "expect_column_values_to_not_be_null": lambda rows, kwargs: [row[kwargs["column"]] is None for row in rows],
    "expect_column_values_to_match_regex": _each(lambda value, kwargs: re.match(kwargs["regex"], value) is not None),
    "expect_column_values_to_not_match_regex": _each(lambda value, kwargs: re.match(kwargs["regex"], value) is None),
    "expect_column_values_to_be_between": _each(_within),
    "expect_column_value_lengths_to_be_between": _each(lambda value, kwargs: _within(len(value), kwargs)),
    "expect_column_values_to_be_in_set": _each(lambda value, kwargs: value in kwargs["value_set"]),
    "expect_column_values_to_be_unique": _repeated,
    "expect_compound_columns_to_be_unique": _repeated,
    "expect_column_pair_values_a_to_be_greater_than_b": lambda rows, kwargs: [
        not row[kwargs["column_A"]] > row[kwargs["column_B"]] for row in rows
    ],
}

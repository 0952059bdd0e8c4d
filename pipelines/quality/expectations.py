"""The great_expectations side: run a suite on a data frame, and tell failing documents from a failing batch.

Imported by the worker process only (the import takes seconds). An ephemeral context: nothing is read from or written to a
project folder, and nothing is sent anywhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import great_expectations as gx
import pandas
from great_expectations.core import ExpectationSuite
from great_expectations.data_context.types.base import ProgressBarsConfig

from pipelines.quality import docs

ROW_DETAIL = "unexpected_index_list"
EXAMPLE_CHARS = 60
# Lists that COMPLETE adds: as long as the failing rows, and not shown on a page.
BULKY = ("unexpected_list", ROW_DETAIL, "unexpected_index_query")


class Runner:
    """One great_expectations context serving many suites; remembers the last result for its page."""

    def __init__(self) -> None:
        self._context = gx.get_context(mode="ephemeral")
        self._context.variables.progress_bars = ProgressBarsConfig(globally=False)
        self._source = self._context.data_sources.add_pandas("millrace")
        self._last: tuple[Any, str] | None = None

    def run(self, suite: dict[str, Any], table: Path, label: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Counts, failures and failing documents of one table, as JSON values."""
        frame = pandas.read_parquet(table, engine="pyarrow")
        name = suite["name"]
        # Named per request: great_expectations caches metrics by batch id, which is made of these names.
        asset = self._source.add_dataframe_asset(f"{name} {label} {datetime.now(UTC):%H%M%S%f}".strip())
        batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
        result = batch.validate(
            ExpectationSuite(**suite),
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["doc_id"]},
            expectation_parameters=dict(parameters),
        )
        self._source.delete_asset(asset.name)
        outcome = _outcome(result.results, len(frame))
        _trim(result.results)
        self._last = (result, label)
        return outcome

    def document(self, folder: Path, styles: Path) -> str:
        """Write the last result's page under `folder`; its path relative to it."""
        assert self._last is not None
        result, label = self._last
        return docs.write(folder, styles, result, label)


def _outcome(results: Iterable[Any], rows: int) -> dict[str, Any]:
    failures: list[dict[str, Any]] = []
    documents: dict[str, list[str]] = defaultdict(list)
    for result in results:
        if result.success:
            continue
        failure = _failure(result)
        named = _documents(result, failure["column"]) if failure["level"] == "row" else {}
        if not named:  # a row rule that cannot say which documents fail has to fail them all
            failure["level"] = "batch"
        failures.append(failure)
        for document, why in named.items():
            documents[document].append(why)
    success = rows > 0 and not any(failure["level"] == "batch" for failure in failures)
    return {"success": success, "rows": rows, "failures": failures, "failed_documents": documents}


def _failure(result: Any) -> dict[str, Any]:
    config = result.expectation_config
    columns = [config.kwargs.get(key) for key in ("column", "column_A", "column_B")] + config.kwargs.get("column_list", [])
    unexpected = int(result.result.get("unexpected_count") or 0)
    return {
        "expectation": config.type,
        "column": ", ".join(column for column in columns if column),
        "unexpected": unexpected,
        "detail": _detail(result, unexpected),
        "level": (config.meta or {}).get("level", "batch"),
    }


def _detail(result: Any, unexpected: int) -> str:
    error = _exception(result.exception_info or {})
    if error:
        return f"could not be evaluated: {error}"
    observed = result.result.get("observed_value")
    if observed is not None:
        return f"{_rule(result)}, observed {observed}"
    values = list(dict.fromkeys(_short(value) for value in result.result.get("partial_unexpected_list") or ()))[:3]
    return f"{_rule(result)}, {unexpected} rows" + (f" such as {', '.join(values)}" if values else "")


def _rule(result: Any) -> str:
    """The expectation with its limits, such as `column_values_to_be_between min_value 1.0, max_value 256.0`."""
    config = result.expectation_config
    named = [
        item for item in config.kwargs.items() if not item[0].startswith(("column", "batch_id")) and item[1] is not None
    ]
    return " ".join([config.type.removeprefix("expect_"), ", ".join(f"{key} {value}" for key, value in named)]).rstrip()


def _short(value: object) -> str:
    return repr(value.item() if hasattr(value, "item") else value)[:EXAMPLE_CHARS]


def _documents(result: Any, column: str) -> dict[str, str]:
    """Hex doc_id -> what is wrong with its first failing row; empty when a failing row has no doc_id."""
    documents: dict[str, str] = {}
    for entry in result.result.get(ROW_DETAIL) or ():
        document = entry.get("doc_id")
        if not isinstance(document, str):
            return {}
        value = f", got {_short(entry[column])}" if column in entry else ""
        documents.setdefault(document, f"{column}: {_rule(result)}{value}")
    return documents


def _exception(info: Mapping[str, Any]) -> str:
    """great_expectations gives either one exception or a mapping of them by metric."""
    entries = [info] if "raised_exception" in info else [entry for entry in info.values() if isinstance(entry, Mapping)]
    raised = [str(entry.get("exception_message")) for entry in entries if entry.get("raised_exception")]
    return " ".join(raised[0].split())[:300] if raised else ""


def _trim(results: Iterable[Any]) -> None:
    for result in results:
        for key in BULKY:
            result.result.pop(key, None)

"""Runs expectation suites over Parquet tables in another process, so that the caller never imports great_expectations.

The worker is shared and stays warm for a minute (`link`): `start` costs nothing and lets it import while the caller goes on;
the first `validate` waits for what is left. This module knows nothing about which documents to quarantine: it names the
failing ones and the stage decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.errors import FailRun
from pipelines.quality import suites
from pipelines.quality.link import Link


@dataclass(frozen=True, slots=True)
class Failure:
    """One expectation that did not hold."""

    expectation: str  # great_expectations' type, such as expect_column_values_to_be_between
    column: str  # "" for a rule about the whole table
    unexpected: int  # rows; 0 for a rule about the whole table or one that could not be evaluated
    detail: str  # one line for a person
    level: str  # row: the documents in `failed_documents` fail; batch: the shard fails


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What one suite found in one table."""

    suite: str
    success: bool  # no batch-level failure: the shard may go on without `failed_documents`
    rows: int
    failures: tuple[Failure, ...] = ()
    failed_documents: dict[str, tuple[str, ...]] = field(default_factory=dict)  # hex doc_id -> what failed, for a person
    page: str = ""  # this result's Data Docs page relative to the `docs` folder, "" when none was asked for
    seconds: float = 0.0  # inside the child, without waiting for it to start


class Validator:
    """Asks the worker of one state folder, one request at a time.

    Use: `Validator(root / "include/expectations", home / "validator").validate("chunks", path, …)`.
    """

    def __init__(self, expectations: Path, folder: Path) -> None:
        self._expectations = expectations
        self._link = Link(folder)

    def start(self) -> None:
        """Let the worker import while the caller goes on; does nothing when it is warm."""
        self._link.start()

    def stop(self) -> bool:
        """End the worker now rather than after its idle minute; False when none ran."""
        return self._link.stop()

    def validate(
        self,
        suite: str,
        table: Path,
        docs: Path | None = None,
        label: str = "",
        parameters: Mapping[str, float | str] | None = None,
    ) -> SuiteResult:
        """Run a suite over a Parquet file; with `docs`, write its Data Docs page and the folder's index.html there.

        `label` names the table for a reader of the page. Zero rows never succeed. Raises FixConfiguration for an unknown or
        unsafe suite or a missing parameter, FailRun when the table cannot be read, Retry when the worker dies or hangs.
        """
        values = dict(parameters or {})
        reply = self._link.ask(
            {
                "suite": suites.load(self._expectations, suite, values),
                "table": str(table.resolve()),
                "docs": str(docs.resolve()) if docs else None,
                "styles": str((self._expectations / "styles").resolve()),
                "label": label,
                "parameters": values,
            }
        )
        if "error" in reply:
            raise FailRun(f"validation of {table} against {suite!r} could not run: {reply['error']}; run the sync again")
        return _result(suite, reply)


def _result(suite: str, reply: Mapping[str, Any]) -> SuiteResult:
    return SuiteResult(
        suite=suite,
        success=reply["success"],
        rows=reply["rows"],
        failures=tuple(Failure(**failure) for failure in reply["failures"]),
        failed_documents={document: tuple(why) for document, why in reply["failed_documents"].items()},
        page=reply["page"],
        seconds=reply["seconds"],
    )

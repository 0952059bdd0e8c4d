"""Runs expectation suites over Parquet tables in one child process, so that the caller never imports great_expectations.

The child starts importing the moment it is spawned (about three seconds), while the caller goes on with its own work; the
first `validate` waits for what is left. Requests and replies are JSON lines over the child's stdin and stdout. This module
knows nothing about which documents to quarantine: it names the failing ones and the stage decides.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pipelines.errors import FailRun, Retry
from pipelines.quality import suites

REQUEST_SECONDS = 600.0  # a shard's suite takes well under one
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT")


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
    """Owns one child process; serves any number of requests, one at a time. A context manager.

    Use: `with Validator(root / "include/expectations") as validator: …; validator.validate("chunks", path, …)`.
    """

    def __init__(self, expectations: Path) -> None:
        self._expectations = expectations
        self._child: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._buffer = b""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Spawn the child and return at once; does nothing when it already runs."""
        if self._child is not None:
            return
        # A file, not a pipe: a child that fills a pipe nobody reads would hang.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self._child = subprocess.Popen(
            [sys.executable, "-m", "pipelines.quality.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_environment(),
        )

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
        unsafe suite or a missing parameter, FailRun when the table cannot be read, Retry when the child dies or hangs.
        """
        values = dict(parameters or {})
        definition = suites.load(self._expectations, suite, values)
        reply = self._ask(
            {
                "suite": definition,
                "table": str(table),
                "docs": str(docs) if docs else None,
                "styles": str(self._expectations / "styles"),
                "label": label,
                "parameters": values,
            }
        )
        if "error" in reply:
            raise FailRun(f"validation of {table} against {suite!r} could not run: {reply['error']}; run the sync again")
        return _result(suite, reply)

    def close(self) -> None:
        """End the child; a later `validate` starts a fresh one."""
        child, self._child, self._buffer = self._child, None, b""
        if child is not None:
            child.kill()
            child.communicate()
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.start()
        assert self._child is not None
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(request).encode() + b"\n")
            self._child.stdin.flush()
            reply: dict[str, Any] = json.loads(self._line(time.monotonic() + REQUEST_SECONDS))
        except (OSError, EOFError, json.JSONDecodeError) as error:
            raise self._died(error) from None
        except BaseException:  # interrupted: the answer still to come must not be taken for the next one's
            self.close()
            raise
        return reply

    def _line(self, deadline: float) -> bytes:
        """One line of the child's stdout; EOFError when it ended, TimeoutError when it is late."""
        assert self._child is not None
        assert self._child.stdout is not None
        stream = self._child.stdout.fileno()
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"no answer within {REQUEST_SECONDS:.0f} s")
            data = os.read(stream, 1 << 16)
            if not data:
                raise EOFError("ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _died(self, error: Exception) -> Retry:
        late = isinstance(error, TimeoutError)
        code = None if late or self._child is None else self._child.wait()
        last = _last_line(self._stderr)
        self.close()
        what = str(error) if late else f"exit {code}"
        return Retry(f"the validation worker stopped ({what}): {last or 'it said nothing'}; the task may be retried")


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


def _environment() -> dict[str, str]:
    """No credentials, no telemetry, and the same `pipelines` as the caller's."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    root = str(Path(__file__).resolve().parents[2])
    return kept | {"PYTHONPATH": root, "GX_ANALYTICS_ENABLED": "false", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _last_line(stream: IO[bytes] | None) -> str:
    if stream is None:
        return ""
    stream.seek(0, os.SEEK_END)
    stream.seek(max(0, stream.tell() - 4096))
    lines = [line.strip() for line in stream.read().decode("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")[:500]

"""A process that stops itself (SIGSTOP) at a chosen point of a stage, as one that lost its machine's attention does.

It holds whatever it held: a plan, files read but not yet declared, a transaction. Whoever forked it finds it stopped by
`os.waitpid(pid, os.WUNTRACED)` and sends SIGCONT when the others are long past. Install in a forked child only.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import psycopg

from pipelines.stages import embed, prepare, publish, settle, validate
from pipelines.stages.files import StageFiles

STAGES: dict[str, ModuleType] = {
    "prepare": prepare,
    "validate": validate,
    "embed": embed,
    "publish": publish,
    "settle": settle,
}
WRITING = ("prepare", "publish", "settle")  # stages that write documents
STATEMENTS = 24  # a stage executes about so many for a small shard


class Point(NamedTuple):
    """`place`: begin (before the stage), files (before its manifest is written) or sql (before its n-th statement)."""

    stage: str
    place: str
    nth: int = 1


def random_point(rng: random.Random, *, within_transaction: bool) -> Point:
    """A point between stages or before a manifest; or, `within_transaction`, among the statements of a writing stage."""
    if within_transaction:
        return Point(rng.choice(WRITING), "sql", rng.randint(2, STATEMENTS))
    stage = rng.choice([*STAGES])
    return Point(stage, "begin" if stage == "settle" else rng.choice(("begin", "files")))


class Stopper:
    """Stops this process once, at `point`; a point that is never reached stops nothing."""

    def __init__(self, point: Point) -> None:
        self.point = point
        self.fired = False
        self._inside = False
        self._statements = 0

    def install(self) -> None:
        """Put the stop into the stages, their files and the driver of this process."""
        stage = STAGES[self.point.stage]
        stage.run = self._around(stage.run)  # type: ignore[attr-defined]
        if self.point.place == "files":
            StageFiles.write_manifest = self._before_manifest(StageFiles.write_manifest)  # type: ignore[method-assign]
        elif self.point.place == "sql":
            psycopg.Cursor.execute = self._before_statement(psycopg.Cursor.execute)  # type: ignore[method-assign]

    def _around(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any) -> Any:
            if self.point.place == "begin":
                self._stop()
            self._inside = True
            try:
                return run(*given)
            finally:
                self._inside = False

        return watched

    def _before_manifest(self, write: Callable[..., None]) -> Callable[..., None]:
        def watched(files: StageFiles, stage: str, manifest: Any) -> None:
            if stage == self.point.stage:
                self._stop()
            write(files, stage, manifest)

        return watched

    def _before_statement(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        def watched(cursor: Any, *given: Any, **named: Any) -> Any:
            self._statements += self._inside
            if self._inside and self._statements == self.point.nth:
                self._stop()
            return execute(cursor, *given, **named)

        return watched

    def _stop(self) -> None:
        if not self.fired:
            self.fired = True
            os.kill(os.getpid(), signal.SIGSTOP)

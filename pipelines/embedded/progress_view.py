"""How a run's progress looks: live bars on a terminal, a plain line per change elsewhere. Shows, decides nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines.store.ledger import StageProgress


@dataclass(frozen=True)
class StageLine:
    """One stage over all of its shards so far."""

    stage: str
    shards: int
    shards_ended: int
    done: int  # documents
    total: int

    @property
    def ended(self) -> bool:
        """Whether every shard that began this stage has left it."""
        return self.shards == self.shards_ended

    @property
    def label(self) -> str:
        """The stage with its shards, where there is more than one."""
        return f"{self.stage} ({self.shards_ended}/{self.shards} shards)" if self.shards > 1 else self.stage


def stage_lines(rows: Iterable[StageProgress]) -> list[StageLine]:
    """The rows of run_stage summed by stage, in the order the stages began."""
    by_stage: dict[str, list[StageProgress]] = {}
    for row in rows:
        by_stage.setdefault(row.stage, []).append(row)
    return [
        StageLine(
            stage,
            shards=len(shards),
            shards_ended=sum(row.state != "running" for row in shards),
            done=sum(row.done for row in shards),
            total=sum(row.total for row in shards),
        )
        for stage, shards in by_stage.items()
    ]


class ProgressView:
    """`with ProgressView(console, title) as view: view.show(lines, state)` as often as one likes."""

    def __init__(self, console: Console, title: str) -> None:
        self.console = console
        self.title = title
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bars = Progress(
                TextColumn("  {task.description:<24}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(compact=True),
                console=self.console,
            )
            self._bars.start()
            self._tasks[""] = self._bars.add_task(self.title, total=None)
        else:
            self.console.print(self.title)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, lines: Iterable[StageLine], state: str) -> None:
        """Bring the view up to date; `state` is the run's in Airflow."""
        for line in lines:
            if self._bars is not None:
                self._draw(self._bars, line)
            elif line.ended:
                self._say(f"  {line.label}: {line.done} of {line.total} documents")
        if self._bars is not None:
            self._bars.update(self._tasks[""], description=f"{self.title}: {state}")

    def finish(self, state: str) -> None:
        """The run ended in this state."""
        if self._bars is not None:
            self._bars.update(self._tasks[""], description=f"{self.title}: {state}", total=1, completed=1)
        else:
            self._say(f"{self.title}: {state}")

    def _draw(self, bars: Progress, line: StageLine) -> None:
        if line.stage not in self._tasks:
            self._tasks[line.stage] = bars.add_task(line.label, total=line.total or None)
        total = line.total or (1 if line.ended else None)
        done = line.done if line.total else int(line.ended)
        bars.update(self._tasks[line.stage], description=line.label, total=total, completed=done)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.console.print(text, highlight=False)

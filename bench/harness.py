"""What every bench shares: options, the result, its table and its JSON line."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    quick: bool
    seed: int
    corpus: Path | None = None
    reranker: Path | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """A floor or goal: the figure must not be above (`at_most`) or below (`at_least`) it."""

    figure: str
    at_most: float | None = None
    at_least: float | None = None

    def met(self, figures: Mapping[str, Any]) -> bool:
        """Whether the measured figure keeps the limit; an unmeasured one does not."""
        value = figures.get(self.figure)
        if value is None:
            return False
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)

    def as_dict(self) -> dict[str, float]:
        """The JSON form."""
        return {"at_most": self.at_most} if self.at_most is not None else {"at_least": float(self.at_least or 0)}


@dataclass(slots=True)
class Result:
    """The figures of one bench, with what they must reach."""

    bench: str
    figures: dict[str, Any]
    floors: Sequence[Limit] = ()
    goals: Sequence[Limit] = ()
    left_out: Sequence[str] = ()  # figures that --quick does not measure; their floors are not judged
    notes: Sequence[str] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)  # a table of the bench's own, its header first

    @property
    def ok(self) -> bool:
        """Whether every judged floor is kept."""
        return all(floor.met(self.figures) for floor in self.floors if floor.figure not in self.left_out)

    def as_json(self) -> str:
        """The last line of the output."""
        return json.dumps(
            {
                "bench": self.bench,
                "figures": self.figures,
                "floors": {floor.figure: floor.as_dict() for floor in self.floors},
                "goals": {goal.figure: {**goal.as_dict(), "met": goal.met(self.figures)} for goal in self.goals},
                "left_out": list(self.left_out),
                "ok": self.ok,
            }
        )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned by width; the first row is the header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def summary(result: Result) -> str:
    """The bench's own table, then figure, floor and goal side by side."""
    floors = {floor.figure: floor for floor in result.floors}
    goals = {goal.figure: goal for goal in result.goals}
    rows = [("figure", "value", "floor", "goal")]
    for name, value in result.figures.items():
        rows.append((name, str(value), _limit(floors.get(name), result), _limit(goals.get(name), result)))
    for name in result.left_out:
        rows.append((name, "not measured by --quick", _limit(floors.get(name), None), ""))
    parts = [table(result.rows)] if result.rows else []
    return "\n\n".join([*parts, table(rows), *result.notes])


def _limit(limit: Limit | None, result: Result | None) -> str:
    if limit is None:
        return ""
    sign = f"<= {limit.at_most:g}" if limit.at_most is not None else f">= {limit.at_least:g}"
    return sign if result is None else f"{sign} {'ok' if limit.met(result.figures) else 'MISSED'}"


def spread(values: Sequence[float]) -> str:
    """Minimum, median and maximum."""
    return f"{min(values):.2f} / {statistics.median(values):.2f} / {max(values):.2f}"


def parse(names: Sequence[str], arguments: Sequence[str] | None = None) -> tuple[str, Options]:
    """The command line of `python -m bench`."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure one published figure.")
    parser.add_argument("name", choices=sorted(names))
    parser.add_argument("--quick", action="store_true", help="end within 60 seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("corpus", nargs="?", type=Path, help="a corpus folder, for the benches that take one")
    parser.add_argument("--reranker", type=Path, metavar="DIR", help="of retrieval: a cross-encoder's folder to rerank with")
    given = parser.parse_args(arguments)
    return given.name, Options(given.quick, given.seed, given.corpus, given.reranker)

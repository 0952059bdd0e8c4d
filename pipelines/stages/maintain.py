"""Stage maintain: keep tables and indexes in shape, and find out whether the vector indexes still find what they should.

Leftovers of interrupted rebuilds go first, and replaced passages that are older than their collection keeps them. Then,
table by table: an index is rebuilt whose table changed by more than CHURN since it was built, before the vacuum, which would
have to mend every dead entry of its graph; the table is vacuumed and analysed. Each space's index is compared with exact
search on vectors drawn from it; below LEAST_RECALL it is rebuilt and asked again, and if that does not help the run is red.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.errors import FailRun
from pipelines.stages.verify import LEAST_RECALL, recall_at_10
from pipelines.store import maintenance, past, space_index, spaces
from pipelines.store.maintenance import Connection, Table

if TYPE_CHECKING:
    from pipelines.context import Context

CHURN = 0.20


@dataclass(frozen=True, slots=True)
class Kept:
    """What was found in one table and done to it; sizes in bytes before and after."""

    table: str
    rows: int
    bytes: int
    bytes_after: int
    churn: float
    rebuilt: str = ""  # why its index was built anew
    recall: float | None = None
    seconds: float = 0.0

    def text(self) -> str:
        """One line for a person."""
        parts = [f"{self.table}: {self.rows} rows, {self.bytes / 1e6:.1f} -> {self.bytes_after / 1e6:.1f} MB"]
        parts.append(f"{self.churn:.0%} changed")
        parts += [f"recall@10 {self.recall:.3f}"] if self.recall is not None else []
        parts += [f"index rebuilt, {self.rebuilt}"] if self.rebuilt else []
        return ", ".join([*parts, f"{self.seconds:.1f} s"])


@dataclass(frozen=True, slots=True)
class Report:
    """One maintenance."""

    tables: tuple[Kept, ...]
    dropped: tuple[str, ...]  # invalid indexes that an interrupted rebuild had left
    failures: tuple[str, ...] = field(default=())
    forgotten: int = 0  # replaced passages that were kept long enough

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    def text(self) -> str:
        """A line for each table, and what was dropped."""
        dropped = [f"dropped what an interrupted rebuild left: {', '.join(self.dropped)}"] if self.dropped else []
        past = [f"forgot {self.forgotten} replaced passages (keep_past_days)"] if self.forgotten else []
        return "\n".join([*past, *(kept.text() for kept in self.tables), *dropped, *self.failures])


def run(ctx: Context, *, seed: int = 1) -> Report:
    """Maintain every table. `seed` draws the vectors that are asked for.

    Raises FixConfiguration when this role may not, Retry when another maintenance is at work or the database fails. An index
    that finds too little stands in the report's `failures`; see `require`.
    """
    with maintenance.at_work(ctx.pool) as conn:
        found = maintenance.tables(conn)
        dropped = maintenance.drop_leftovers(conn)
        forgotten = _forget(ctx)
        by_table = {f"space_{number}": number for number in maintenance.space_ids(conn)}
        kept = [_keep(ctx, conn, table, by_table.get(table.name), seed) for table in found]
    return Report(tuple(kept), tuple(dropped), tuple(_failures(kept)), forgotten)


def _forget(ctx: Context) -> int:
    kept = {name: settings.keep_past_days for name, settings in ctx.settings.collections.items()}
    return sum(past.forget(ctx.pool, name, days) for name, days in kept.items() if days is not None)


def require(report: Report) -> None:
    """Raise FailRun when an index finds too little."""
    if report.failures:
        raise FailRun("; ".join(report.failures))


def _keep(ctx: Context, conn: Connection, table: Table, space_id: int | None, seed: int) -> Kept:
    began = time.monotonic()
    why = ""
    if space_id is not None and space_index.ensure_index(ctx.pool, spaces.get(ctx.pool, space_id)):
        why = "there was none"
    elif table.worn and table.churn > CHURN:
        maintenance.rebuild(conn, table.worn)
        why = f"{table.churn:.0%} of the rows changed"
    maintenance.vacuum(conn, table.name)
    recall = _recall(ctx, space_id, seed)
    if recall is not None and recall < LEAST_RECALL and table.worn and not why:
        maintenance.rebuild(conn, table.worn)
        why, recall = f"recall@10 was {recall:.3f}", _recall(ctx, space_id, seed)
    after = next(entry for entry in maintenance.tables(conn) if entry.name == table.name)
    seconds = round(time.monotonic() - began, 2)
    maintenance.record(conn, after, recall=recall, rebuilt=bool(why), seconds=seconds)
    return Kept(table.name, after.rows, table.bytes, after.bytes, round(table.churn, 3), why, recall, seconds)


def _recall(ctx: Context, space_id: int | None, seed: int) -> float | None:
    return None if space_id is None else recall_at_10(ctx, spaces.get(ctx.pool, space_id), seed)[1]


def _failures(kept: Sequence[Kept]) -> list[str]:
    return [
        f"{entry.table}: recall@10 of its index is {entry.recall:.3f} just after a rebuild, at least {LEAST_RECALL} is "
        "needed; build it with a larger ef_construction, or search with more candidates"
        for entry in kept
        if entry.recall is not None and entry.recall < LEAST_RECALL
    ]

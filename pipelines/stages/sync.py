"""One whole sync in one process: what `millrace sync` runs and what the DAG spreads over tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from pipelines.errors import MillraceError, Retry
from pipelines.records import Accounting, ShardRef, SyncRequest
from pipelines.stages import catch_up, embed, plan, prepare, publish, settle, validate
from pipelines.store import ledger

if TYPE_CHECKING:
    from pipelines.context import Context

PAUSES = (0.5, 2.0, 8.0)  # seconds before a stage is tried again; with the adapters' own retries this outlasts a restart

T = TypeVar("T")


def run(ctx: Context, request: SyncRequest) -> Accounting:
    """Plan, every shard, settle. A failed shard does not stop the others; settle reports it.

    After the plan, a stage that raises Retry is tried again as a task of the DAG is. Raises what the stages raise; when
    shards failed, the first shard's error is the cause of settle's FailRun.
    """
    fence = ledger.next_fence(ctx.pool)
    with ctx.alive(fence):
        planned = plan.run(ctx, request, fence)
        first: MillraceError | None = None
        for shard in planned.shards:
            try:
                _shard(ctx, shard)
            except MillraceError as error:
                first = first or error
        catch_up.run(ctx, planned.run_id)
        try:
            return _persist(lambda: settle.run(ctx, planned.run_id))
        except MillraceError as error:
            raise error from first


def _shard(ctx: Context, shard: ShardRef) -> None:
    for stage in (prepare.run, validate.run, embed.run, publish.run):
        _persist(lambda stage=stage: stage(ctx, shard))  # type: ignore[misc]


def _persist(work: Callable[[], T]) -> T:
    for pause in PAUSES:
        try:
            return work()
        except Retry:
            time.sleep(pause)
    return work()

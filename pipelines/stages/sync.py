"""One whole sync in one process: what `millrace sync` runs and what the DAG spreads over tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.errors import MillraceError
from pipelines.records import Accounting, ShardRef, SyncRequest
from pipelines.stages import embed, plan, prepare, publish, settle, validate

if TYPE_CHECKING:
    from pipelines.context import Context


def run(ctx: Context, request: SyncRequest) -> Accounting:
    """Plan, every shard, settle. A failed shard does not stop the others; settle reports it.

    Raises what the stages raise; when shards failed, the first shard's error is the cause of settle's FailRun.
    """
    planned = plan.run(ctx, request)
    first: MillraceError | None = None
    for shard in planned.shards:
        try:
            _shard(ctx, shard)
        except MillraceError as error:
            first = first or error
    try:
        return settle.run(ctx, planned.run_id)
    except MillraceError as error:
        raise error from first


def _shard(ctx: Context, shard: ShardRef) -> None:
    for stage in (prepare, validate, embed, publish):
        stage.run(ctx, shard)

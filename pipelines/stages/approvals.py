"""What persons decide about held deletions: read before a plan decides, recorded once its listing is complete.

A decision names a run and covers exactly the documents that this run holds, as long as nobody has written them since and the
source does not list them again. An approval lets the same sync delete them, a rejection keeps them served and stops asking;
either can be replaced by the other until the documents are deleted.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from pipelines.errors import FixConfiguration
from pipelines.records import SyncRequest
from pipelines.stages.decide import Said
from pipelines.store import deletions

if TYPE_CHECKING:
    from pipelines.context import Context


def said(ctx: Context, request: SyncRequest) -> Said:
    """What stands by earlier decisions and by this request's; changes nothing.

    Raises FixConfiguration when the request names a run that holds nothing, or one run for both.
    """
    if request.approve is not None and request.approve == request.reject:
        raise FixConfiguration(f"run {request.approve} is to be approved and rejected: decide for one")
    holds = deletions.standing(ctx.pool, request.source)
    approve = _named(ctx, request.source, "approve", request.approve, holds)
    reject = _named(ctx, request.source, "reject", request.reject, holds)
    approved = {hold.doc_id for hold in holds if hold.decision == "approved"}
    rejected = {hold.doc_id for hold in holds if hold.decision == "rejected"}
    return Said(frozenset(approved - reject | approve), frozenset(rejected - approve | reject))


def record(ctx: Context, request: SyncRequest, scope: str, missing: Collection[bytes]) -> None:
    """Write the request's decisions down, and end what the complete listing of `scope` has overtaken.

    `missing` are the documents that the listing lacks or excludes; every other one below `scope` is listed again.
    """
    by = request.decided_by or request.door
    if request.approve is not None:
        deletions.approve(ctx.pool, request.approve, by)
    if request.reject is not None:
        deletions.reject(ctx.pool, request.reject, by)
    holds = deletions.standing(ctx.pool, request.source)
    back = [hold.doc_id for hold in holds if hold.uri.startswith(scope) and hold.doc_id not in missing]
    deletions.reappeared(ctx.pool, request.source, back)


def _named(ctx: Context, source: str, verb: str, run_id: int | None, holds: Collection[deletions.Hold]) -> set[bytes]:
    """The documents that the named run holds; none when it was approved before and all of that is done."""
    if run_id is None:
        return set()
    held = {hold.doc_id for hold in holds if hold.run_id == run_id}
    if not held and not (verb == "approve" and deletions.was_approved(ctx.pool, source, run_id)):
        raise FixConfiguration(
            f"{verb} {run_id}: run {run_id} of {source} holds no deletions; `millrace held {source}` names the run that does"
        )
    return held

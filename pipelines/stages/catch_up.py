"""Stage catch_up: keep the spaces that do not serve as complete as they were, after what a sync changed. Best effort.

Shadow and previous spaces get everything they lack, so that a switch or a rollback is possible at any time; one that is
still building only what this run loaded, because the rest is its re-embedding's to do, by its budget. A model that fails
here costs a note: it never keeps a sync from publishing or from being green.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.records import Summary
from pipelines.stages.files import StageFiles
from pipelines.stages.fill import Filler, Share
from pipelines.stages.rechunk import OUTCOMES, PAGE, rechunk
from pipelines.store import fill, ledger, space_index, spaces, standby

if TYPE_CHECKING:
    from pipelines.context import Context, Step
    from pipelines.store.spaces import Space

COUNTS = (*OUTCOMES, "texts", "reused", "embedded", "tokens", "refused")


def beside(ctx: Context, collection: str) -> list[Space]:
    """The spaces of a collection that are kept and do not serve; most have none."""
    return [space for space in spaces.kept(ctx.pool, collection) if space.state != "active"]


def run(ctx: Context, run_id: int) -> Summary:
    """Catch up with what a sync run loaded, before settle; settle reads the notes."""
    opened = ledger.run(ctx.pool, run_id)
    others = beside(ctx, opened.collection)
    if not others:
        return Summary("catch_up", str(run_id))
    notes: list[str] = []
    with ctx.step(run_id, "catch_up") as step:
        step.counts = dict.fromkeys(COUNTS, 0)
        for space in others:
            try:
                complete(ctx, space, run_id, step, only=run_id if space.state == "building" else None)
            except Exception as error:  # whatever a model that does not serve raises
                why = " ".join(str(error).split())[:300] or type(error).__name__
                notes.append(f"space {space.id} ({space.state}) could not be caught up, the next sync tries again: {why}")
        files = StageFiles(ctx.objects, opened.source, run_id)
        files.write_manifest("catch_up", {"counts": step.counts, "notes": notes})
    return Summary("catch_up", str(run_id), step.counts, step.seconds, tuple(notes))


def complete(ctx: Context, space: Space, run_id: int, step: Step, *, only: int | None = None) -> None:
    """Give a space what it lacks, or what it lacks of the documents that run `only` wrote."""
    for number, page in enumerate(standby.missing(ctx.pool, space, PAGE, run_id=only)):
        rechunk(ctx, run_id, f"space-{space.id}-{number}", space, page, step)
    filler = Filler.open(ctx, space, Share(), step)
    for texts in fill.pages(ctx.pool, space, filler.size, run_id=only):
        filler.page(texts)
    if space.state != "building":
        space_index.ensure_index(ctx.pool, space, patience=0)

"""Stage switch: which space serves a collection. Switch, roll back, retire; and the list of spaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.errors import FixConfiguration
from pipelines.stages.pipeline import fingerprint_of, of_space
from pipelines.store import fill, space_states, spaces

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.store.space_states import Fingerprints, Overview, Switch


@dataclass(frozen=True, slots=True)
class Entry:
    """A space with what it lacks; None for a retired one."""

    space: Overview
    missing_documents: int | None = None
    missing_texts: int | None = None


def overview(ctx: Context, collection: str | None = None) -> list[Entry]:
    """Every space of one collection or of all."""
    if collection is not None:
        ctx.settings.require_collection(collection)
    return [_entry(ctx, one) for one in space_states.overview(ctx.pool, collection)]


def switch(ctx: Context, collection: str, space_id: int, by: str = "", instead_of: int | None = None) -> Switch:
    """Let a shadow or previous space serve, if so wanted only in the place of one space.

    Raises FailRun with counts while anything is missing in it, and when another space serves than `instead_of`.
    """
    target = _of_collection(ctx, collection, space_id)
    of_space(ctx, target)  # a space whose model this project does not have could answer nothing
    serving = spaces.active(ctx.pool, collection)
    if serving is None:
        raise FixConfiguration(f"collection {collection!r} has no active space; sync a source of it first")
    marks: Fingerprints = space_states.Fingerprints(fingerprint_of(ctx, serving), fingerprint_of(ctx, target))
    return space_states.switch(ctx.pool, target, marks, by=by, instead_of=instead_of)


def rollback(ctx: Context, collection: str, by: str = "") -> Switch:
    """Let the space serve again that served last. Raises what `switch` raises."""
    return switch(ctx, collection, space_states.last_previous(ctx.pool, collection), by)


def retire(ctx: Context, collection: str, space_id: int, by: str = "") -> None:
    """Drop a space that does not serve; its vectors stay in the cache until they expire."""
    space_states.retire(ctx.pool, _of_collection(ctx, collection, space_id), by=by)


def retire_old(ctx: Context, collection: str, days: int, by: str = "") -> list[int]:
    """Retire the previous spaces that stopped serving more than `days` days ago; returns their numbers."""
    old = space_states.old_previous(ctx.pool, collection, days)
    for space_id in old:
        retire(ctx, collection, space_id, by)
    return old


def _of_collection(ctx: Context, collection: str, space_id: int) -> spaces.Space:
    space = spaces.get(ctx.pool, space_id)
    if space.collection != collection:
        raise FixConfiguration(
            f"space {space_id} belongs to collection {space.collection!r}, not {collection!r}; `millrace spaces` lists them"
        )
    return space


def _entry(ctx: Context, one: Overview) -> Entry:
    if one.state == "retired":
        return Entry(one)
    lacking = fill.missing(ctx.pool, spaces.get(ctx.pool, one.id))
    return Entry(one, lacking.documents, lacking.texts)

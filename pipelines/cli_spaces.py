"""The commands of `millrace` about models side by side: spaces, reembed, switch, rollback, retire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipelines import terminal
from pipelines.cli_context import as_json, with_context
from pipelines.records import Budget, ReembedRequest

if TYPE_CHECKING:
    from pipelines.context import Context


@click.command()
@click.argument("collection", required=False)
@as_json
@with_context
def spaces(ctx: Context, collection: str | None, as_json: bool) -> None:
    """List the spaces of COLLECTION, or of all: model, state, what is missing, what was measured."""
    from pipelines.stages import switch as stage

    found = stage.overview(ctx, collection)
    terminal.show([terminal.plain(entry) for entry in found], terminal.spaces(found), as_json)


@click.command()
@click.argument("collection")
@click.option("--model", default="", help="The models.yaml entry to go over to; default the collection's configured one.")
@click.option("--switch", is_flag=True, help="Let the new space serve once it is verified.")
@click.option("--max-texts", type=click.IntRange(min=0), help="Embed at most so many texts, then stop; a later run goes on.")
@click.option("--max-tokens", type=click.IntRange(min=0), help="Embed at most so many tokens.")
@click.option("--max-minutes", type=click.FloatRange(min=0), help="Stop embedding after so many minutes.")
@click.option("--max-cost", type=click.FloatRange(min=0), help="Stop embedding at this cost by prices.yaml.")
@click.option("--keep-days", type=click.IntRange(min=0), help="Retire spaces that stopped serving more days ago.")
@as_json
@with_context
def reembed(
    ctx: Context,
    collection: str,
    model: str,
    switch: bool,
    max_texts: int | None,
    max_tokens: int | None,
    max_minutes: float | None,
    max_cost: float | None,
    keep_days: int | None,
    as_json: bool,
) -> None:
    """Fill a space of another model, or of other passages, beside the one that serves COLLECTION, and verify it."""
    from pipelines.stages import reembed as stage

    seconds = None if max_minutes is None else 60 * max_minutes
    budget = Budget(max_texts, max_tokens, seconds, max_cost)
    request = ReembedRequest(collection, model, budget, switch, keep_days, decided_by=terminal.person())
    done = stage.run(ctx, request)
    terminal.show(done, terminal.reembedded(done), as_json)


@click.command()
@click.argument("collection")
@click.argument("space", type=int)
@as_json
@with_context
def switch(ctx: Context, collection: str, space: int, as_json: bool) -> None:
    """Let the verified or previous space number SPACE serve COLLECTION."""
    from pipelines.stages import switch as stage

    done = stage.switch(ctx, collection, space, terminal.person())
    terminal.show(done, terminal.switched(done), as_json)


@click.command()
@click.argument("collection")
@as_json
@with_context
def rollback(ctx: Context, collection: str, as_json: bool) -> None:
    """Let the space serve COLLECTION again that served it last."""
    from pipelines.stages import switch as stage

    done = stage.rollback(ctx, collection, terminal.person())
    terminal.show(done, terminal.switched(done), as_json)


@click.command()
@click.argument("collection")
@click.argument("space", type=int)
@as_json
@with_context
def retire(ctx: Context, collection: str, space: int, as_json: bool) -> None:
    """Drop space number SPACE of COLLECTION, which must not serve; its vectors stay cached until they expire."""
    from pipelines.stages import switch as stage

    stage.retire(ctx, collection, space, terminal.person())
    terminal.show({"retired": space}, f"space {space} of {collection} is retired", as_json)


COMMANDS = (spaces, reembed, switch, rollback, retire)

"""The commands of `millrace train`: data sets to teach models with, and the rungs that use them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines import terminal
from pipelines.cli_context import as_json, with_context

if TYPE_CHECKING:
    from pipelines.context import Context


@click.group()
def train() -> None:
    """Teach a collection's model: data sets and query adapters. Docs: docs/training.md."""


@train.command()
@click.argument("collection")
@click.option("--judgments", type=click.Path(path_type=Path), help="A BEIR folder (its train split, if any) or golden file.")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="Pairs mined a builder, at most.")
@click.option("--seed", type=int, default=1, show_default=True)
@as_json
@with_context
def data(ctx: Context, collection: str, judgments: Path | None, limit: int, seed: int, as_json: bool) -> None:
    """Mine pairs from what COLLECTION serves and keep them as its next data set; nothing that evaluates it is among them."""
    from pipelines.stages import training_data as stage

    done = stage.build(ctx, collection, judgments=judgments, limit=limit, seed=seed, by=terminal.person())
    terminal.show(done.as_dict(), done.text(), as_json)


@train.command()
@click.argument("collection", required=False)
@as_json
@with_context
def sets(ctx: Context, collection: str | None, as_json: bool) -> None:
    """List the data sets of COLLECTION, or all, the newest first."""
    from pipelines.stages import training_data as stage

    found = stage.listed(ctx, collection)
    lines = [
        f"{one.name}: {one.pairs} pairs, {one.lineage.get('validation', 0)} to validate, {one.sha[:12]}" for one in found
    ]
    told = "\n".join(lines) or "no data set yet; `millrace train data COLLECTION` builds one"
    terminal.show([terminal.plain(one) for one in found], told, as_json)


@train.command()
@click.argument("collection")
@click.option("--data", default="", help="Such as knowledge@2; default the newest of the collection.")
@click.option("--name", default="", help="Of the model; default the collection's with -questions.")
@click.option("--seconds", type=click.FloatRange(min=1), default=60.0, show_default=True, help="Of fitting, at most.")
@click.option("--seed", type=int, default=1, show_default=True)
@as_json
@with_context
def adapter(ctx: Context, collection: str, data: str, name: str, seconds: float, seed: int, as_json: bool) -> None:
    """Fit a query adapter to the model that serves COLLECTION; a version that needs no passage embedded again."""
    from pipelines.stages import adapt as stage

    settings = stage.settings(seconds, seed)
    done = stage.run(ctx, collection, data=data, name=name, settings=settings, by=terminal.person())
    terminal.show(done.as_dict(), done.text(collection), as_json)


COMMANDS = (train,)

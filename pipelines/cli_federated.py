"""The commands of `millrace federated`: sites that fit one query adapter without showing each other their documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines import terminal
from pipelines.cli_context import as_json, with_context

if TYPE_CHECKING:
    from pipelines.context import Context

FILE = click.Path(path_type=Path)


@click.group()
def federated() -> None:
    """Fit one query adapter at several sites; files go between them. Docs: docs/federated.md."""


@federated.command()
@click.argument("collection")
@click.argument("out", type=FILE)
@click.option("--clip", type=float, default=3.0, show_default=True, help="The largest length of an update.")
@click.option("--noise", type=float, default=0.0, show_default=True, help="Added to each number, in units of the clip.")
@click.option("--epochs", type=int, default=5, show_default=True, help="Of a site in each round.")
@click.option("--trimmed", is_flag=True, help="The mean without the extremes of every number; needs three sites.")
@as_json
@with_context
def start(
    ctx: Context, collection: str, out: Path, clip: float, noise: float, epochs: int, trimmed: bool, as_json: bool
) -> None:
    """Write the first round's file OUT: no adapter yet, over the embedder of COLLECTION, and the terms."""
    from pipelines.stages import federated as stage
    from pipelines.train.federated import Terms

    first = stage.start(ctx, collection, out, Terms(clip=clip, noise=noise, epochs=epochs, trimmed=trimmed))
    told = {"round": first.number, "of": first.of, "terms": terminal.plain(first.terms), "file": str(out)}
    terminal.show(told, f"round {first.number} of embedder {first.of[:12]}…: {out}", as_json)


@federated.command()
@click.argument("collection")
@click.argument("round_file", metavar="ROUND", type=FILE)
@click.argument("out", type=FILE)
@click.option("--site", required=True, help="The name of this site.")
@as_json
@with_context
def contribute(ctx: Context, collection: str, round_file: Path, out: Path, site: str, as_json: bool) -> None:
    """Fit the map of the file ROUND to the documents of COLLECTION and write what is given away into OUT."""
    from pipelines.stages import federated as stage

    done = stage.contribute(ctx, collection, round_file, out, site)
    terminal.show(done, done.text(), as_json)


@federated.command()
@click.argument("round_file", metavar="ROUND", type=FILE)
@click.argument("out", type=FILE)
@click.argument("updates", nargs=-1, required=True, type=FILE)
@as_json
def average(round_file: Path, out: Path, updates: tuple[Path, ...], as_json: bool) -> None:
    """Write the next round's file OUT from the UPDATES of ROUND. Needs no database."""
    from pipelines.stages import federated as stage

    done = stage.average(round_file, out, updates)
    terminal.show(done, done.text(), as_json)


@federated.command()
@click.argument("round_file", metavar="ROUND", type=FILE)
@click.argument("folder", type=FILE)
@as_json
def adapter(round_file: Path, folder: Path, as_json: bool) -> None:
    """Write the map of ROUND as a query adapter into the new FOLDER. Needs no database."""
    from pipelines.stages import federated as stage

    written = stage.adapter(round_file, folder)
    terminal.show({"written": [str(path) for path in written]}, f"{len(written)} files in {folder}", as_json)


COMMANDS = (federated,)

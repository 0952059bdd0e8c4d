"""The commands of `millrace models`: the registry of model versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines import terminal
from pipelines.cli_context import as_json, with_context

if TYPE_CHECKING:
    from pipelines.context import Context


@click.group()
def models() -> None:
    """Model versions: what made every vector, what serves, what waits. Docs: docs/models.md."""


@models.command("list")
@click.argument("model", required=False)
@as_json
@with_context
def list_(ctx: Context, model: str | None, as_json: bool) -> None:
    """List all versions, or those of MODEL, the newest first."""
    from pipelines.stages import models as stage

    found = stage.listed(ctx, model)
    terminal.show([terminal.plain(version) for version in found], terminal.versions(found), as_json)


@models.command()
@click.argument("version")
@as_json
@with_context
def show(ctx: Context, version: str, as_json: bool) -> None:
    """Print the model card of VERSION, such as handbook@3; a name alone is its newest version."""
    from pipelines.stages import models as stage

    found = stage.show(ctx, version)
    terminal.show(found, found.card().rstrip(), as_json)


@models.command()
@click.argument("old")
@click.argument("new")
@as_json
@with_context
def diff(ctx: Context, old: str, new: str, as_json: bool) -> None:
    """Print what the versions OLD and NEW do not share: settings, files, figures."""
    from pipelines.stages import models as stage

    found = stage.diff(ctx, old, new)
    terminal.show(found, found.text(), as_json)


@models.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", default="", help="Of the model; default the folder's.")
@click.option("--engine", type=click.Choice(["openvino", "torch"]), default="openvino", show_default=True)
@click.option("--tier", type=click.Choice(["f32", "bf16", "fp16", "int8"]), default="f32", show_default=True)
@click.option("--storage", type=click.Choice(["halfvec", "vector"]), default="halfvec", show_default=True)
@click.option("--parent", default="", help="The version that it was made from.")
@as_json
@with_context
def add(ctx: Context, folder: Path, name: str, engine: Any, tier: str, storage: Any, parent: str, as_json: bool) -> None:
    """Check the sentence-transformers model in FOLDER and keep its files as a version. Nothing of it is executed."""
    from pipelines.stages import models as stage

    done = stage.add(ctx, folder, name=name, engine=engine, tier=tier, storage=storage, parent=parent, by=terminal.person())
    terminal.show(done, terminal.versions([done]), as_json)


@models.command()
@click.argument("collection")
@click.argument("version", required=False, default="")
@as_json
@with_context
def propose(ctx: Context, collection: str, version: str, as_json: bool) -> None:
    """Judge VERSION, or the challenger, for COLLECTION; exit 1 with every reason unless it may serve."""
    from pipelines.stages import promotion as stage

    done = stage.propose(ctx, collection, version, terminal.person())
    terminal.show(done.as_dict(), done.text(), as_json)
    stage.require(done)


@models.command()
@click.argument("collection")
@click.argument("version")
@as_json
@with_context
def promote(ctx: Context, collection: str, version: str, as_json: bool) -> None:
    """Approve VERSION and let it serve COLLECTION, if every check passes; judges it first where that is not done."""
    from pipelines.stages import promotion as stage

    done = stage.promote_version(ctx, collection, version, terminal.person())
    terminal.show(done, terminal.switched(done), as_json)


@models.command()
@click.argument("proposal", type=click.IntRange(min=1))
@click.option("--reason", default="", help="Kept with the proposal.")
@as_json
@with_context
def reject(ctx: Context, proposal: int, reason: str, as_json: bool) -> None:
    """Decide against PROPOSAL, a number of `millrace models proposals`."""
    from pipelines.stages import promotion as stage

    done = stage.reject(ctx, proposal, terminal.person(), reason)
    terminal.show(done, done.text(), as_json)


@models.command()
@click.argument("collection", required=False)
@as_json
@with_context
def proposals(ctx: Context, collection: str | None, as_json: bool) -> None:
    """List what was proposed for COLLECTION or all: what became of it, and why."""
    from pipelines.stages import promotion as stage

    found = stage.listed(ctx, collection)
    text = "\n".join(proposal.text() for proposal in found) or "nothing was proposed yet; `millrace models propose` does"
    terminal.show([terminal.plain(proposal) for proposal in found], text, as_json)


@models.command()
@click.argument("collection")
@as_json
@with_context
def rollback(ctx: Context, collection: str, as_json: bool) -> None:
    """Let the champion that served COLLECTION last serve it again."""
    from pipelines.stages import models as stage

    done = stage.rollback(ctx, collection, terminal.person())
    terminal.show(done, terminal.switched(done), as_json)


@models.command()
@click.argument("version")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--mlflow", "uri", help="An MLflow registry to write to instead, such as http://mlflow:5000.")
@as_json
@with_context
def export(ctx: Context, version: str, folder: Path | None, uri: str | None, as_json: bool) -> None:
    """Write the files of VERSION and its model card into the new FOLDER, or into an MLflow registry."""
    from pipelines.stages import models as stage

    if (folder is None) == (uri is None):
        raise click.UsageError("give a FOLDER or --mlflow URI, one of them")
    if uri is not None:
        done = stage.export_mlflow(ctx, version, uri)
        terminal.show(done, done.text(), as_json)
    elif folder is not None:
        written = stage.export(ctx, version, folder)
        terminal.show({"written": [str(path) for path in written]}, f"{len(written)} files in {folder}", as_json)


COMMANDS = (models,)

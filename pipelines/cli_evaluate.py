"""The commands of `millrace` about how good the answers are: `benchmark` and `evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines import terminal
from pipelines.cli_context import as_json, with_context

if TYPE_CHECKING:
    from pipelines.context import Context

SLICES = click.Choice(["frozen", "rolling", "challenge"])
BUILDERS = click.Choice(["titles", "headings", "crops", "links", "questions"])


@click.group()
def benchmark() -> None:
    """Questions with known answers, by which a collection is evaluated. Docs: docs/evaluation.md."""


def _of_set(slice_default: str | None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def add(command: Callable[..., None]) -> Callable[..., None]:
        name = click.option("--name", default="main", show_default=True, help="The benchmark set.")
        if slice_default is None:
            return name(command)
        return name(click.option("--slice", "slice_", type=SLICES, default=slice_default, show_default=True)(command))

    return add


@benchmark.command("import")
@click.argument("collection")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@_of_set("frozen")
@as_json
@with_context
def load(ctx: Context, collection: str, path: Path, name: str, slice_: str, as_json: bool) -> None:
    """Import PATH, a BEIR folder or a file of golden questions, as the next version of a slice."""
    from pipelines.stages import benchmarks as stage

    done = stage.load(ctx, collection, path, name, slice_, terminal.person())
    terminal.show(done, done.text(), as_json)


@benchmark.command()
@click.argument("collection")
@click.option("--builder", type=BUILDERS, required=True, help="questions asks the configured language model.")
@_of_set("rolling")
@click.option("--share", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Of the documents, held out.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Candidates, at most.")
@click.option("--seed", type=int, default=1, show_default=True)
@as_json
@with_context
def build(
    ctx: Context, collection: str, builder: Any, name: str, slice_: str, share: float, limit: int, seed: int, as_json: bool
) -> None:
    """Propose questions made from the documents of COLLECTION; they count once they are reviewed and released."""
    from pipelines.stages import benchmarks as stage

    done = stage.build(ctx, collection, name, slice_, builder, share=share, limit=limit, seed=seed)
    terminal.show(done, done.text(), as_json)


@benchmark.command()
@click.argument("collection")
@_of_set(None)
@click.option("--accept", type=int, multiple=True, metavar="ID", help="Accept this candidate; may be repeated.")
@click.option("--reject", type=int, multiple=True, metavar="ID", help="Reject this candidate; may be repeated.")
@click.option("--accept-all", is_flag=True, help="Accept every proposed candidate of the set.")
@click.option("--reason", default="", help="Why; a rejection needs one.")
@click.option(
    "--state",
    type=click.Choice(["proposed", "accepted", "rejected"]),
    default="proposed",
    show_default=True,
    help="To list.",
)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="To list, at most.")
@as_json
@with_context
def review(
    ctx: Context,
    collection: str,
    name: str,
    accept: tuple[int, ...],
    reject: tuple[int, ...],
    accept_all: bool,
    reason: str,
    state: str,
    limit: int,
    as_json: bool,
) -> None:
    """List the candidates of a set, or decide about them; who decided, when and why is kept."""
    from pipelines.stages import benchmarks as stage

    if accept_all:
        accept = (*accept, *(entry.id for entry in stage.proposed(ctx, collection, name, "proposed", 1_000_000)))
    if not accept and not reject:
        listed = stage.proposed(ctx, collection, name, state, limit)
        terminal.show(listed, terminal.candidates(listed), as_json)
        return
    done = [
        stage.decide(ctx, collection, name, ids, verdict, reason, terminal.person())
        for ids, verdict in ((accept, "accepted"), (reject, "rejected"))
        if ids
    ]
    text = "; ".join(f"{entry['decided']} {entry['state']}" for entry in done)
    terminal.show(done, f"{text}; next: millrace benchmark release {collection} --name {name}", as_json)


@benchmark.command()
@click.argument("collection")
@_of_set("rolling")
@click.option("--quota", type=click.IntRange(min=1), help="The newest so many accepted questions.")
@as_json
@with_context
def release(ctx: Context, collection: str, name: str, slice_: str, quota: int | None, as_json: bool) -> None:
    """Make the next version of a slice from its accepted candidates; the frozen slice has one version only."""
    from pipelines.stages import benchmarks as stage

    done = stage.release(ctx, collection, name, slice_, terminal.person(), quota)
    terminal.show(done, done.text(), as_json)


@benchmark.command("list")
@click.argument("collection", required=False)
@as_json
@with_context
def overview(ctx: Context, collection: str | None, as_json: bool) -> None:
    """List the newest version of every slice, and the candidates by state."""
    from pipelines.stages import benchmarks as stage

    found = stage.overview(ctx, collection)
    terminal.show(found, terminal.benchmarks(found), as_json)


@benchmark.command()
@click.argument("collection")
@click.argument("first")
@click.argument("second")
@as_json
@with_context
def agreement(ctx: Context, collection: str, first: str, second: str, as_json: bool) -> None:
    """Compare how two slices, named such as main/frozen, rank nine ways of searching; exit 1 where nothing can be told."""
    from pipelines.stages import agreement as stage

    compared = stage.run(ctx, collection, first, second)
    terminal.show(compared, compared.text(), as_json)
    stage.require(compared)


@click.command()
@click.argument("collection", default="knowledge")
@click.option("--space", type=int, help="Also judge whether this space could serve; those in state shadow always are.")
@as_json
@with_context
def evaluate(ctx: Context, collection: str, space: int | None, as_json: bool) -> None:
    """Score what COLLECTION serves on its benchmarks, check answers and the benchmark's freshness; exit 1 unless good."""
    from pipelines.stages import evaluate as stage

    report = stage.run(ctx, collection, space=space)
    terminal.show(report.as_dict(), report.text(), as_json)
    stage.require(report)


COMMANDS = (benchmark, evaluate)

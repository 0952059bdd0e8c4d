"""The commands of `millrace` about changes in what is served and asked: `drift` and `questions`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import click

from pipelines import terminal
from pipelines.cli_context import as_json, with_context

if TYPE_CHECKING:
    from pipelines.context import Context

DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.argument("collection", default="knowledge")
@click.option("--from", "first", type=DAY, metavar="DAY", help="The first day to look at, UTC; yesterday without it.")
@click.option("--to", "last", type=DAY, metavar="DAY", help="The last day to look at; yesterday without it.")
@click.option("--source", default="", help="Look at this source only.")
@as_json
@with_context
def drift(ctx: Context, collection: str, first: datetime | None, last: datetime | None, source: str, as_json: bool) -> None:
    """Tell whether what came into COLLECTION, day by day, differs from what was served before; exit 1 for drift and where
    it cannot be told on the last day."""
    from pipelines.stages import drift as stage

    reports = []
    for report in stage.history(ctx, collection, first and first.date(), last and last.date(), source=source):
        reports.append(report)
        if not as_json:
            terminal.show(report.as_dict(), report.text(), as_json)
    if as_json:
        terminal.show({"reports": [report.as_dict() for report in reports]}, "", as_json)
    stage.require_all(reports)


@click.command()
@click.argument("collection", default="knowledge")
@click.option("--days", type=click.IntRange(min=1, max=3650), default=28, show_default=True, help="Asked in so many days.")
@click.option(
    "--order",
    type=click.Choice(["farthest", "most"]),
    default="farthest",
    show_default=True,
    help="First those whose nearest passage is farthest, or those asked most often.",
)
@click.option("--limit", type=click.IntRange(min=1, max=10_000), default=20, show_default=True, help="To list, at most.")
@click.option("--forget", metavar="QUESTION", help="Remove this question instead, word for word.")
@as_json
@with_context
def questions(
    ctx: Context,
    collection: str,
    days: int,
    order: Literal["farthest", "most"],
    limit: int,
    forget: str | None,
    as_json: bool,
) -> None:
    """List what users ask of COLLECTION, beginning with what it holds least of; only where it keeps questions."""
    from pipelines.stages import asked as stage

    if forget is not None:
        removed = stage.forget(ctx, collection, forget)
        terminal.show({"removed": removed}, f"forgotten; it was kept {removed} x", as_json)
        return
    listed = stage.listing(ctx, collection, days=days, order=order, limit=limit)
    terminal.show({"questions": listed}, terminal.questions(listed), as_json)


COMMANDS = (drift, questions)

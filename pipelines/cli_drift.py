"""The command of `millrace` about changes in what is served: `drift`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

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


COMMANDS = (drift,)

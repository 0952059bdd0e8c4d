"""What the commands of `millrace` share: an open Context, and the choice of JSON."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from pipelines import config, terminal
from pipelines.connections import LocalConnections

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


def with_context(command: Callable[..., None]) -> Callable[..., None]:
    """Open the Context around a command, with progress on a terminal unless `--json`."""

    @wraps(command)
    def opened(*args: Any, **options: Any) -> None:
        from pipelines.context import open_context

        settings = config.load()
        quiet = bool(options.get("as_json"))
        with (
            terminal.progress(quiet) as report,
            open_context(settings, LocalConnections(settings), report) as ctx,
        ):
            command(ctx, *args, **options)

    return opened

"""The commands of `millrace` that read the corpus: search, ask, context."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import click

from pipelines import terminal, terminal_search
from pipelines.cli_context import as_json, with_context

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.search.query import Filters


class _Moment(click.ParamType["int | datetime"]):
    name = "moment"

    def convert(
        self, value: str | int | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | datetime:
        """A run's number, or a time with its zone."""
        if not isinstance(value, str):
            return value
        if value.isascii() and value.isdigit() and len(value) < LONGEST_RUN:
            return int(value)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither a run's number nor a time; write it as 2026-10-01T14:05:00Z", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no time zone; write it as 2026-10-01T14:05:00Z", param, ctx)
        return moment


LONGEST_RUN = 19  # digits; a run's number is a bigint
DAY = click.DateTime(["%Y-%m-%d"])
as_of_option = click.option("--as-of", type=_Moment(), help="What was served at the end of this run, or at this time.")


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--source", "only", multiple=True, help="Only documents of this source; may be repeated."),
        click.option("--under", default="", help="Only documents whose address starts so."),
        click.option("--lang", default="", help="Only passages in this language, such as de."),
        click.option("--since", type=DAY, help="Only documents modified on or after this day, UTC."),
        click.option("--until", type=DAY, help="Only documents modified before this day, UTC."),
        click.option(
            "--principal", multiple=True, help="Only what this group may see; repeat for all of a reader's groups."
        ),
        click.option("-c", "--collection", default="knowledge", show_default=True),
    ):
        command = option(command)
    return command


def _as_filters(
    only: tuple[str, ...],
    under: str,
    lang: str,
    since: datetime | None,
    until: datetime | None,
    principal: tuple[str, ...],
) -> Filters:
    from pipelines.search.query import Filters

    since, until = (day.replace(tzinfo=UTC) if day else None for day in (since, until))
    return Filters(only or None, under or None, lang or None, since, until, principals=principal or None)


@click.command()
@click.argument("query")
@click.option("-k", type=int, default=5, show_default=True, help="How many passages.")
@click.option("--mode", type=click.Choice(["hybrid", "dense", "text"]), default="hybrid", show_default=True)
@click.option("--explain", is_flag=True, help="Say where every score comes from, and what took how long.")
@as_of_option
@_filters
@as_json
@with_context
def search(
    ctx: Context,
    query: str,
    k: int,
    mode: Literal["hybrid", "dense", "text"],
    explain: bool,
    as_of: int | datetime | None,
    collection: str,
    as_json: bool,
    **filters: Any,
) -> None:
    """Find the passages that match QUERY best."""
    from pipelines.search.query import Query
    from pipelines.stages import search as stage

    asked = Query(query, collection, k=k, mode=mode, filters=_as_filters(**filters), as_of=as_of, by_user=True)
    found = stage.found(ctx, asked, explained=explain)
    lines = [terminal.hits(found.hits), *(f"note: {note}" for note in found.notes)]
    hits = [terminal.plain(hit) for hit in found.hits]
    value: Any = hits
    if found.explanation is not None:
        lines.append(terminal_search.explanation(found.explanation))
        value = {"hits": hits, "explanation": found.explanation.as_dict()}
    elif as_of is not None:
        value = {"hits": hits, "notes": found.notes}
    terminal.show(value, "\n".join(lines), as_json)


@click.command()
@click.argument("question")
@_filters
@as_json
@with_context
def ask(ctx: Context, question: str, collection: str, as_json: bool, **filters: Any) -> None:
    """Answer QUESTION from the corpus with citations, or refuse."""
    from pipelines.stages import ask as stage

    answer = stage.run(ctx, question, collection, _as_filters(**filters), by_user=True)
    terminal.show(terminal.plain(answer), terminal.answer(answer), as_json)


@click.command()
@click.argument("question")
@click.option(
    "--tokens", type=int, default=2000, show_default=True, help="How much fits, in tokens of the collection's model."
)
@click.option("-k", type=int, default=20, show_default=True, help="How many passages to look at.")
@click.option("--section", is_flag=True, help="Grow to the whole text under a heading, not only to the passages beside.")
@click.option("--prompt", is_flag=True, help="Print the messages for a language model in place of the pieces.")
@as_of_option
@_filters
@as_json
@with_context
def context(
    ctx: Context,
    question: str,
    tokens: int,
    k: int,
    section: bool,
    prompt: bool,
    as_of: int | datetime | None,
    collection: str,
    as_json: bool,
    **filters: Any,
) -> None:
    """Print the pieces of documents that QUESTION can be answered from, within a budget of tokens."""
    from pipelines.search.prompt import answer_prompt
    from pipelines.search.query import Query
    from pipelines.stages import context as stage

    asked = Query(question, collection, k=k, filters=_as_filters(**filters), as_of=as_of, by_user=True)
    made = stage.run(ctx, asked, tokens, section=section)
    if prompt:
        messages = answer_prompt(question, made.pieces)
        terminal.show(messages._asdict(), f"{messages.instructions}\n\n{messages.text}", as_json)
    else:
        terminal.show(terminal.plain(made), terminal_search.assembled(made), as_json)


COMMANDS = (search, ask, context)

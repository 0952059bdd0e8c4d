"""The command `millrace`: the same stages as the DAGs, from a terminal.

Human output by default, one JSON object with `--json`. Exit codes: 0 done; 1 the run failed or the audit found something;
2 wrong usage or configuration; 3 deletions are held for approval; 4 a dependency is down, try again; 130 interrupted.
Heavy modules are imported by the command that needs them.
"""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines import cli_drift, cli_evaluate, cli_federated, cli_models, cli_search, cli_spaces, cli_train, config, terminal
from pipelines.cli_context import as_json, with_context
from pipelines.connections import LocalConnections
from pipelines.errors import FailRun, FixConfiguration, Held, MillraceError, Retry
from pipelines.records import Reason, SyncRequest

if TYPE_CHECKING:
    from pipelines.context import Context

EXIT_CODES: tuple[tuple[type[MillraceError], int], ...] = ((Held, 3), (FailRun, 1), (FixConfiguration, 2), (Retry, 4))


class _Day(click.ParamType[date]):
    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """A calendar day."""
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day; write it as 2026-10-01", param, ctx)


DAY = _Day()
day_option = click.option("--day", type=DAY, help="The day of a dated source.")
prefix_option = click.option("--prefix", default="", help="Only objects below this path of the source.")


def main() -> None:
    """Run the command and turn the project's errors into one line and an exit code."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        terminal.complain("interrupted; run the same command again to go on where it stopped")
        sys.exit(130)
    except MillraceError as error:
        terminal.complain(str(error))
        sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="millrace")
def cli() -> None:
    """Keep a text corpus true in Postgres/pgvector. Docs: docs/cli.md."""


@cli.command()
@click.argument("source")
@day_option
@prefix_option
@click.option("--full-rescan", is_flag=True, help="Read every object, whatever its version says.")
@click.option("--exact", is_flag=True, help="Read and parse too, so that chunks and tokens are exact; writes nothing.")
@as_json
@with_context
def plan(ctx: Context, source: str, day: date | None, prefix: str, full_rescan: bool, exact: bool, as_json: bool) -> None:
    """Print what a sync of SOURCE would do, and change nothing."""
    from pipelines.stages import plan as stage

    request = SyncRequest(source, day=day, prefix=prefix, full_rescan=full_rescan)
    planned = stage.preview(ctx, request, exact=exact)
    terminal.show(planned.as_dict(), planned.text(), as_json)


@cli.command()
@click.argument("source")
@day_option
@prefix_option
@click.option("--full-rescan", is_flag=True, help="Read every object, whatever its version says.")
@click.option("--approve", type=int, metavar="RUN", help="Carry out exactly the deletions that run RUN holds.")
@click.option("--reject", type=int, metavar="RUN", help="Keep the documents whose deletions run RUN holds.")
@as_json
@with_context
def sync(ctx: Context, source: str, as_json: bool, **asked: Any) -> None:
    """Bring the corpus up to date with SOURCE."""
    from pipelines.stages import sync as stage

    request = SyncRequest(source, **asked, decided_by=terminal.person())
    accounting = stage.run(ctx, request)
    terminal.show(accounting.as_dict(), terminal.accounting(accounting), as_json)


@cli.command()
@click.argument("source", required=False)
@as_json
@with_context
def status(ctx: Context, source: str | None, as_json: bool) -> None:
    """Show documents by state, the last runs, quarantine and held deletions."""
    from pipelines.stages import status as stage

    found = stage.run(ctx, source)
    terminal.show(found, terminal.status(found), as_json)


@cli.command()
@click.argument("source", required=False)
@as_json
@with_context
def held(ctx: Context, source: str | None, as_json: bool) -> None:
    """List the deletions that wait for a person, with the reason, and what was decided about them."""
    from pipelines.stages import status as stage

    found = stage.held(ctx, source)
    terminal.show([terminal.plain(hold) for hold in found], terminal.held(found), as_json)


@cli.command()
@as_json
def sources(as_json: bool) -> None:
    """List the configured sources."""
    settings = config.load()
    entries = {name: json.loads(source.model_dump_json()) for name, source in settings.sources.items()}
    terminal.show(entries, terminal.sources(settings), as_json)


@cli.command()
@click.argument("source", required=False)
@as_json
@with_context
def audit(ctx: Context, source: str | None, as_json: bool) -> None:
    """Check ledger, chunks and vectors against each other; exit 1 on any finding."""
    from pipelines.stages import audit as stage

    findings = stage.run(ctx, source)
    terminal.show([finding._asdict() for finding in findings], terminal.findings(findings), as_json)
    if findings:
        raise FailRun(f"the audit has {len(findings)} findings; the next sync repairs them")


@cli.command()
@click.argument("source", required=False)
@click.option("--reason", type=click.Choice([reason.value for reason in Reason]), help="Only documents with this reason.")
@click.option("--uri", help="Only this document.")
@click.option("--list", "listing", is_flag=True, help="List the quarantine and mark nothing.")
@as_json
@with_context
def replay(ctx: Context, source: str | None, reason: str | None, uri: str | None, listing: bool, as_json: bool) -> None:
    """Ask the next sync to try the quarantined documents of SOURCE again."""
    from pipelines.stages import status as stage

    if listing:
        items = stage.quarantined(ctx, source)
        terminal.show(items, terminal.quarantine(items), as_json)
        return
    if source is None:
        raise click.UsageError("name the SOURCE to replay, or use --list")
    marked = stage.replay(ctx, source, reason, uri)
    terminal.show({"marked": marked}, f"{marked} documents are tried again by the next `millrace sync {source}`", as_json)


@cli.command()
def up() -> None:
    """Start the embedded Postgres, object store and Airflow."""
    from pipelines.embedded import stack

    stack.up(config.load(), terminal.say)


@cli.command()
def down() -> None:
    """Stop what `up` started."""
    from pipelines.embedded import stack

    stack.down(config.load(), terminal.say)


@cli.command()
def demo() -> None:
    """Start everything, sync the sample corpus through Airflow and answer a question."""
    from pipelines.embedded import demo as show

    sys.exit(show.demo(config.load(), terminal.console()))


FOLDER = click.Path(file_okay=False, path_type=Path)


@cli.command()
@click.argument("folder", type=FOLDER)
def backup(folder: Path) -> None:
    """Back the embedded database up into FOLDER, and copy its write-ahead log there from now on."""
    from pipelines.embedded import backup as backups
    from pipelines.embedded import stack

    taken = backups.backup(stack.stack(config.load()).postgres, folder)
    terminal.say(f"{taken.folder}: {taken.bytes / 1e6:.0f} MB in {taken.seconds:.0f} s, verified")


@cli.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]),
    help="Bring back the state of this moment, such as 2026-11-22T14:05:00+00:00.",
)
def restore(folder: Path, until: datetime | None) -> None:
    """Bring the embedded database back from FOLDER; what was there is moved aside."""
    from pipelines.embedded import stack

    restored = stack.restore(config.load(), folder, until)
    state = f"as of {restored.until:%Y-%m-%d %H:%M:%S %Z}" if restored.until else f"as of {restored.base.name}"
    terminal.say(f"the database is back {state} after {restored.seconds:.0f} s; now `millrace up`, then sync every source")
    if restored.replaced:
        terminal.say(f"what was there is kept in {restored.replaced}")


@cli.command()
@as_json
@with_context
def maintain(ctx: Context, as_json: bool) -> None:
    """Vacuum the tables, rebuild worn indexes, and check that vector indexes find what exact search does."""
    from pipelines.stages import maintain as stage

    report = stage.run(ctx)
    terminal.show(report.as_dict(), report.text(), as_json)
    stage.require(report)


@cli.command()
def roles() -> None:
    """Let the roles millrace_writer and millrace_reader into the corpus database, with just the rights they need."""
    from pipelines.connections import postgres_dsn
    from pipelines.store import roles as grants

    settings = config.load()
    made = grants.grant(postgres_dsn(LocalConnections(settings)[settings.database]))
    news = f"made {' and '.join(made)}; " if made else ""
    terminal.say(f"{news}the rights are granted; docs/external-postgres.md says how logins join")


@cli.command()
def migrate() -> None:
    """Bring the corpus database's schema up to date."""
    from pipelines.connections import postgres_dsn
    from pipelines.store import database

    settings = config.load()
    applied = database.migrate(postgres_dsn(LocalConnections(settings)[settings.database]))
    terminal.say(f"applied {', '.join(applied)}" if applied else "the schema is current")


ROOMS = (cli_search, cli_spaces, cli_models, cli_train, cli_federated, cli_evaluate, cli_drift)
for added in (command for room in ROOMS for command in room.COMMANDS):
    cli.add_command(added)


if __name__ == "__main__":
    main()

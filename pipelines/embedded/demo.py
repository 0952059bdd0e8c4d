"""`make demo`: start everything, sync the sample corpus through Airflow, show the accounting, answer one question.

A second demo finds everything unchanged and computes no embedding. Leaves all services up.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast

from rich.console import Console

from pipelines import terminal
from pipelines.config import Settings
from pipelines.connections import LocalConnections
from pipelines.context import open_context
from pipelines.embedded.airflow_client import AirflowClient
from pipelines.embedded.progress_view import ProgressView, stage_lines
from pipelines.embedded.stack import Stack, up
from pipelines.errors import FailRun, FixConfiguration, Retry
from pipelines.records import Accounting
from pipelines.stages import ask
from pipelines.store import database, ledger
from pipelines.store.database import Pool

SOURCE = "sample"
DAG = f"sync_{SOURCE}"
PARSE_SECONDS = 90
RUN_SECONDS = 1800
ENDED = {"success", "failed"}
POLL_SECONDS = 0.5


def demo(settings: Settings, console: Console) -> int:
    """The whole demo; 0, or 1 after one line that names the failed task and its log. Raises what `up` raises."""
    began = time.monotonic()
    services = up(settings, lambda line: console.print(line, highlight=False, soft_wrap=True))
    try:
        _sync(services, console)
    except (FailRun, FixConfiguration, Retry) as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    _ask(settings, console)
    _say(console, f"\nAirflow is at {services.url} — login {services.login.user} / {services.login.password}")
    _say(console, f"Done in {time.monotonic() - began:.0f} s; everything stays up until `make down`.")
    return 0


def first_question(golden: Path) -> str:
    """The first question of the golden set that the corpus answers."""
    for line in golden.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["answerable"]:
            return str(entry["question"])
    raise FixConfiguration(f"{golden}: no answerable question; restore the file from the repository")


def _sync(services: Stack, console: Console) -> None:
    client = services.airflow.client()
    pool = database.open_pool(services.dsn, size=1)
    try:
        dag = _await_dag(client)
        for run_id in client.unfinished_runs(DAG):
            _say(console, f"\n{DAG} is already running; waiting for it")
            client.unpause(DAG)
            _follow(services, client, pool, run_id, console)
        run_id = client.trigger(DAG, run_after=_before_first_tick(dag))
        client.unpause(DAG)
        _follow(services, client, pool, run_id, console)
    finally:
        pool.close()
        client.close()


def _before_first_tick(dag: Mapping[str, Any]) -> datetime | None:
    """When a paused DAG's run has to be due to come first: unpausing also creates the run of the last cron tick."""
    tick = dag.get("next_dagrun_run_after")
    return datetime.fromisoformat(str(tick)) - timedelta(seconds=1) if dag["is_paused"] and tick else None


def _await_dag(client: AirflowClient) -> dict[str, Any]:
    """The DAG, as soon as Airflow has parsed it."""
    deadline = time.monotonic() + PARSE_SECONDS
    while (dag := client.dag(DAG)) is None:
        for name, error in client.import_errors().items():
            raise FailRun(f"{name}: {error}; Airflow cannot load this DAG file")
        if time.monotonic() > deadline:
            raise Retry(f"Airflow did not find {DAG} within {PARSE_SECONDS} s; see .millrace/logs/dag-processor.log")
        time.sleep(POLL_SECONDS)
    return dag


def _follow(services: Stack, client: AirflowClient, pool: Pool, run_id: str, console: Console) -> None:
    """Show one run until it ends, then its accounting; FailRun when it failed."""
    _say(console, "")
    deadline = time.monotonic() + RUN_SECONDS
    with ProgressView(console, DAG) as view:
        while (state := str(client.dag_run(DAG, run_id).get("state"))) not in ENDED:
            _expect_progress(services, deadline)
            view.show(_progress(pool, run_id), state)
            time.sleep(POLL_SECONDS)
        view.show(_progress(pool, run_id), state)
        view.finish(state)
    recorded = _recorded(pool, run_id)
    if recorded is not None and recorded.listed is not None:
        _say(console, "\n" + terminal.accounting(_accounting(recorded)))
    if state != "success":
        raise FailRun(_failure(services, client, run_id))


def _expect_progress(services: Stack, deadline: float) -> None:
    if not services.airflow.processes["scheduler"].running():
        raise Retry(f"the scheduler ended; see {services.airflow.processes['scheduler'].log}, then run `make up`")
    if time.monotonic() > deadline:
        raise Retry(f"{DAG} still runs after {RUN_SECONDS // 60} minutes; follow it at {services.url}/dags/{DAG}")


def _recorded(pool: Pool, run_id: str) -> ledger.Run | None:
    """The ledger's row of an Airflow run; None until its plan task opened it."""
    return next((run for run in ledger.runs(pool, SOURCE) if run.external_id == run_id), None)


def _progress(pool: Pool, run_id: str) -> list[Any]:
    recorded = _recorded(pool, run_id)
    return stage_lines(ledger.progress(pool, recorded.id)) if recorded else []


def _accounting(run: ledger.Run) -> Accounting:
    return Accounting(
        run_id=run.id,
        source=run.source,
        state=cast(Literal["succeeded", "held", "failed"], run.state),
        listed=run.listed or 0,
        counts=run.counts,
        reasons=run.reasons,
        stats=run.stats,
        notes=tuple(run.notes),
    )


def _failure(services: Stack, client: AirflowClient, run_id: str) -> str:
    """One line: the task that failed first, and where its log is."""
    failed = [task for task in client.task_instances(DAG, run_id) if task["state"] == "failed"]
    if not failed:
        return f"{DAG} failed without a failed task; see {services.url}/dags/{DAG}/runs/{run_id}"
    first = min(failed, key=lambda task: str(task["end_date"] or ""))
    return f"{DAG} failed in task {first['task_id']}; its log is {_log(services, run_id, first)}"


def _log(services: Stack, run_id: str, task: Mapping[str, Any]) -> Path:
    folder = services.airflow.home.folder / "logs" / f"dag_id={DAG}" / f"run_id={run_id}" / f"task_id={task['task_id']}"
    if int(task["map_index"]) >= 0:
        folder /= f"map_index={task['map_index']}"
    return folder / f"attempt={task['try_number']}.log"


def _ask(settings: Settings, console: Console) -> None:
    question = first_question(settings.root / "include/sample/golden.jsonl")
    _say(console, f"\n? {question}")
    with open_context(settings, LocalConnections(settings)) as ctx:
        _say(console, terminal.answer(ask.run(ctx, question)))


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)

"""Tells, day by day, whether what came into each collection differs from what was served before.

Wiring only. The work is in pipelines/stages/drift.py; `millrace drift` runs the same stage.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, get_current_context, task
from millrace_airflow import alarms, assets, documentation, forms, placement, retries, runtime
from millrace_airflow.links import reported

from pipelines import config

SETTINGS = config.load()
GPU = placement.gpu(SETTINGS.placement)
DEFAULTS: dict[str, Any] = {
    "owner": "millrace",
    "retries": retries.RETRIES,
    "retry_delay": retries.DELAY,
    "retry_policy": retries.BY_ERROR_CLASS,
    "execution_timeout": timedelta(hours=2),
}
LABEL = "{{ task.op_kwargs['collection'] }}"


@task
def collections() -> list[str]:
    """Which collections to look at: the form's, or all."""
    asked = get_current_context()["params"]["collection"]
    return [asked] if asked else sorted(config.load().collections)


@reported(map_index_template=LABEL, outlets=[assets.drift_alarms()], **GPU)
def measure(collection: str) -> dict[str, Any]:
    """Compare the day's window, write its page and announce what was found; red only when that fails."""
    from pipelines.stages import drift

    context = get_current_context()
    day, live = alarms.day(context), alarms.live(context)
    with runtime.open_task() as ctx:
        report = drift.run(ctx, collection, day, embedder=live, door="airflow", external_id=context["run_id"])
    return alarms.measured(context, report)


@task
def judge(found: dict[str, Any]) -> None:
    """Red for drift, skipped where nothing can be told."""
    alarms.judge(found)


with DAG(
    "drift",
    description="Compares what came each day with what was served before, and alarms when it is something else",
    doc_md=documentation.DRIFT,
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params=forms.drift_params(SETTINGS.collections),
    tags=["millrace", "drift"],
    default_args=DEFAULTS,
) as dag:
    judge.expand(found=measure.expand(collection=collections()))

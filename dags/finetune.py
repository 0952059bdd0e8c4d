"""Teaches each collection's model what its users mean, and hands what was gained to the DAG `promote`.

Wiring only. The work is in pipelines/stages/training_data.py and adapt.py; `millrace train` runs the same stages.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, AssetAny, AssetOrTimeSchedule, CronTriggerTimetable, get_current_context, task
from millrace_airflow import assets, documentation, forms, placement, retries, runtime

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
WATCHED = [assets.drift(kind, name) for kind in ("corpus", "questions") for name in SETTINGS.collections]


@task
def collections() -> list[str]:
    """Which collections to teach: the form's, those whose drift woke this run, or all."""
    return runtime.to_evaluate(get_current_context(), config.load())


@task(multiple_outputs=False, map_index_template="{{ task.op_kwargs['collection'] }}", **GPU)
def data(collection: str) -> dict[str, Any]:
    """Mine pairs, leave out whatever evaluates, keep them as a data set; skipped where there are too few."""
    from pipelines.stages import training_data

    with runtime.open_task() as ctx, runtime.learning():
        built = training_data.build(ctx, collection, by=runtime.person(get_current_context()))
    return runtime.told(built.text(), {"collection": collection, "dataset": built.version.name})


@task(multiple_outputs=False, map_index_template="{{ task.op_kwargs['built']['collection'] }}", **GPU)
def fit(built: dict[str, Any]) -> dict[str, Any]:
    """Fit a query adapter and register it; skipped where a gain is not shown."""
    from pipelines.stages import adapt

    collection, by = built["collection"], runtime.person(get_current_context())
    with runtime.open_task() as ctx, runtime.learning():
        done = adapt.run(ctx, collection, data=built["dataset"], by=by, report=runtime.epoch)
    return runtime.told(done.text(collection), {"collection": collection, "version": done.version.name})


with DAG(
    "finetune",
    description="Teaches each collection's model what its users mean; a gain goes to promote",
    doc_md=documentation.FINETUNE,
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 7 * * 0", timezone="UTC"), assets=AssetAny(*WATCHED)),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    params=forms.evaluate_params(SETTINGS.collections),
    tags=["millrace", "finetune"],
    default_args=DEFAULTS,
) as dag:
    built = data.expand(collection=collections())
    TriggerDagRunOperator.partial(
        task_id="promote",
        trigger_dag_id="promote",
        trigger_run_id="{{ run_id }}__{{ ti.map_index }}",
        logical_date=None,
        skip_when_already_exists=True,
        map_index_template="{{ task.conf['version'] }}",
    ).expand(conf=fit.expand(built=built))

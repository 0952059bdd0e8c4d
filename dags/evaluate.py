"""Measures how good each collection's answers are, after syncs, space builds and drift of corpus or questions, and weekly.

Wiring only. The work is in pipelines/stages/evaluate.py; `millrace evaluate` runs the same stage.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, AssetAny, AssetOrTimeSchedule, CronTriggerTimetable, get_current_context, task
from millrace_airflow import assets, documentation, forms, placement, retries, runtime
from millrace_airflow.links import reported

from pipelines import config

SETTINGS = config.load()
GPU = placement.gpu(SETTINGS.placement)
DEFAULTS: dict[str, Any] = {
    "owner": "millrace",
    "retries": retries.RETRIES,
    "retry_delay": retries.DELAY,
    "retry_policy": retries.BY_ERROR_CLASS,
    "execution_timeout": timedelta(hours=6),
}
WATCHED = [assets.corpus(name) for name in SETTINGS.sources] + [assets.space(name) for name in SETTINGS.collections]
WATCHED += [assets.drift(kind, name) for kind in ("corpus", "questions") for name in SETTINGS.collections]


@task
def collections() -> list[str]:
    """Which collections to evaluate: the form's, those that woke this run, or all."""
    return runtime.to_evaluate(get_current_context(), config.load())


@reported(map_index_template="{{ task.op_kwargs['collection'] }}", **GPU)
def evaluate(collection: str) -> dict[str, Any]:
    """Score, compare, check and write the page; red unless the verdict is good, skipped without a benchmark."""
    from pipelines.stages import evaluate

    context = get_current_context()
    with runtime.open_task() as ctx:
        report = evaluate.run(ctx, collection, door="airflow", external_id=context["run_id"])
    return runtime.evaluated(context, report, evaluate.require)


with DAG(
    "evaluate",
    description="Scores what is served on the benchmarks, and tells when it got worse or the benchmark got old",
    doc_md=documentation.EVALUATE,
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 5 * * 0", timezone="UTC"), assets=AssetAny(*WATCHED)),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params=forms.evaluate_params(SETTINGS.collections),
    tags=["millrace", "evaluate"],
    default_args=DEFAULTS,
) as dag:
    evaluate.expand(collection=collections())

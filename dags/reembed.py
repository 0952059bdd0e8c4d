"""Fills a space of another model, or of other passages, beside the one that serves a collection; then verifies and switches.

Wiring only. The work is in pipelines/stages/reembed.py and its neighbours; `millrace reembed` runs the same stages.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, chain, get_current_context, task
from millrace_airflow import assets, documentation, forms, placement, retries, runtime
from millrace_airflow.links import stage

from pipelines import config

SETTINGS = config.load()
GPU = placement.gpu(SETTINGS.placement)
FORM = forms.reembed_params(SETTINGS.collections, SETTINGS.models)
DEFAULTS: dict[str, Any] = {
    "owner": "millrace",
    "retries": retries.RETRIES,
    "retry_delay": retries.DELAY,
    "retry_policy": retries.BY_ERROR_CLASS,
    "execution_timeout": timedelta(hours=4),
    "max_active_tis_per_dagrun": 8,
}
LABEL = "{{ task.op_kwargs['ref']['label'] }}"


def run_id() -> int:
    """The run that plan opened."""
    return runtime.planned_run(get_current_context())


@task
def plan() -> list[dict[str, Any]]:
    """Find or begin the space, count what it lacks; the spans of documents to cut anew."""
    from pipelines.stages import reembed

    context = get_current_context()
    with runtime.open_task() as ctx:
        return runtime.opened(context, reembed.plan(ctx, forms.reembed_request(context, FORM)))


@stage(map_index_template=LABEL)
def rechunk(ref: dict[str, Any]) -> dict[str, Any]:
    """Read the span's documents again and cut them for the new chunk set; skipped where passages stay the same."""
    from pipelines.stages import rechunk

    return runtime.run_span(rechunk.run, ref)


@task(trigger_rule="none_failed")
def measure() -> list[dict[str, Any]]:
    """Count the texts to embed and divide them, with the budget, into spans."""
    from pipelines.stages import reembed

    with runtime.open_task() as ctx:
        return [span.as_dict() for span in reembed.measure(ctx, run_id())]


@stage(map_index_template=LABEL, **GPU)
def fill(ref: dict[str, Any]) -> dict[str, Any]:
    """Give the span's texts their vectors, from the cache or by the new model, as far as the budget goes."""
    from pipelines.stages import fill

    return runtime.run_span(fill.run, ref)


@task(multiple_outputs=False, trigger_rule="none_failed", **GPU)
def build() -> dict[str, Any]:
    """Complete what changed meanwhile, then build the index; skips the rest when the budget was used up."""
    from pipelines.stages import reembed

    with runtime.open_task() as ctx:
        return runtime.built(reembed.build(ctx, run_id()))


@task(multiple_outputs=False, **GPU)
def verify() -> dict[str, Any]:
    """Compare counts, the index with exact search, and the golden questions with the space that serves."""
    from pipelines.stages import reembed

    with runtime.open_task() as ctx:
        return reembed.check(ctx, run_id()).as_dict()


@task
def switch() -> bool:
    """Let the space serve, if the form asks for it."""
    from pipelines.stages import reembed

    with runtime.open_task() as ctx:
        return reembed.switch(ctx, run_id())


@task(multiple_outputs=False, trigger_rule="all_done", outlets=[assets.space_changes()])
def settle() -> dict[str, Any]:
    """Retire spaces past their days and close the run; red when a stage of it failed."""
    from pipelines.stages import reembed

    with runtime.open_task() as ctx:
        return runtime.reembedded(get_current_context(), reembed.settle(ctx, run_id()))


with DAG(
    "reembed",
    description="Fills, verifies and switches to a space of another model or of other passages",
    doc_md=documentation.REEMBED,
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params=FORM,
    tags=["millrace", "reembed"],
    default_args=DEFAULTS,
) as dag:
    spans = measure()
    chain(
        rechunk.expand(ref=plan()),
        spans,
        fill.expand(ref=spans),
        build(),
        verify(),
        switch(),
        settle(),
    )

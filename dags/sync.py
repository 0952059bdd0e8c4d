"""One DAG per source of include/config/sources.yaml: plan, per shard prepare -> validate -> embed -> publish, then settle.

Wiring only. The work is in pipelines/stages, which tasks import when they run; the CLI runs the same stages.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, chain, get_current_context, get_parsing_context, task, task_group
from millrace_airflow import assets, documentation, forms, placement, retries, runtime, schedules
from millrace_airflow.links import stage

from pipelines import config

SETTINGS = config.load()
GPU = placement.gpu(SETTINGS.placement)
DEFAULTS: dict[str, Any] = {
    "owner": "millrace",
    "retries": retries.RETRIES,
    "retry_delay": retries.DELAY,
    "retry_policy": retries.BY_ERROR_CLASS,
    "execution_timeout": timedelta(hours=1),
}
# What the grid shows instead of a map index: "0001 · 35 documents · 210 kB".
LABEL = "{{ task.op_kwargs['ref']['label'] }}"


@task
def plan(name: str) -> list[dict[str, Any]]:
    """List the source, compare it with the ledger, cut the work into shards."""
    from pipelines.stages import plan

    context = get_current_context()
    request = forms.sync_request(name, config.load().source(name), context)
    with runtime.open_task() as ctx:
        if context["params"]["dry_run"]:
            return runtime.previewed(context, plan.preview(ctx, request))
        return runtime.planned(context, plan.run(ctx, request))


@stage(map_index_template=LABEL)
def prepare(ref: dict[str, Any]) -> dict[str, Any]:
    """Read, parse, clean and chunk the shard's documents."""
    from pipelines.stages import prepare

    return runtime.run_shard(prepare.run, ref)


@stage(map_index_template=LABEL, data_docs=True)
def validate(ref: dict[str, Any]) -> dict[str, Any]:
    """Check documents and chunks against the great-expectations suites."""
    from pipelines.stages import validate

    return runtime.run_shard(validate.run, ref)


@stage(map_index_template=LABEL, data_docs=True, execution_timeout=timedelta(hours=4), **GPU)
def embed(ref: dict[str, Any]) -> dict[str, Any]:
    """Compute the vectors that are not known yet, and check them."""
    from pipelines.stages import embed

    return runtime.run_shard(embed.run, ref)


@stage(map_index_template=LABEL)
def publish(ref: dict[str, Any]) -> dict[str, Any]:
    """Replace the shard's documents, each in one transaction."""
    from pipelines.stages import publish

    return runtime.run_shard(publish.run, ref)


# Skipped like the shards when there is nothing to do: only what was published is to be caught up with.
@task(multiple_outputs=False, trigger_rule="none_failed_min_one_success", execution_timeout=timedelta(hours=4), **GPU)
def catch_up() -> dict[str, Any]:
    """Keep the spaces of the collection complete that do not serve."""
    from pipelines.stages import catch_up

    run_id = runtime.planned_run(get_current_context())
    with runtime.open_task() as ctx:
        return runtime.caught_up(catch_up.run(ctx, run_id))


@task(trigger_rule="all_done", multiple_outputs=False)
def settle() -> dict[str, Any]:
    """Account for every listed document, delete, audit; red on any gap."""
    from pipelines.stages import settle

    context = get_current_context()
    run_id = runtime.run_if_any(context)
    if run_id is None:
        return {"note": "dry run: nothing was changed"}
    with runtime.open_task() as ctx:
        return runtime.settled(context, settle.run(ctx, run_id))


def sync(name: str, source: config.SourceConfig) -> DAG:
    """The DAG of one source."""
    with DAG(
        f"sync_{name}",
        description=source.description or f"Keeps the corpus true to source {name}",
        doc_md=documentation.sync(name, source),
        schedule=schedules.timetable(source),
        start_date=schedules.start(source),
        catchup=False,
        max_active_runs=schedules.active_runs(source),
        params=forms.sync_params(source),
        tags=["millrace", "sync", f"source:{name}", f"collection:{source.collection}"],
        default_args={**DEFAULTS, "max_active_tis_per_dagrun": source.max_active_shards},
    ) as dag:

        @task_group
        def shard(ref: dict[str, Any]) -> None:
            """Everything that happens to one shard; shards don't wait for each other."""
            chain(prepare(ref=ref), validate(ref=ref), embed(ref=ref), publish(ref=ref))

        shards = plan(name)
        done = settle.override(outlets=[assets.changes(name)])()
        published = shard.expand(ref=shards)
        published >> catch_up() >> done
        published >> done
        shards >> done
    return dag


for source_name, source_config in SETTINGS.sources.items():
    # A worker parses this file for one DAG; it need not build the others.
    if get_parsing_context().dag_id in {None, f"sync_{source_name}"}:
        globals()[f"sync_{source_name}"] = sync(source_name, source_config)

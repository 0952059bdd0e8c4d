"""Judges a challenger, asks a person or follows the policy, and lets it serve; embeds the collection by it where needed.

Wiring only. The work is in pipelines/stages/promotion.py and its neighbours; `millrace models promote` runs the same stages.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, chain, get_current_context, task
from millrace_airflow import approval, assets, documentation, forms, placement, retries, runtime
from millrace_airflow.links import reported

from pipelines import config

SETTINGS = config.load()
GPU = placement.gpu(SETTINGS.placement)
FORM = forms.promote_params(SETTINGS.collections)
DEFAULTS: dict[str, Any] = {
    "owner": "millrace",
    "retries": retries.RETRIES,
    "retry_delay": retries.DELAY,
    "retry_policy": retries.BY_ERROR_CLASS,
    "execution_timeout": timedelta(hours=1),
}
PROPOSED = "ti.xcom_pull(task_ids='propose')"


@task(multiple_outputs=False)
def plan() -> dict[str, Any]:
    """Which version is to be judged, and whether a verified space of it waits."""
    from pipelines.stages import promotion

    collection, version = forms.promote_request(get_current_context(), FORM)
    with runtime.open_task() as ctx:
        chosen = promotion.choose(ctx, collection, version)
        waits = promotion.waits(ctx, collection, chosen)
    return {"collection": collection, "version": chosen.name, "waits": waits}


@task(multiple_outputs=False, **GPU, execution_timeout=timedelta(hours=24))
def reembed(chosen: dict[str, Any]) -> dict[str, Any]:
    """Fill and verify a space of the version beside the one that serves; skipped where one waits."""
    from pipelines.stages import reembed

    if chosen["waits"]:
        runtime.skip("a verified space waits")
    with runtime.open_task() as ctx:
        return runtime.filled(reembed.run(ctx, forms.reembed_for(get_current_context(), chosen)))


@reported(trigger_rule="none_failed", execution_timeout=timedelta(hours=6), **GPU)
def propose(chosen: dict[str, Any]) -> dict[str, Any]:
    """Evaluate where that is not done, weigh, judge, write the page; red with every reason unless it may serve."""
    from pipelines.stages import promotion

    context = get_current_context()
    with runtime.open_task() as ctx:
        made = promotion.propose(
            ctx,
            chosen["collection"],
            chosen["version"],
            runtime.person(context),
            door="airflow",
            external_id=context["run_id"],
        )
    return runtime.proposed(context, made, promotion.require)


@task(multiple_outputs=False, trigger_rule="none_failed", outlets=[assets.space_changes()])
def promote(proposal: dict[str, Any]) -> dict[str, Any]:
    """Let it serve: vectors, passages, champion and proposal change in one transaction."""
    from pipelines.stages import promotion

    context = get_current_context()
    answer = approval.said(context, "approve")
    with runtime.open_task() as ctx:
        done = promotion.promote(ctx, proposal["id"], answer.by if answer else promotion.POLICY)
    return runtime.promoted(context, done)


@task(trigger_rule="none_failed")
def reject(proposal: dict[str, Any]) -> str:
    """Write down that a person rejected it, or that nobody answered; skipped where it was approved."""
    from pipelines.stages import promotion

    answer = approval.said(get_current_context(), "approve")
    if answer is None or answer.approved:
        runtime.skip("it was approved")
    with runtime.open_task() as ctx:
        if answer.by:
            return promotion.reject(ctx, proposal["id"], answer.by, "in the Airflow UI").text()
        return promotion.expire(ctx, proposal["id"]).text()


with DAG(
    "promote",
    description="Judges a challenger and, once it is approved, lets it serve a collection",
    doc_md=documentation.PROMOTE,
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=4,
    params=FORM,
    tags=["millrace", "promote"],
    default_args=DEFAULTS,
) as dag:
    chosen: Any = plan()
    proposal = propose(chosen)
    approve = approval.Approval(
        task_id="approve",
        hours=SETTINGS.gates.approval_hours,
        subject=f"Let {{{{ {PROPOSED}['version'] }}}} serve {{{{ {PROPOSED}['collection'] }}}}?",
        body=f"{{{{ {PROPOSED}['body'] }}}}",
    )
    chain(reembed(chosen), proposal, approve, promote(proposal), reject(proposal))

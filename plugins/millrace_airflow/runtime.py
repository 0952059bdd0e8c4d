"""What a task does around a stage: open the engine's context on Airflow's connections, log, and hand back small JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowSkipException

from millrace_airflow import assets, links
from millrace_airflow.connections import AirflowConnections
from pipelines import config
from pipelines.errors import FailRun, NothingLearned
from pipelines.records import Accounting, ShardRef, SpanRef, Summary

if TYPE_CHECKING:
    from pipelines.context import Context, Progress
    from pipelines.stages.evaluate import Report as Evaluation
    from pipelines.stages.maintain import Report
    from pipelines.stages.plan import Plan
    from pipelines.stages.promotion import Proposed
    from pipelines.stages.reembed import Outcome, Reembedding
    from pipelines.store.space_states import Switch
    from pipelines.train.adapter import Point

log = logging.getLogger("millrace")
PLANNED = "planned"  # the XCom key by which settle learns what plan did


def open_task() -> Context:
    """The context of one task; use it in a `with`."""
    from pipelines.context import open_context

    settings = config.load()
    return open_context(settings, AirflowConnections(settings), report_to_log())


def run_shard(run: Callable[[Context, ShardRef], Summary], ref: dict[str, Any]) -> dict[str, Any]:
    """Run one stage on one shard; its Summary as JSON. The engine's errors pass through to the retry policy."""
    with open_task() as ctx:
        summary = run(ctx, ShardRef(**ref))
    log.info("%s %s: %s in %.1f s", summary.stage, ref["label"], _counted(summary), summary.seconds)
    return summary.as_dict()


def _counted(summary: Summary) -> str:
    return ", ".join(f"{name} {count}" for name, count in summary.counts.items()) or "nothing to do"


def planned(context: Mapping[str, Any], plan: Plan) -> list[dict[str, Any]]:
    """Log a plan and tell settle its run; the shards with work are what the mapped tasks expand over.

    A run without work skips them: four tasks that do nothing cost longer than plan and settle together.
    """
    log.info("run %s: %s", plan.run_id, plan.text())
    context["ti"].xcom_push(key=PLANNED, value={"run_id": plan.run_id})
    return [shard.as_dict() for shard in plan.shards if shard.documents]


def previewed(context: Mapping[str, Any], plan: Plan) -> list[dict[str, Any]]:
    """Log a dry run's plan; no shards, so nothing else runs."""
    log.info("dry run, nothing changes: %s", plan.text())
    context["ti"].xcom_push(key=PLANNED, value={"run_id": None})
    return []


def caught_up(summary: Summary) -> dict[str, Any]:
    """Log what the spaces that do not serve got, and what could not be done; the Summary as JSON."""
    log.info("catch_up: %s", _counted(summary))
    for note in summary.notes:
        log.warning("catch_up: %s", note)
    return summary.as_dict()


def opened(context: Mapping[str, Any], planned: Reembedding) -> list[dict[str, Any]]:
    """Log the plan of a re-embedding and tell the other tasks its run; the spans of documents to cut anew."""
    log.info("run %d: %s", planned.run_id, planned.text())
    context["ti"].xcom_push(key=PLANNED, value={"run_id": planned.run_id})
    return [span.as_dict() for span in planned.spans]


def run_span(run: Callable[[Context, SpanRef], Summary], ref: dict[str, Any]) -> dict[str, Any]:
    """Run one stage on one span; its Summary as JSON."""
    with open_task() as ctx:
        summary = run(ctx, SpanRef(**ref))
    log.info("%s %s: %s in %.1f s", summary.stage, ref["label"], _counted(summary), summary.seconds)
    return summary.as_dict()


def built(summary: Summary) -> dict[str, Any]:
    """Log the built index; skip what follows when the budget did not suffice."""
    log.info("build: %s in %.1f s", _counted(summary), summary.seconds)
    if left := summary.counts["left"]:
        raise AirflowSkipException(f"the budget left {left} documents and texts; trigger again to go on")
    return summary.as_dict()


def reembedded(context: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    """Log how a re-embedding ended and announce a complete space; what of it fits an XCom."""
    log.info("run %d: space %d of %s is %s", outcome.run_id, outcome.space, outcome.collection, outcome.state)
    for number in outcome.retired:
        log.info("run %d: space %d is retired", outcome.run_id, number)
    for note in outcome.notes:
        log.info("run %d: %s", outcome.run_id, note)
    if not outcome.left and outcome.state in {"shadow", "active"}:
        assets.announce_space(context["outlet_events"], outcome.collection, outcome.space, outcome.state)
        log.info("run %d: announced on %s", outcome.run_id, assets.space(outcome.collection).uri)
    return {"run_id": outcome.run_id, "space": outcome.space, "state": outcome.state, "left": outcome.left}


def run_if_any(context: Mapping[str, Any]) -> int | None:
    """The run that plan opened, None after a dry run. Raises FailRun when plan did not end."""
    value = context["ti"].xcom_pull(task_ids="plan", key=PLANNED)
    if value is None:
        raise FailRun(
            "plan did not end, so nothing was done and nothing was changed; its log names the cause and the remedy"
        )
    run_id: int | None = value["run_id"]
    return run_id


def planned_run(context: Mapping[str, Any]) -> int:
    """The run that plan opened. Raises FailRun when plan did not end, or was a dry run."""
    run_id = run_if_any(context)
    if run_id is None:
        raise FailRun("plan was a dry run: there is no run to work on")
    return run_id


def settled(context: Mapping[str, Any], accounting: Accounting) -> dict[str, Any]:
    """Log how the run ended, announce it when the corpus changed; the accounting as JSON."""
    counts = ", ".join(f"{state} {count}" for state, count in accounting.counts.items())
    reasons = ", ".join(f"{reason} {count}" for reason, count in accounting.reasons.items())
    log.info("run %d: %d listed: %s%s", accounting.run_id, accounting.listed, counts, f" ({reasons})" if reasons else "")
    for note in accounting.notes:
        log.info("run %d: %s", accounting.run_id, note)
    if assets.announce(context["outlet_events"], accounting):
        log.info("run %d: announced on %s", accounting.run_id, assets.corpus(accounting.source).uri)
    return accounting.as_dict()


def maintained(report: Report, require: Callable[[Report], None]) -> dict[str, Any]:
    """Log what maintenance found and did, then let `require` judge it; the report as JSON."""
    for line in report.text().splitlines():
        log.info("%s", line)
    require(report)
    return report.as_dict()


def to_evaluate(context: Mapping[str, Any], settings: config.Settings) -> list[str]:
    """The collections of one run: the form's, else those whose sources or spaces woke it, else all."""
    asked = context["params"]["collection"]
    if asked:
        return [asked]
    woken: set[str] = set()
    for events in context["triggering_asset_events"].values():
        for event in events:
            source = settings.sources.get(event.extra.get("source", ""))
            woken.add(source.collection if source else event.extra.get("collection", ""))
    known = woken & settings.collections.keys()
    return sorted(known or settings.collections)


def evaluated(context: Mapping[str, Any], report: Evaluation, require: Callable[[Evaluation], None]) -> dict[str, Any]:
    """Log an evaluation, link its page, then let `require` judge it. Without any benchmark the task is skipped."""
    for line in report.text().splitlines():
        log.info("%s", line)
    links.show(context, report.page)
    if report.number is None:
        raise AirflowSkipException(f"cannot tell: {'; '.join(report.notes)}")
    require(report)
    return {"collection": report.collection, "evaluation": report.number, "verdict": report.verdict, "report": report.page}


def person(context: Mapping[str, Any]) -> str:
    """Who triggered the run; empty when nobody did."""
    return context["dag_run"].triggering_user_name or ""


@contextmanager
def learning() -> Iterator[None]:
    """End the task as skipped, with the reason, where there is nothing to learn: the model that serves stays."""
    try:
        yield
    except NothingLearned as error:
        raise AirflowSkipException(str(error)) from None


def epoch(point: Point) -> None:
    """Log a point of a loss curve."""
    log.info("epoch %d: loss %.4f, validation %.4f, %.1f s", point.epoch, point.loss, point.validation, point.seconds)


def told(text: str, value: dict[str, Any]) -> dict[str, Any]:
    """Log what a stage says to a person; the value is what the next task needs."""
    for line in text.splitlines():
        log.info("%s", line)
    return value


def skip(why: str) -> NoReturn:
    """End the task as skipped."""
    raise AirflowSkipException(why)


def filled(outcome: Outcome) -> dict[str, Any]:
    """Log a space that was filled for a challenger; what of it fits an XCom."""
    log.info("run %d: space %d of %s is %s", outcome.run_id, outcome.space, outcome.collection, outcome.state)
    for note in outcome.notes:
        log.info("run %d: %s", outcome.run_id, note)
    return {"run_id": outcome.run_id, "space": outcome.space, "state": outcome.state}


def proposed(context: Mapping[str, Any], made: Proposed, require: Callable[[Proposed], None]) -> dict[str, Any]:
    """Log a proposal, link its page, then let `require` judge it; what a person is asked with, as Markdown in `body`."""
    for line in made.text().splitlines():
        log.info("%s", line)
    proposal = made.proposal
    links.show(context, proposal.report)
    require(made)
    checks = "".join(f"| {check['name']} | {check['reason']} |\n" for check in proposal.checks)
    body = (
        f"Proposal {proposal.id}: space {proposal.space} in the place of space {proposal.beside}, by evaluation "
        f"{proposal.evaluation}. [The whole report]({links.address(proposal.report)})\n\n"
        f"| check | result |\n|---|---|\n{checks}"
    )
    return {"id": proposal.id, "collection": proposal.collection, "version": proposal.version, "body": body}


def promoted(context: Mapping[str, Any], done: Switch) -> dict[str, Any]:
    """Log and announce what serves now."""
    assets.announce_space(context["outlet_events"], done.collection, done.serves, "active")
    log.info(
        "space %d serves %s, space %d is kept; back with `millrace models rollback %s`",
        done.serves,
        done.collection,
        done.left,
        done.collection,
    )
    return {"collection": done.collection, "serves": done.serves, "left": done.left}


def report_to_log() -> Callable[[Progress], None]:
    """A reporter that logs each tenth of a stage once, so that a long stage shows life and a short one stays quiet."""
    told: dict[tuple[str, str], int] = {}

    def report(progress: Progress) -> None:
        tenth = 10 * progress.done // progress.total if progress.total else 0
        if progress.state == "running" and tenth > told.get((progress.stage, progress.shard), 0):
            told[progress.stage, progress.shard] = tenth
            log.info("%s %s: %d of %d", progress.stage, progress.shard, progress.done, progress.total)

    return report

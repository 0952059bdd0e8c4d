"""The evaluation DAG: what wakes it, what it evaluates, and how each verdict ends."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pipelines
import pipelines.stages
from pipelines import config
from pipelines.stages import evaluate as stage
from tests.dags.test_sync_runs import run

ROOT = Path(__file__).resolve().parents[2]
GOOD = stage.Report("knowledge", 7, "good", (), page="evaluate/knowledge/7/index.html", uri="file:///x")


def test_it_runs_weekly_and_after_every_sync_and_space_build_and_tells_what_to_do(bag):
    dag = bag.dags["evaluate"]
    assert bag.import_errors == {}
    woken_by = {asset.name for asset in dag.timetable.asset_condition.objects}
    kinds = {"corpus_drift_knowledge", "questions_drift_knowledge"}
    assert woken_by == {"corpus_sample", "corpus_tickets", "space_knowledge", *kinds}
    assert dag.timetable.timetable.expression == "0 5 * * 0"
    assert (dag.max_active_runs, dag.catchup) == (1, False)
    assert "section *evaluate*" in dag.doc_md
    assert "## evaluate" in (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    for task in dag.tasks:
        assert f"| `{task.task_id}`" in dag.doc_md
        assert (task.owner, type(task.retry_policy).__name__) == ("millrace", "ExceptionRetryPolicy")
        assert task.execution_timeout.total_seconds() > 0
    assert (dag.get_task("evaluate").queue, dag.get_task("evaluate").pool) == ("gpu", "gpu")


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> list[stage.Report]:
    """What the stage gives; the last one counts."""
    given = [GOOD]
    fake = SimpleNamespace(run=lambda *_, **__: given[-1], require=stage.require)
    monkeypatch.setitem(sys.modules, "pipelines.stages.evaluate", fake)
    monkeypatch.setattr(pipelines.stages, "evaluate", fake)
    pause = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: pause(min(seconds, 0.01)))
    context = SimpleNamespace(open_context=lambda *_: nullcontext())
    monkeypatch.setitem(sys.modules, "pipelines.context", context)
    monkeypatch.setattr(pipelines, "context", context, raising=False)
    return given


@pytest.mark.usefixtures("metadata")
class TestRuns:
    def test_a_good_one_is_green_and_links_its_page(self, report):
        ended = run("evaluate", {"collection": "knowledge"})
        assert ended.state == "success"
        assert ended.values["evaluate[0]:return_value"]["verdict"] == "good"
        assert ended.values["evaluate[0]:report_link"] == "/millrace/data-docs/evaluate/knowledge/7/index.html"

    @pytest.mark.parametrize("verdict", ["worse", "stale", "cannot tell"])
    def test_anything_else_is_red_and_links_its_page_too(self, report, verdict):
        report.append(replace(GOOD, verdict=verdict, notes=("because",)))
        ended = run("evaluate", {})
        assert ended.tasks["evaluate[0]"] == "failed"
        assert ended.values["evaluate[0]:report_link"].endswith("/evaluate/knowledge/7/index.html")

    def test_no_benchmark_is_neither_green_nor_red(self, report):
        report.append(stage.Report("knowledge", None, "cannot tell", ("there is no benchmark",)))
        assert run("evaluate", {}).tasks["evaluate[0]"] == "skipped"


def test_only_the_collections_that_woke_the_run_are_evaluated():
    from millrace_airflow import runtime

    settings = config.load(ROOT)
    both = settings.model_copy(update={"collections": {**settings.collections, "other": settings.collections["knowledge"]}})

    def asked(collection: str | None, *extras: dict[str, Any]) -> list[str]:
        events = {"asset": [SimpleNamespace(extra=extra) for extra in extras]}
        context = {"params": {"collection": collection}, "triggering_asset_events": events}
        return runtime.to_evaluate(context, both)

    assert asked("other", {"source": "sample"}) == ["other"]
    assert asked(None, {"source": "tickets"}) == ["knowledge"]
    assert asked(None, {"collection": "other"}) == ["other"]
    assert asked(None) == ["knowledge", "other"]
    assert asked(None, {"source": "gone"}) == ["knowledge", "other"]

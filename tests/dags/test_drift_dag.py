"""The drift DAG: its intervals, what each verdict does, what it announces, and which day a run looks at."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

import pipelines
import pipelines.stages
from pipelines.drift.verdict import State
from pipelines.errors import FailRun, FixConfiguration
from pipelines.stages import drift as stage
from tests.dags.test_sync_runs import run

ROOT = Path(__file__).resolve().parents[2]
SINCE = datetime(2026, 11, 20, tzinfo=UTC)
QUIET = stage.Report(
    "knowledge", "", SINCE, SINCE + timedelta(days=1), State.NO_DRIFT, "No drift.", page="drift/knowledge/3/index.html"
)
ALARM: dict[str, dict[str, Any]] = {"passages": {"alarm": True}, "length": {"alarm": False}}


def test_it_has_daily_intervals_and_tells_what_to_do(bag):
    dag = bag.dags["drift"]
    assert bag.import_errors == {}
    assert (type(dag.timetable).__name__, dag.timetable.expression) == ("CronDataIntervalTimetable", "0 0 * * *")
    assert (dag.max_active_runs, dag.catchup) == (1, False)
    assert "section *drift*" in dag.doc_md
    assert "## drift" in (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    for task in dag.tasks:
        assert f"| `{task.task_id}`" in dag.doc_md
        assert (task.owner, type(task.retry_policy).__name__) == ("millrace", "ExceptionRetryPolicy")
    assert (dag.get_task("measure").queue, dag.get_task("measure").pool) == ("gpu", "gpu")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[stage.Report]:
    """What the stage gives; the last one counts."""
    reports = [QUIET]
    fake = SimpleNamespace(run=lambda *_, **__: reports[-1])
    monkeypatch.setitem(sys.modules, "pipelines.stages.drift", fake)
    monkeypatch.setattr(pipelines.stages, "drift", fake)
    pause = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: pause(min(seconds, 0.01)))
    context = SimpleNamespace(open_context=lambda *_: nullcontext())
    monkeypatch.setitem(sys.modules, "pipelines.context", context)
    monkeypatch.setattr(pipelines, "context", context, raising=False)
    return reports


@pytest.mark.usefixtures("metadata")
class TestRuns:
    def test_without_drift_it_is_green_links_its_page_and_announces_nothing(self, given):
        ended = run("drift", {"collection": "knowledge"})
        assert ended.state == "success"
        assert ended.values["measure[0]:report_link"] == "/millrace/data-docs/drift/knowledge/3/index.html"
        assert ended.events == []

    def test_drift_is_red_and_announced_by_kind(self, given):
        given.append(replace(QUIET, state=State.DRIFT, tests=ALARM))
        ended = run("drift", {})
        assert (ended.tasks["measure[0]"], ended.tasks["judge[0]"]) == ("success", "failed")
        assert ended.events == [
            (
                "millrace://drift/corpus/knowledge",
                "corpus_drift_knowledge",
                {"collection": "knowledge", "kind": "corpus", "sentence": "No drift."},
            )
        ]


def test_what_cannot_be_told_is_skipped_and_drift_fails():
    from millrace_airflow import alarms

    with pytest.raises(AirflowSkipException, match="because"):
        alarms.judge({"state": "cannot tell", "text": "because"})
    with pytest.raises(FailRun, match="because"):
        alarms.judge({"state": "drift", "text": "because"})
    alarms.judge({"state": "nothing new", "text": "because"})


def test_a_run_looks_at_its_interval_or_the_day_asked_for():
    from millrace_airflow import alarms

    def context(kind: str, asked: str | None) -> dict[str, Any]:
        return {"dag_run": SimpleNamespace(run_type=kind, data_interval_start=SINCE), "params": {"day": asked}}

    assert alarms.day(context("backfill", None)) == date(2026, 11, 20)
    assert alarms.day(context("manual", "2026-11-02")) == date(2026, 11, 2)
    assert alarms.day(context("manual", None)) == datetime.now(UTC).date() - timedelta(days=1)
    assert [alarms.live(context(*case)) for case in (("scheduled", None), ("backfill", None), ("manual", "2026-11-02"))] == [
        True,
        False,
        False,
    ]
    with pytest.raises(FixConfiguration, match="its own interval"):
        alarms.day(context("scheduled", "2026-11-02"))
    with pytest.raises(FixConfiguration, match="has not ended"):
        alarms.day(context("manual", "2999-01-01"))

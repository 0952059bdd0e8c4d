"""The re-embedding DAG: its form, its wiring, and whole runs with stages that do nothing but remember or fail."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pipelines
import pipelines.stages
from pipelines.errors import FailRun
from pipelines.records import ReembedRequest, SpanRef, Summary
from tests.dags.test_sync_runs import run

ROOT = Path(__file__).resolve().parents[2]
TASKS = ["plan", "rechunk", "measure", "fill", "build", "verify", "switch", "settle"]


@dataclass
class Engine:
    """The stages' stand-ins."""

    spans: dict[str, int] = field(default_factory=lambda: {"rechunk": 0, "fill": 2})
    left: int = 0
    errors: dict[str, Exception] = field(default_factory=dict)
    requests: list[ReembedRequest] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def plan(self, _: Any, request: ReembedRequest) -> Any:
        self.requests.append(request)
        self._did("plan")
        return SimpleNamespace(run_id=17, text=lambda: "2 texts", spans=self._spans("rechunk"))

    def measure(self, _: Any, run_id: int) -> tuple[SpanRef, ...]:
        self._did("measure")
        return self._spans("fill")

    def _spans(self, stage: str) -> tuple[SpanRef, ...]:
        return tuple(self.span(number) for number in range(1, self.spans[stage] + 1))

    def span(self, number: int) -> SpanRef:
        return SpanRef(17, 2, f"{number:04d}", f"{number:04d} of 0002", "", "ff")

    def on_span(self, name: str) -> Any:
        def work(_: Any, span: SpanRef) -> Summary:
            self._did(f"{name} {span.shard}")
            return Summary(name, "17", {"texts": 1}, 0.1)

        return SimpleNamespace(run=work)

    def build(self, _: Any, run_id: int) -> Summary:
        self._did("build")
        return Summary("build", str(run_id), {"left": self.left}, 0.1)

    def check(self, _: Any, run_id: int) -> Any:
        self._did("verify")
        return SimpleNamespace(as_dict=lambda: {"recall_at_10": 1.0})

    def switch(self, _: Any, run_id: int) -> bool:
        self._did("switch")
        return True

    def settle(self, _: Any, run_id: int) -> Any:
        self._did("settle")
        if self.errors:
            raise FailRun("a stage failed")
        return SimpleNamespace(
            run_id=17, space=2, collection="knowledge", state="active", left=self.left, retired=(1,), notes=("stopped",)
        )

    def _did(self, step: str) -> None:
        self.done.append(step)
        if step in self.errors:
            raise self.errors[step]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    fake = Engine()
    modules = {
        "reembed": SimpleNamespace(
            plan=fake.plan, measure=fake.measure, build=fake.build, check=fake.check, switch=fake.switch, settle=fake.settle
        ),
        "rechunk": fake.on_span("rechunk"),
        "fill": fake.on_span("fill"),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, f"pipelines.stages.{name}", module)
        monkeypatch.setattr(pipelines.stages, name, module, raising=False)
    pause = time.sleep  # the test runner waits a second whenever no task is ready
    monkeypatch.setattr(time, "sleep", lambda seconds: pause(min(seconds, 0.01)))
    context = SimpleNamespace(open_context=lambda *_: nullcontext())
    monkeypatch.setitem(sys.modules, "pipelines.context", context)
    monkeypatch.setattr(pipelines, "context", context, raising=False)
    return fake


def test_a_person_finds_tags_owner_and_triage_notes(bag):
    dag = bag.dags["reembed"]
    assert bag.import_errors == {}
    assert {"millrace", "reembed"} <= set(dag.tags)
    assert sorted(dag.task_ids) == sorted(TASKS)
    assert "section *reembed*" in dag.doc_md
    assert "## reembed" in (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    for task in dag.tasks:
        assert task.owner == "millrace"
        assert f"| `{task.task_id}`" in dag.doc_md
        assert type(task.retry_policy).__name__ == "ExceptionRetryPolicy"
        assert task.retries >= 1
        assert task.execution_timeout.total_seconds() > 0


def test_only_tasks_with_a_model_need_the_gpu_workers_and_settle_is_the_only_leaf(bag):
    dag = bag.dags["reembed"]
    with_model = {task.task_id for task in dag.tasks if (task.queue, task.pool) == ("gpu", "gpu")}
    assert with_model == {"fill", "build", "verify"}
    assert {(task.queue, task.pool) for task in dag.tasks if task.task_id not in with_model} == {("default", "default_pool")}
    assert [task.task_id for task in dag.leaves] == ["settle"]
    assert dag.get_task("settle").trigger_rule == "all_done"
    assert dag.max_active_runs == 1
    assert dag.timetable.can_be_scheduled is False


@pytest.mark.usefixtures("metadata")
class TestRuns:
    def test_another_model_skips_rechunk_and_goes_through(self, engine):
        ended = run("reembed", {"collection": "knowledge", "switch": True, "max_minutes": 30, "keep_days": 7})
        assert ended.state == "success"
        assert ended.tasks["rechunk"] == "skipped"
        assert sorted(engine.done[:4]) == ["fill 0001", "fill 0002", "measure", "plan"]
        assert engine.done[4:] == ["build", "verify", "switch", "settle"]
        assert ended.labels["fill[1]"] == "0002 of 0002"
        (asked,) = engine.requests
        assert (asked.collection, asked.model, asked.switch, asked.keep_days) == ("knowledge", "", True, 7)
        assert (asked.budget.seconds, asked.budget.texts, asked.door) == (1800.0, None, "airflow")
        assert ended.values["settle:return_value"] == {"run_id": 17, "space": 2, "state": "active", "left": 0}
        extra = {"collection": "knowledge", "space": 2, "state": "active"}
        assert ended.events == [("millrace://space/knowledge", "space_knowledge", extra)]

    def test_other_passages_are_cut_before_they_are_embedded(self, engine):
        engine.spans = {"rechunk": 1, "fill": 1}
        assert run("reembed").state == "success"
        assert engine.done[:4] == ["plan", "rechunk 0001", "measure", "fill 0001"]

    def test_nothing_missing_still_verifies(self, engine):
        engine.spans = {"rechunk": 0, "fill": 0}
        ended = run("reembed")
        assert (ended.state, ended.tasks["fill"]) == ("success", "skipped")
        assert engine.done == ["plan", "measure", "build", "verify", "switch", "settle"]

    def test_a_spent_budget_is_a_green_run_that_says_how_to_go_on(self, engine):
        engine.left = 40
        ended = run("reembed")
        assert ended.state == "success"
        assert {ended.tasks[name] for name in ("build", "verify", "switch")} == {"skipped"}
        assert engine.done[-2:] == ["build", "settle"]

    @pytest.mark.parametrize("step", ["fill 0001", "build", "verify", "switch"])
    def test_a_failed_stage_stops_what_follows_and_settle_is_red(self, engine, step):
        engine.errors[step] = FailRun("not good enough")
        ended = run("reembed")
        assert (ended.state, ended.tasks["settle"]) == ("failed", "failed")
        assert engine.done[-2:] == [*engine.done[-2:-1], "settle"]
        assert "switch" not in engine.done or step == "switch"

    def test_a_value_that_the_form_does_not_know_starts_nothing(self, engine):
        from airflow.exceptions import ParamValidationError

        with pytest.raises(ParamValidationError, match="model"):
            run("reembed", {"model": "no such model"})
        assert run("reembed", {"max_text": 3}).tasks["plan"] == "failed"
        assert engine.requests == []

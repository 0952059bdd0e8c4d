"""The fine-tuning DAG: what wakes it, a gain is handed to promote, and nothing to learn is neither red nor handed on."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pipelines
import pipelines.stages
from pipelines.errors import FailRun, NothingLearned
from tests.dags.test_sync_runs import run

ROOT = Path(__file__).resolve().parents[2]


def test_it_is_weekly_wakes_after_drift_starts_paused_and_tells_what_to_do(bag):
    dag = bag.dags["finetune"]
    assert bag.import_errors == {}
    assert {asset.name for asset in dag.timetable.asset_condition.objects} == {
        "corpus_drift_knowledge",
        "questions_drift_knowledge",
    }
    assert dag.timetable.timetable.expression == "0 7 * * 0"
    assert dag.is_paused_upon_creation
    assert (dag.max_active_runs, dag.catchup) == (1, False)
    assert "## finetune" in (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    for task in dag.tasks:
        assert f"| `{task.task_id}`" in dag.doc_md
    for name in ("data", "fit"):
        assert (dag.get_task(name).queue, dag.get_task(name).pool) == ("gpu", "gpu")


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand-ins; what lies under a stage's name is raised, and what was handed to promote is kept."""
    told: dict[str, Any] = {"handed": []}

    def build(*_: Any, **__: Any) -> Any:
        _raise(told, "data")
        return SimpleNamespace(text=lambda: "pairs", version=SimpleNamespace(name="knowledge@3"))

    def adapt(_: Any, collection: str, *, data: str, by: str, report: Any) -> Any:
        _raise(told, "fit")
        report(SimpleNamespace(epoch=1, loss=2.0, validation=0.5, seconds=0.1))
        told["fitted"] = (collection, data)
        return SimpleNamespace(text=lambda _: "fitted", version=SimpleNamespace(name="knowledge-questions@1"))

    for name, fake in {"training_data": SimpleNamespace(build=build), "adapt": SimpleNamespace(run=adapt)}.items():
        monkeypatch.setitem(sys.modules, f"pipelines.stages.{name}", fake)
        monkeypatch.setattr(pipelines.stages, name, fake, raising=False)
    context = SimpleNamespace(open_context=lambda *_: nullcontext())
    monkeypatch.setitem(sys.modules, "pipelines.context", context)
    monkeypatch.setattr(pipelines, "context", context, raising=False)
    from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

    def hand(self: Any, context: Any) -> None:
        told["handed"].append((self.trigger_dag_id, self.conf, self.trigger_run_id.endswith("__0")))

    monkeypatch.setattr(TriggerDagRunOperator, "execute", hand)
    return told


def _raise(told: dict[str, Any], name: str) -> None:
    if name in told:
        raise told[name]


@pytest.mark.usefixtures("metadata")
class TestRuns:
    def test_a_gain_is_handed_to_promote(self, stages):
        ended = run("finetune", {"collection": "knowledge"})
        assert ended.state == "success"
        assert stages["fitted"] == ("knowledge", "knowledge@3")
        assert stages["handed"] == [("promote", {"collection": "knowledge", "version": "knowledge-questions@1"}, True)]

    @pytest.mark.parametrize("name", ["data", "fit"])
    def test_nothing_to_learn_is_neither_red_nor_handed_on(self, stages, name):
        stages[name] = NothingLearned("3 pairs")
        ended = run("finetune", {})
        assert (ended.tasks[f"{name}[0]"], stages["handed"]) == ("skipped", [])
        assert ended.state == "success"

    def test_a_leak_is_red_and_not_handed_on(self, stages):
        stages["fit"] = FailRun("leak")
        ended = run("finetune", {})
        assert (ended.state, ended.tasks["fit[0]"], stages["handed"]) == ("failed", "failed", [])

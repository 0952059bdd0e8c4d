"""The promotion DAG: its form, its wiring, and whole runs for each thing a person, the policy or the gate can say."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pipelines
import pipelines.stages
from pipelines import config
from pipelines.errors import FailRun
from pipelines.records import ReembedRequest
from pipelines.store.space_states import Switch
from tests.dags.test_sync_runs import run

ROOT = Path(__file__).resolve().parents[2]
TASKS = ["plan", "reembed", "propose", "approve", "promote", "reject"]
ANA = {"id": "7", "name": "ana"}


@dataclass
class Engine:
    """The stages' stand-ins, and what the person says; None: nobody answers."""

    waits: bool = True
    verdict: str = "promote"
    answer: str = "Approve"
    person: dict[str, str] | None = field(default_factory=lambda: ANA)
    errors: dict[str, Exception] = field(default_factory=dict)
    requests: list[ReembedRequest] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def choose(self, _: Any, collection: str, version: str) -> Any:
        return SimpleNamespace(name=version or "newest@4")

    def reembed(self, _: Any, request: ReembedRequest) -> Any:
        self.requests.append(request)
        self._did("reembed")
        return SimpleNamespace(run_id=17, space=2, collection="knowledge", state="shadow", notes=("filled",))

    def propose(self, _: Any, collection: str, version: str, by: str, *, door: str, external_id: str) -> Any:
        assert (door, external_id[:8]) == ("airflow", "manual__")
        self._did(f"propose {version}")
        checks = [{"name": "latency", "reason": "30 ms"}]
        proposal = SimpleNamespace(
            id=5,
            collection=collection,
            version=version,
            space=2,
            beside=1,
            evaluation=9,
            checks=checks,
            report="promotion/x",
        )
        return SimpleNamespace(proposal=proposal, text=lambda: "proposal 5")

    def require(self, _: Any) -> None:
        if self.verdict != "promote":
            raise FailRun(f"newest@4 stays where it is: {self.verdict}")

    def promote(self, _: Any, number: int, by: str) -> Switch:
        self._did(f"promote {number} by {by}")
        return Switch("knowledge", 1, 2)

    def reject(self, _: Any, number: int, by: str, reason: str) -> Any:
        self._did(f"reject {number} by {by}")
        return SimpleNamespace(text=lambda: "rejected")

    def expire(self, _: Any, number: int) -> Any:
        self._did(f"expire {number}")
        return SimpleNamespace(text=lambda: "expired")

    def respond(self, operator: Any, context: Any) -> Any:
        """As Airflow resumes an approval once there is an answer, or its default after the deadline."""
        self.asked.append((operator.subject, operator.body))
        event = {
            "chosen_options": [self.answer],
            "params_input": {},
            "responded_at": datetime(2026, 11, 1, tzinfo=UTC),
            "responded_by_user": self.person,
        }
        return operator.execute_complete(context, event)

    def _did(self, step: str) -> None:
        self.done.append(step)
        if step.partition(" ")[0] in self.errors:
            raise self.errors[step.partition(" ")[0]]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    from airflow.providers.standard.operators.hitl import HITLOperator

    fake = Engine()
    modules = {
        "promotion": SimpleNamespace(
            POLICY="policy",
            choose=fake.choose,
            waits=lambda *_: fake.waits,
            propose=fake.propose,
            require=fake.require,
            promote=fake.promote,
            reject=fake.reject,
            expire=fake.expire,
        ),
        "reembed": SimpleNamespace(run=fake.reembed),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, f"pipelines.stages.{name}", module)
        monkeypatch.setattr(pipelines.stages, name, module, raising=False)
    monkeypatch.setattr(HITLOperator, "execute", lambda self, context: fake.respond(self, context))
    pause = time.sleep  # the test runner waits a second whenever no task is ready
    monkeypatch.setattr(time, "sleep", lambda seconds: pause(min(seconds, 0.01)))
    context = SimpleNamespace(open_context=lambda *_: nullcontext())
    monkeypatch.setitem(sys.modules, "pipelines.context", context)
    monkeypatch.setattr(pipelines, "context", context, raising=False)
    return fake


def test_a_person_finds_tags_owner_and_triage_notes(bag):
    dag = bag.dags["promote"]
    assert bag.import_errors == {}
    assert {"millrace", "promote"} <= set(dag.tags)
    assert sorted(dag.task_ids) == sorted(TASKS)
    assert "section *promote*" in dag.doc_md
    assert "## promote" in (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    for task in dag.tasks:
        assert task.owner == "millrace"
        assert f"| `{task.task_id}`" in dag.doc_md
        assert type(task.retry_policy).__name__ == "ExceptionRetryPolicy"
        assert task.retries >= 1
        assert task.execution_timeout.total_seconds() > 0


def test_it_waits_for_a_person_as_long_as_a_proposal_holds_and_runs_by_hand_only(bag):
    dag = bag.dags["promote"]
    approve = dag.get_task("approve")
    assert approve.response_timeout.total_seconds() == 3600 * config.load(ROOT).gates.approval_hours
    assert (approve.defaults, approve.options) == (["Reject"], ["Approve", "Reject"])
    with_model = {task.task_id for task in dag.tasks if (task.queue, task.pool) == ("gpu", "gpu")}
    assert with_model == {"reembed", "propose"}
    assert dag.timetable.can_be_scheduled is False
    assert [task.task_id for task in dag.leaves] == ["reject"]


@pytest.mark.usefixtures("metadata")
class TestRuns:
    def test_approved_it_serves_and_the_change_is_announced(self, engine):
        ended = run("promote")
        assert ended.state == "success"
        assert (ended.tasks["reembed"], ended.tasks["reject"]) == ("skipped", "skipped")
        assert engine.done == ["propose newest@4", "promote 5 by ana"]
        ((subject, body),) = engine.asked
        assert subject == "Let newest@4 serve knowledge?"
        assert "[The whole report](/millrace/data-docs/promotion/x)" in body
        assert "| latency | 30 ms |" in body
        assert ended.values["propose:report_link"] == "/millrace/data-docs/promotion/x"
        assert ended.values["promote:return_value"] == {"collection": "knowledge", "serves": 2, "left": 1}
        extra = {"collection": "knowledge", "space": 2, "state": "active"}
        assert ended.events == [("millrace://space/knowledge", "space_knowledge", extra)]

    def test_what_has_no_space_is_embedded_first(self, engine):
        engine.waits = False
        ended = run("promote", {"collection": "knowledge", "version": "handbook@2"})
        assert (ended.state, ended.tasks["reembed"]) == ("success", "success")
        assert engine.done == ["reembed", "propose handbook@2", "promote 5 by ana"]
        (asked,) = engine.requests
        assert (asked.collection, asked.model, asked.switch, asked.door) == ("knowledge", "handbook@2", False, "airflow")

    def test_rejected_nothing_serves_and_it_is_written_down(self, engine):
        engine.answer = "Reject"
        ended = run("promote")
        assert (ended.state, ended.tasks["promote"], ended.tasks["reject"]) == ("success", "skipped", "success")
        assert engine.done == ["propose newest@4", "reject 5 by ana"]
        assert ended.events == []

    def test_nobody_answers_and_it_expires(self, engine):
        engine.answer, engine.person = "Reject", None
        ended = run("promote")
        assert (ended.state, ended.tasks["promote"]) == ("success", "skipped")
        assert engine.done == ["propose newest@4", "expire 5"]

    @pytest.mark.parametrize("verdict", ["refuse", "cannot tell"])
    def test_what_the_gate_does_not_pass_never_reaches_a_person(self, engine, verdict):
        engine.verdict = verdict
        ended = run("promote")
        assert (ended.state, ended.tasks["propose"]) == ("failed", "failed")
        assert {ended.tasks[name] for name in ("approve", "promote", "reject")} == {"upstream_failed"}
        assert ended.values["propose:report_link"] == "/millrace/data-docs/promotion/x"
        assert (engine.asked, engine.done) == ([], ["propose newest@4"])

    def test_by_policy_nobody_is_asked(self, engine, monkeypatch):
        settings = config.load(ROOT)
        gates = settings.gates.model_copy(update={"approval": "automatic"})
        monkeypatch.setattr(config, "load", lambda *_: settings.model_copy(update={"gates": gates}))
        ended = run("promote")
        assert (ended.state, ended.tasks["approve"], ended.tasks["reject"]) == ("success", "skipped", "skipped")
        assert (engine.asked, engine.done) == ([], ["propose newest@4", "promote 5 by policy"])

    def test_a_promotion_that_is_refused_at_the_last_moment_is_red(self, engine):
        engine.errors["promote"] = FailRun("overtaken")
        ended = run("promote")
        assert (ended.state, ended.tasks["promote"], ended.tasks["reject"]) == ("failed", "failed", "upstream_failed")
        assert ended.events == []

    def test_a_space_that_fails_ends_it(self, engine):
        engine.waits = False
        engine.errors["reembed"] = FailRun("not good enough")
        ended = run("promote", {"version": "handbook"})
        assert (ended.state, ended.tasks["propose"]) == ("failed", "upstream_failed")

    def test_a_value_that_the_form_does_not_know_starts_nothing(self, engine):
        from airflow.exceptions import ParamValidationError

        with pytest.raises(ParamValidationError, match="version"):
            run("promote", {"version": "handbook@x"})
        assert run("promote", {"versoin": "handbook@2"}).tasks["plan"] == "failed"
        assert engine.done == []

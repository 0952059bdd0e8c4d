"""Whole runs of the sync DAG in Airflow's own test runner, with stages that do nothing but remember or fail.

The stand-in settle keeps the real one's promise: it raises FailRun when a planned shard was not published.
"""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pipelines
import pipelines.stages
from pipelines.errors import FailRun, FixConfiguration, Held
from pipelines.records import Accounting, ShardRef, Summary, SyncRequest

pytestmark = pytest.mark.usefixtures("metadata")
STEPS = ("prepare", "validate", "embed", "publish")
clock = iter(datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=hours) for hours in range(1000))


@dataclass
class Engine:
    """The stages' stand-ins."""

    source: str = "sample"
    shards: int = 2
    empty: bool = False  # the shards hold no documents
    counts: dict[str, int] = field(default_factory=lambda: {"loaded": 3, "unchanged": 1})
    errors: dict[str, Exception] = field(default_factory=dict)  # "plan", "settle" or "embed 0001"
    requests: list[SyncRequest] = field(default_factory=list)
    previews: list[SyncRequest] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def plan(self, _: Any, request: SyncRequest) -> Any:
        self.requests.append(request)
        return self._plan("plan", 17)

    def preview(self, _: Any, request: SyncRequest) -> Any:
        self.previews.append(request)
        return self._plan("plan", None)

    def _plan(self, step: str, run_id: int | None) -> Any:
        self._fail(step)
        refs = [self.ref(index) for index in range(1, self.shards + 1)] if run_id else []
        return SimpleNamespace(run_id=run_id, shards=tuple(refs), text=lambda: "3 to add")

    def ref(self, index: int) -> ShardRef:
        documents = 0 if self.empty else index
        return ShardRef(17, self.source, f"{index:04d}", f"{index:04d} · {index} documents", documents, 1000 * documents)

    def stage(self, name: str) -> Any:
        def run(_: Any, shard: ShardRef) -> Summary:
            self._fail(f"{name} {shard.shard}")
            self.done.append(f"{name} {shard.shard}")
            return Summary(name, "17", {"documents": shard.documents}, 0.1, ("data-docs/x",) if name == "embed" else ())

        return SimpleNamespace(run=run)

    def catch_up(self, _: Any, run_id: int) -> Summary:
        self.done.append("catch_up")
        self._fail("catch_up")
        return Summary("catch_up", str(run_id), {"texts": 2}, 0.1, ("space 1 could not be caught up",))

    def settle(self, _: Any, run_id: int) -> Accounting:
        self.done.append("settle")
        self._fail("settle")
        gaps = [index for index in range(1, self.shards + 1) if f"publish {index:04d}" not in self.done]
        if gaps and not self.empty:
            raise FailRun(f"run {run_id}: shards {gaps} are unaccounted for")
        return Accounting(run_id, self.source, "succeeded", 4, self.counts, {}, {})

    def _fail(self, step: str) -> None:
        if step in self.errors:
            raise self.errors[step]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    fake = Engine()
    modules = {
        "plan": SimpleNamespace(run=fake.plan, preview=fake.preview),
        "settle": SimpleNamespace(run=fake.settle),
        "catch_up": SimpleNamespace(run=fake.catch_up),
        **{name: fake.stage(name) for name in STEPS},
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


@dataclass
class Ended:
    """How a run of a DAG ended."""

    state: str
    tasks: dict[str, str]  # "shard.embed[0]" or "plan" to its state
    labels: dict[str, str | None]
    values: dict[str, Any]  # "task_id[map index]:key" to the XCom
    events: list[Any]


def run(dag_id: str, conf: dict[str, Any] | None = None) -> Ended:
    """Run a DAG once, as a manual run without a logical date."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    # Parsed anew, as a worker does: a run in this process leaves its Params behind in the DAG.
    dag = DagBag(dag_folder=Path(__file__).resolve().parents[2] / "dags").dags[dag_id]
    for task in dag.tasks:
        task.retry_delay = timedelta(0)  # a defect fails at once; the engine's errors follow the retry policy
    ended = dag.test(run_after=next(clock), logical_date=None, run_conf=conf or {})
    with create_session() as session:
        found = session.scalars(select(TaskInstance).where(TaskInstance.run_id == ended.run_id)).all()
        xcoms = session.scalars(select(XComModel).where(XComModel.run_id == ended.run_id)).all()
        events = session.execute(
            select(AssetModel.uri, AssetModel.name, AssetEvent.extra)
            .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
            .where(AssetEvent.source_run_id == ended.run_id)
        ).all()
        return Ended(
            state=str(ended.state),
            tasks={address(entry): str(entry.state) for entry in found},
            labels={address(entry): entry.rendered_map_index for entry in found},
            values={f"{address(entry)}:{entry.key}": entry.value for entry in xcoms},
            events=[tuple(event) for event in events],
        )


def address(entry: Any) -> str:
    return entry.task_id if entry.map_index < 0 else f"{entry.task_id}[{entry.map_index}]"


def test_every_shard_is_published_and_the_change_is_announced_once(engine):
    ended = run("sync_sample")
    assert ended.state == "success"
    assert set(ended.tasks.values()) == {"success"}
    assert engine.done[-2:] == ["catch_up", "settle"]
    assert sorted(engine.done[:-2]) == sorted([f"{step} {shard}" for step in STEPS for shard in ("0001", "0002")])
    assert ended.labels["shard.embed[1]"] == "0002 · 2 documents"
    assert {value for task, value in ended.labels.items() if task.endswith("[0]")} == {"0001 · 1 documents"}
    extra = {"run_id": 17, "source": "sample", "counts": {"loaded": 3, "unchanged": 1}}
    assert ended.events == [("millrace://corpus/sample", "corpus_sample", extra)]
    (asked,) = engine.requests
    assert (asked.source, asked.door, asked.day) == ("sample", "airflow", None)
    assert asked.external_id.startswith("manual__")


def test_a_validated_stage_links_to_the_data_docs_of_its_shard(engine):
    engine.errors["validate 0002"] = FailRun("suite chunks failed")
    ended = run("sync_sample")
    # embed wrote notes, the green validate none, the red one failed after it began: its pages are worth a look.
    assert ended.values["shard.embed[0]:data_docs_link"] == "/millrace/data-docs/sample/17/0001/"
    assert ended.values["shard.validate[0]:data_docs_link"] == ""
    assert ended.values["shard.validate[1]:data_docs_link"] == "/millrace/data-docs/sample/17/0002/"
    assert not [key for key in ended.values if key.startswith("shard.publish") and key.endswith("data_docs_link")]


@pytest.mark.parametrize("counts", [{"unchanged": 4}, {"quarantined": 2, "unchanged": 2}, {}])
def test_no_change_no_event(engine, counts):
    engine.counts = counts
    ended = run("sync_sample")
    assert (ended.state, ended.events) == ("success", [])


def test_a_deletion_is_a_change(engine):
    engine.counts = {"deleted": 1}
    assert len(run("sync_sample").events) == 1


@pytest.mark.parametrize("empty_shards", [0, 1])
def test_nothing_to_do_runs_no_stage_and_still_settles(engine, empty_shards):
    engine.shards, engine.empty, engine.counts = empty_shards, True, {"unchanged": 4}
    ended = run("sync_sample")
    assert ended.state == "success"
    assert ended.tasks["settle"] == "success"
    assert {ended.tasks[name] for name in (*(f"shard.{step}" for step in STEPS), "catch_up")} == {"skipped"}
    assert engine.done == ["settle"]


def test_a_space_that_does_not_serve_never_reddens_a_sync(engine):
    engine.errors["catch_up"] = FailRun("killed")
    ended = run("sync_sample")
    assert (ended.state, ended.tasks["catch_up"], ended.tasks["settle"]) == ("success", "failed", "success")


def test_one_failed_shard_lets_the_others_publish_and_turns_the_run_red(engine):
    engine.shards = 3
    engine.errors["embed 0002"] = FailRun("suite vectors failed")
    ended = run("sync_sample")
    assert ended.state == "failed"
    assert ended.tasks["shard.embed[1]"] == "failed"
    assert ended.tasks["shard.publish[1]"] == "upstream_failed"
    assert ended.tasks["shard.publish[0]"] == ended.tasks["shard.publish[2]"] == "success"
    assert ended.tasks["settle"] == "failed"
    assert ended.events == []


def test_only_failed_shards_are_a_red_run(engine):
    engine.errors = {f"prepare {shard}": FixConfiguration("wrong credentials") for shard in ("0001", "0002")}
    ended = run("sync_sample")
    assert (ended.state, ended.tasks["settle"]) == ("failed", "failed")
    assert {ended.tasks[f"shard.publish[{index}]"] for index in (0, 1)} == {"upstream_failed"}


def test_a_failed_plan_is_a_red_run_that_touched_nothing(engine):
    engine.errors["plan"] = FixConfiguration("s3://nowhere: no such bucket")
    ended = run("sync_sample")
    assert (ended.state, ended.tasks["plan"], ended.tasks["settle"]) == ("failed", "failed", "failed")
    assert engine.done == []


@pytest.mark.parametrize("error", [FailRun("2 documents unaccounted for"), Held("40 deletions held")])
def test_settle_alone_turns_the_run_red(engine, error):
    engine.errors["settle"] = error
    ended = run("sync_sample")
    assert (ended.state, ended.tasks["settle"]) == ("failed", "failed")
    assert engine.done.count("settle") == 1, "a decision for a person is not retried"


def test_a_dry_run_logs_the_plan_and_starts_nothing(engine):
    ended = run("sync_sample", {"dry_run": True, "prefix": "hr/"})
    assert ended.state == "success"
    assert [asked.prefix for asked in engine.previews] == ["hr/"]
    assert (engine.requests, engine.done, ended.events) == ([], [], [])
    assert "nothing was changed" in str(ended.values["settle:return_value"])


def test_a_dry_run_that_cannot_list_is_red(engine):
    engine.errors["plan"] = FixConfiguration("no such bucket")
    assert run("sync_sample", {"dry_run": True}).state == "failed"


def test_the_form_reaches_the_engine(engine):
    run("sync_sample", {"full_rescan": True, "prefix": "policies/", "approve_held": 12, "reject_held": 13})
    (asked,) = engine.requests
    assert (asked.full_rescan, asked.prefix, asked.approve, asked.reject) == (True, "policies/", 12, 13)
    assert asked.decided_by


def test_a_manual_run_of_a_dated_source_needs_its_day(engine):
    engine.source = "tickets"
    assert run("sync_tickets").tasks["plan"] == "failed"
    assert engine.requests == []
    assert run("sync_tickets", {"day": "2026-10-05"}).state == "success"
    assert [str(asked.day) for asked in engine.requests] == ["2026-10-05"]


def test_invalid_values_in_the_run_configuration_start_nothing(engine):
    from airflow.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError, match="prefix"):
        run("sync_sample", {"prefix": "/etc"})
    assert run("sync_sample", {"dryrun": True}).tasks["plan"] == "failed"
    assert (engine.requests, engine.previews) == ([], [])

"""The sync DAGs as Airflow sees them: what is there, house policy, import cost, stable serialisation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import config

ROOT = Path(__file__).resolve().parents[2]
SOURCES = config.load(ROOT).sources
DAG_IDS = sorted(f"sync_{name}" for name in SOURCES)
STAGES = ["shard.prepare", "shard.validate", "shard.embed", "shard.publish"]
HEAVY = {
    "torch", "transformers", "great_expectations", "unstructured", "pandas", "boto3", "botocore", "psycopg", "pyarrow",
    "numpy", "openvino", "tokenizers", "sqlalchemy", "fastapi", "moto", "rich", "kubernetes", "celery",
}  # fmt: skip


def local_settings() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "airflow_settings.yaml").read_text(encoding="utf-8"))["airflow"])


def test_every_source_has_its_dag(bag):
    assert bag.import_errors == {}
    assert sorted(name for name in bag.dags if name.startswith("sync_")) == DAG_IDS != []


@pytest.mark.parametrize("dag_id", DAG_IDS)
class TestPolicy:
    def test_a_person_finds_owner_tags_and_triage_notes(self, bag, dag_id):
        dag = bag.dags[dag_id]
        assert {"millrace", "sync", f"source:{dag_id.removeprefix('sync_')}"} <= set(dag.tags)
        assert dag.description
        assert "docs/runbook.md" in dag.doc_md
        assert "section *sync*" in dag.doc_md
        assert "## sync" in (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
        for task in dag.tasks:
            assert task.owner == "millrace"
            assert f"| `{task.task_id.split('.')[-1]}" in dag.doc_md, f"{task.task_id} has no triage note"
        for param in dag.params.values():
            assert param.value in (None, False), "a scheduled run needs defaults that do the plain thing"

    def test_tasks_retry_by_error_class_and_cannot_hang_for_ever(self, bag, dag_id):
        for task in bag.dags[dag_id].tasks:
            assert task.retries >= 1
            assert type(task.retry_policy).__name__ == "ExceptionRetryPolicy"
            assert task.execution_timeout.total_seconds() > 0

    def test_only_tasks_that_compute_vectors_need_the_gpu_workers(self, bag, dag_id):
        pools = {entry["pool_name"] for entry in local_settings()["pools"]} | {"default_pool"}
        for task in bag.dags[dag_id].tasks:
            expected = ("gpu", "gpu") if task.task_id in {"shard.embed", "catch_up"} else ("default", "default_pool")
            assert (task.queue, task.pool) == expected
            assert task.pool in pools

    def test_settle_always_runs_and_is_the_only_leaf(self, bag, dag_id):
        dag = bag.dags[dag_id]
        assert [task.task_id for task in dag.leaves] == ["settle"]
        assert [task.task_id for task in dag.roots] == ["plan"]
        assert dag.get_task("settle").trigger_rule == "all_done"
        assert {task.trigger_rule for task in dag.tasks if task.task_id not in {"settle", "catch_up"}} == {"all_success"}
        assert dag.get_task("settle").upstream_task_ids == {"plan", "shard.publish", "catch_up"}
        assert dag.get_task("catch_up").upstream_task_ids == {"shard.publish"}  # not plan: skipped with the shards

    def test_each_shard_goes_through_the_four_stages_in_order(self, bag, dag_id):
        from airflow.sdk.definitions.taskgroup import MappedTaskGroup

        dag = bag.dags[dag_id]
        assert isinstance(dag.task_group.children["shard"], MappedTaskGroup)
        assert sorted(dag.task_ids) == sorted(["plan", "catch_up", "settle", *STAGES])
        for earlier, later in zip(STAGES, STAGES[1:], strict=False):
            assert dag.get_task(later).upstream_task_ids >= {earlier}
        for task_id in STAGES:
            assert "label" in dag.get_task(task_id).map_index_template

    def test_the_serialised_dag_is_the_same_at_each_parse_and_small(self, bag, dag_id):
        from airflow.dag_processing.dagbag import DagBag
        from airflow.serialization.serialized_objects import DagSerialization

        again = DagBag(dag_folder=ROOT / "dags").dags[dag_id]
        first, second = (json.dumps(DagSerialization.to_dict(dag), sort_keys=True) for dag in (bag.dags[dag_id], again))
        assert first == second
        assert len(first) < 100_000


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_dated_sources_work_on_intervals_and_the_others_one_run_at_a_time(bag, name):
    source, dag = SOURCES[name], bag.dags[f"sync_{name}"]
    expected = "CronDataIntervalTimetable" if source.dated else "CronTriggerTimetable"
    assert type(dag.timetable).__name__ == (expected if source.schedule else "NullTimetable")
    assert dag.max_active_runs == (3 if source.dated else 1)
    assert dag.catchup is False
    assert dag.start_date.date() == source.start_date
    assert ("day" in dag.params) is source.dated
    assert not any(task.depends_on_past for task in dag.tasks)


def test_the_local_stack_knows_every_connection_that_the_dags_use():
    from millrace_airflow.connections import connection_ids

    known = {entry["conn_id"] for entry in local_settings()["connections"]}
    assert set(connection_ids(config.load(ROOT))) <= known


def parse(tmp_path: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter as Airflow's processes do: dags and plugins on the path."""
    paths = [str(ROOT / "dags"), str(ROOT / "plugins"), str(ROOT)]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )


def test_parsing_every_dag_file_and_the_plugin_loads_nothing_heavy(tmp_path):
    files = sorted(path.stem for path in (ROOT / "dags").glob("*.py"))
    code = (
        "import sys, json, importlib, airflow.sdk, airflow.plugins_manager\n"
        "before = set(sys.modules)\n"
        f"[importlib.import_module(name) for name in {[*files, 'millrace_plugin']!r}]\n"
        # what Airflow itself has begun to load is Airflow's: its asset schedules read one more module of sqlalchemy
        "known = {name.split('.')[0] for name in before}\n"
        "print(json.dumps(sorted(n for n in set(sys.modules) - before if n.split('.')[0] not in known - {'pipelines'})))"
    )
    done = parse(tmp_path, code)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "millrace_airflow" in loaded
    assert not {name.split(".")[0] for name in loaded} & HEAVY
    assert not loaded & {"pipelines.stages.plan", "pipelines.context", "pipelines.sources", "pipelines.store"}


def project(tmp_path: Path, sources: str) -> Path:
    """A project folder with other sources."""
    folder = tmp_path / "project/include/config"
    folder.mkdir(parents=True)
    for file in (ROOT / "include/config").glob("*.yaml"):
        (folder / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "sources.yaml").write_text(sources, encoding="utf-8")
    return tmp_path / "project"


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ("sources: {docs: {kind: folder, path: /srv, schedul: '0 * * * *'}}", "unknown key; did you mean 'schedule'?"),
        ("sources: {docs: {kind: folder}}", "sources.docs.path: missing; add it"),
        ("sources: [", "not valid YAML"),
    ],
)
def test_a_broken_sources_file_is_one_line_that_names_file_key_and_remedy(bag, tmp_path, monkeypatch, sources, said):
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("MILLRACE_PROJECT", str(project(tmp_path, sources)))
    broken = DagBag(dag_folder=ROOT / "dags")
    assert not any(name.startswith("sync_") for name in broken.dags)
    assert any(path.endswith("sync.py") for path in broken.import_errors)
    for shown in broken.import_errors.values():
        last = shown.strip().splitlines()[-1]
        assert last.startswith("pipelines.errors.FixConfiguration: ")
        assert "sources.yaml" in last
        assert said in last


def test_a_new_source_is_a_new_dag_without_touching_python(tmp_path, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag

    daily = "{kind: folder, path: '/srv/{{ ds }}', schedule: '0 0 * * *'}"
    entries = f"sources: {{manual: {{kind: folder, path: /srv/docs}}, daily: {daily}}}"
    monkeypatch.setenv("MILLRACE_PROJECT", str(project(tmp_path, entries)))
    found = DagBag(dag_folder=ROOT / "dags")
    assert found.import_errors == {}
    assert sorted(name for name in found.dags if name.startswith("sync_")) == ["sync_daily", "sync_manual"]
    assert "day" in found.dags["sync_daily"].params
    assert found.dags["sync_manual"].timetable.can_be_scheduled is False
    assert "runs when triggered" in (found.dags["sync_manual"].doc_md or "")


def test_a_worker_builds_only_the_dag_it_runs(tmp_path):
    code = "import sync; print(sorted(name for name in vars(sync) if name.startswith('sync_')))"
    done = parse(tmp_path, code, _AIRFLOW_PARSING_CONTEXT_DAG_ID=DAG_IDS[0])
    assert done.stdout.splitlines()[-1] == repr([DAG_IDS[0]]), done.stderr

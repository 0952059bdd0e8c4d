"""The whole embedded stack, with a real Airflow: up, up again, settings loaded, a run, down without leftovers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pipelines import config
from pipelines.connections import LocalConnections, postgres_dsn
from pipelines.embedded import stack
from pipelines.embedded.airflow import healthy
from pipelines.embedded.identity import processes_in
from pipelines.errors import FixConfiguration

pytestmark = [pytest.mark.airflow, pytest.mark.integration, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 180
DAG = """
from airflow.sdk import Connection, Variable, dag, task

@dag(schedule=None, catchup=False)
def probe():
    @task
    def look():
        import pipelines.config
        connection = Connection.get("millrace_s3")
        assert Variable.get("shade") == "green"
        return f"{connection.extra_dejson['endpoint_url']} {pipelines.config.project_root()}"
    look()

probe()
"""
SETTINGS = """
airflow:
  connections:
    - {conn_id: millrace_s3, conn_type: aws, conn_extra: '{"region_name": "eu-central-1"}'}
    - {conn_id: elsewhere, conn_type: http, conn_host: example.org}
  pools:
    - {pool_name: gpu, pool_slot: 1}
  variables:
    - {variable_name: shade, variable_value: green}
"""


@pytest.fixture
def settings() -> Iterator[config.Settings]:
    """A project of its own, so that a developer's running stack is left alone."""
    root = Path(tempfile.mkdtemp(prefix="millrace-stack-"))
    root.chmod(0o711)
    shutil.copytree(ROOT / "include", root / "include")
    for folder in ("dags", "plugins"):
        (root / folder).mkdir()
    (root / "dags/probe.py").write_text(DAG)
    (root / "airflow_settings.yaml").write_text(SETTINGS)
    settings = config.load(ROOT).model_copy(update={"root": root, "home": root / ".millrace"})
    yield settings
    stack.down(settings, lambda line: None)
    shutil.rmtree(root, ignore_errors=True)


def test_up_twice_run_a_dag_and_down(settings: config.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    services = stack.up(settings, said.append)
    first = stack.status(settings)
    assert all(entry["running"] for entry in first["services"].values())
    assert healthy(first["health"])

    began = time.monotonic()
    stack.up(settings, said.append)
    assert time.monotonic() - began < 20
    assert stack.status(settings)["services"] == first["services"]

    assert run_probe(services) == f"{services.bucket.endpoint} {settings.root}"
    the_users_airflow_command_works(settings)
    the_command_line_finds_the_services(settings, monkeypatch)

    assert stack.down(settings, said.append)
    assert not stack.down(settings, said.append)
    assert not any(entry["running"] for entry in stack.status(settings)["services"].values())
    for folder in ("run", "postgres", "airflow-db"):
        assert processes_in(settings.home / folder) == []


def run_probe(services: stack.Stack) -> str:
    """Trigger the probe DAG and return what its task saw."""
    client = services.airflow.client()
    try:
        deadline = time.monotonic() + RUN_SECONDS
        while client.dag("probe") is None and time.monotonic() < deadline:
            time.sleep(0.2)
        run_id = client.trigger("probe", {"any": "conf"})
        client.unpause("probe")
        while (state := client.dag_run("probe", run_id)["state"]) not in {
            "success",
            "failed",
        } and time.monotonic() < deadline:
            time.sleep(0.2)
        assert state == "success"
        assert [task["state"] for task in client.task_instances("probe", run_id)] == ["success"]
    finally:
        client.close()
    with psycopg.connect(services.airflow.metadata.dsn("airflow")) as connection:
        row = connection.execute("SELECT value FROM xcom WHERE run_id = %s AND key = 'return_value'", (run_id,)).fetchone()
    assert row is not None
    return str(json.loads(row[0]) if isinstance(row[0], str) and row[0].startswith('"') else row[0])


def the_users_airflow_command_works(settings: config.Settings) -> None:
    environment = {"AIRFLOW_HOME": str(settings.home / "airflow"), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "airflow", "connections", "get", "elsewhere", "-o", "json"]
    done = subprocess.run(command, env=environment, cwd=settings.home, capture_output=True, text=True, check=True)
    assert "example.org" in done.stdout


def the_command_line_finds_the_services(settings: config.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AIRFLOW_CONN_")]:
        monkeypatch.delenv(name)
    dsn = postgres_dsn(LocalConnections(settings)[settings.database])
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM millrace.run").fetchone() == (0,)


def test_bad_settings_file_stops_before_anything_starts(settings: config.Settings) -> None:
    (settings.root / "airflow_settings.yaml").write_text("airflow:\n  variables:\n  - {variable_nam: x}\n")
    with pytest.raises(FixConfiguration, match="variable_nam"):
        stack.up(settings, lambda line: None)
    assert not settings.home.exists()

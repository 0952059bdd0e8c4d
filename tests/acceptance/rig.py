"""A whole stack with a project folder and a state of its own, and the commands that its user gives."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import yaml

from pipelines import config
from pipelines.embedded import stack
from pipelines.embedded.airflow_client import AirflowClient
from pipelines.embedded.airflow_home import DATABASE

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600
PROBE = '''
from airflow.sdk import Connection, Variable, dag, task

@dag(schedule=None, catchup=False)
def probe():
    """What a task of the embedded Airflow sees."""
    @task
    def look():
        import pipelines.config
        endpoint = Connection.get("millrace_s3").extra_dejson["endpoint_url"]
        return f"{endpoint} {pipelines.config.project_root()} {Variable.get('shade')}"
    look()

probe()
'''


class Rig:
    """The stack of a project folder that nobody else uses, and the commands of its user."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = config.load(ROOT).model_copy(update={"root": root, "home": root / ".millrace"})
        self.services = stack.stack(self.settings)
        self.said: list[str] = []  # by the killed start and by the one after it

    def millrace(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command `millrace`, in a process of its own."""
        command = [sys.executable, "-m", "pipelines.cli", *arguments]
        return subprocess.run(command, env=self.environment(), cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)

    def airflow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Airflow's own command, as the runbook has a user call it; must succeed."""
        command = [sys.executable, "-m", "airflow", *arguments]
        environment = {"AIRFLOW_HOME": str(self.settings.home / "airflow"), "PATH": os.environ["PATH"]}
        done = subprocess.run(command, env=environment, cwd=self.root, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def run(self, dag_id: str, **conf: object) -> tuple[str, str]:
        """Trigger a DAG and wait for its end: run id and state."""
        with closing(self.client()) as client:
            self.until(lambda: client.dag(dag_id) is not None)
            client.unpause(dag_id)
            run_id = client.trigger(dag_id, conf)
            self.until(lambda: client.dag_run(dag_id, run_id)["state"] in {"success", "failed"})
            return run_id, str(client.dag_run(dag_id, run_id)["state"])

    def task_log(self, dag_id: str, run_id: str, task_id: str, attempt: int = 1) -> str:
        """The log file of an unmapped task."""
        folder = self.settings.home / "airflow/logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return (folder / f"attempt={attempt}.log").read_text()

    def client(self) -> AirflowClient:
        """A client of the running Airflow; the caller closes it."""
        return self.services.airflow.client()

    def metadata(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of Airflow's own database."""
        with psycopg.connect(self.services.airflow.metadata.dsn(DATABASE)) as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def corpus(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of the corpus database."""
        with psycopg.connect(self.services.dsn, options="-c search_path=millrace,public") as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def until(self, done: Callable[[], bool]) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + SECONDS
        while not done():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {SECONDS} s; unfinished tasks: {self.unfinished()}\n{self.logged()}")
            time.sleep(0.3)

    def unfinished(self) -> list[tuple[Any, ...]]:
        """DAG, task, state, attempt and queue of every task that has neither succeeded nor been skipped."""
        return self.metadata(
            "SELECT dag_id, task_id, state, try_number, queue FROM task_instance"
            " WHERE state IS NULL OR state NOT IN ('success', 'skipped') ORDER BY dag_id, task_id"
        )

    def logged(self, lines: int = 15) -> str:
        """The end of every process's log."""
        logs = sorted((self.settings.home / "logs").glob("*.log"))
        ends = ((log.name, log.read_text(errors="replace").splitlines()[-lines:]) for log in logs)
        return "\n".join("\n".join((f"--- {name}", *end)) for name, end in ends)

    def environment(self) -> dict[str, str]:
        """What selects this project for a command."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
        return {**kept, "MILLRACE_PROJECT": str(self.root), "MILLRACE_HOME": str(self.settings.home)}

    def start(self) -> None:
        """Kill a first `millrace up` while it migrates Airflow's database, then start everything."""
        command = [sys.executable, "-m", "pipelines.cli", "up"]
        process = subprocess.Popen(command, env=self.environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                self.said.append(line.strip())
                if line.startswith("preparing Airflow"):
                    break
            process.send_signal(signal.SIGKILL)
        stack.up(self.settings, self.said.append)


def project(root: Path) -> None:
    """A copy of the project's data, DAGs and settings, with a probe DAG, a connection and a variable of its own."""
    root.chmod(0o711)  # as root, the database runs as an account that has to reach it
    for folder in ("include", "dags", "plugins"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "dags/probe.py").write_text(PROBE)
    with (root / "include/config/sources.yaml").open("a") as sources:
        sources.write("\n  shelf: {kind: folder, path: shelf, collection: knowledge}\n")
    settings = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text())
    settings["airflow"]["connections"].append({"conn_id": "elsewhere", "conn_type": "http", "conn_host": "example.org"})
    settings["airflow"]["variables"].append({"variable_name": "shade", "variable_value": "green"})
    (root / "airflow_settings.yaml").write_text(yaml.safe_dump(settings))
    cache = ROOT / ".millrace/cache"
    if cache.is_dir():  # the converted model, which takes half a minute to make
        shutil.copytree(cache, root / ".millrace/cache")

"""The whole embedded stack in a temporary home: real Airflow, real scheduler, real tasks."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from bench.rig import ROOT, Ran, millrace
from pipelines import config
from pipelines.embedded import stack
from pipelines.embedded.bucket import BUCKET, client

SECONDS = 300


class AirflowRig:
    """`with AirflowRig() as rig`: everything is up and empty; `rig.sync(dag)` triggers a run and waits for it."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="millrace-bench-"))
        self.home.chmod(0o711)
        self.settings = config.load(ROOT).model_copy(update={"home": self.home})

    def __enter__(self) -> Self:
        cache = ROOT / ".millrace/cache"
        if cache.is_dir():
            shutil.copytree(cache, self.home / "cache")
        self.stack = stack.up(self.settings, lambda _: None)
        self.client = self.stack.airflow.client()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        stack.down(self.settings, lambda _: None)
        shutil.rmtree(self.home, ignore_errors=True)

    def sync(self, dag_id: str, **conf: Any) -> str:
        """Trigger one run by the API and wait until it succeeded; returns its run id."""
        self._await_dag(dag_id)
        run_id = self.client.trigger(dag_id, conf)
        state, until = "queued", time.monotonic() + SECONDS
        while state in {"queued", "running"} and time.monotonic() < until:
            time.sleep(0.2)
            state = str(self.client.dag_run(dag_id, run_id)["state"])
        if state != "success":
            raise RuntimeError(f"{dag_id} {run_id} ended as {state}")
        return run_id

    def put(self, key: str, body: bytes) -> None:
        """Write one object into the sample bucket."""
        client(self.stack.bucket.endpoint).put_object(Bucket=BUCKET, Key=key, Body=body)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of a read-only statement of the bench."""
        with psycopg.connect(self.stack.dsn, options="-c search_path=millrace,public") as conn:
            return conn.execute(statement.encode()).fetchall()

    def millrace(self, *arguments: str) -> Ran:
        """Run the command in a fresh process against this stack."""
        return millrace({**os.environ, "MILLRACE_PROJECT": str(ROOT), "MILLRACE_HOME": str(self.home)}, arguments)

    def _await_dag(self, dag_id: str) -> None:
        until = time.monotonic() + SECONDS
        while (dag := self.client.dag(dag_id)) is None:
            if time.monotonic() > until:
                raise RuntimeError(f"{dag_id} was not parsed: {self.client.import_errors()}")
            time.sleep(0.5)
        if dag["is_paused"]:
            self.client.unpause(dag_id)
            self._await_idle(dag_id)

    def _await_idle(self, dag_id: str) -> None:
        """The scheduler may start a run of its own as soon as a DAG is unpaused."""
        time.sleep(3)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            [(running,)] = self.query("SELECT count(*) FROM run WHERE state = 'running'")
            if not running:
                return
            time.sleep(0.5)

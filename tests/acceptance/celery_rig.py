"""The same stack under CeleryExecutor: a broker, one worker of queue `default` without an embedding engine, one of `gpu`.

Only the scheduler is started anew; API server, dag-processor and triggerer do not depend on the executor.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import redis

from pipelines.embedded.airflow import READY_SECONDS
from pipelines.embedded.ports import free_port
from pipelines.embedded.process import Detached
from tests.acceptance.rig import ROOT, Rig

BROKER = "redis-server"
DOCUMENTS = 24
AIRFLOW = (sys.executable, "-m", "airflow")
# sitecustomize.py of a machine without the extra `models`.
WITHOUT_MODELS = """
from importlib.machinery import PathFinder

MODELS = {"openvino", "torch", "transformers", "sentence_transformers", "safetensors"}
anything = PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda cls, name, *rest: None if name.partition(".")[0] in MODELS else anything(name, *rest)
)
"""


class CeleryRig:
    """Broker, scheduler and workers as processes of their own beside the rig's stack."""

    def __init__(self, rig: Rig) -> None:
        if shutil.which(BROKER) is None:
            told = f"{BROKER} is not installed; on Debian: apt-get install {BROKER}"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(told)
        self.rig = rig
        self.port = free_port(6390)
        self.broker = Detached(rig.settings.home, "redis")
        self.scheduler = rig.services.airflow.processes["scheduler"]
        self.workers: dict[str, Detached] = {}
        self.bare = rig.settings.home / "without-models"
        self.bare.mkdir(parents=True)
        (self.bare / "sitecustomize.py").write_text(WITHOUT_MODELS)

    def start(self) -> None:
        """Broker and scheduler; the workers are the tests' own."""
        command = [BROKER, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.broker.start(command, os.environ)
        self.broker.await_ready(self._answers, READY_SECONDS)
        self._schedule(self.environment())

    def worker(self, queue: str, *, models: bool, name: str = "") -> None:
        """Start a worker of one queue, as compose.yaml does."""
        name = name or queue
        path = [str(ROOT)] if models else [str(self.bare), str(ROOT)]
        process = self.workers.setdefault(name, Detached(self.rig.settings.home, f"worker-{name}"))
        command = [*AIRFLOW, "celery", "worker", "--queues", queue, "--concurrency", "2" if queue == "default" else "1"]
        # No --celery-hostname: Airflow then asks who else is there over connections that it must not keep when the worker
        # forks, and where that fails tasks are received and never run. So Celery has one name for all workers here.
        command += ["--skip-serve-logs"]
        process.start(command, self.environment() | {"PYTHONPATH": os.pathsep.join(path)})

    def await_workers(self) -> None:
        """Wait until every started worker has said that it is ready."""
        for name, process in self.workers.items():
            if process.running():
                process.await_ready(partial(self._listens, name), READY_SECONDS)

    def end(self, name: str) -> None:
        """End a worker that has nothing to do."""
        self.workers[name].stop(2.0)

    def kill(self, name: str) -> None:
        """SIGKILL a worker with everything it started, as a machine that loses power."""
        process = self.workers[name]
        members = process.members()
        assert len(members) > 1, "the worker runs no task"
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End workers and broker; the scheduler runs as before."""
        for name in self.workers:
            self.end(name)
        self._schedule(self.rig.services.airflow.environment())
        self.broker.stop()

    def environment(self) -> dict[str, str]:
        """What scheduler and workers see; compose.yaml sets the same options."""
        return self.rig.services.airflow.environment() | {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{self.port}/0",
            "AIRFLOW__CELERY__SYNC_PARALLELISM": "1",
            # A lost worker is noticed within seconds here; in production minutes do.
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        }

    def log(self, name: str) -> str:
        """All that a worker has written."""
        return self.workers[name].log.read_text(errors="replace")

    def _listens(self, name: str) -> bool:
        return " ready." in self.log(name)

    def _schedule(self, environment: dict[str, str]) -> None:
        self.scheduler.stop()
        self.scheduler.start([*AIRFLOW, "scheduler", "--skip-serve-logs"], environment)

    def _answers(self) -> bool:
        with redis.Redis(port=self.port) as client, suppress(redis.exceptions.ConnectionError):
            return bool(client.ping())
        return False


def shelf(root: Path) -> int:
    """Fill the folder of source `shelf`; how many documents it holds."""
    folder = root / "shelf"
    folder.mkdir(exist_ok=True)
    texts = [
        f"# Rule {number}\n\nRule {number} of the house: every visitor of floor {number} signs the book.\n"
        for number in range(1, 25)
    ]
    for number, text in enumerate(texts):
        (folder / f"rule-{number:02}.md").write_text(text)
    return len(texts)

"""The embedded Airflow: api-server, scheduler, dag-processor and triggerer, each a detached process of its own.

Not `airflow standalone`, which leaves orphans when it is ended. Its metadata lives in a Postgres cluster of its own, so that
neither Airflow's load nor a reset of it touches the corpus. This module runs Airflow's programs and never imports Airflow.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import psycopg

from pipelines.config import Settings
from pipelines.embedded.airflow_client import COMPONENTS, AirflowClient
from pipelines.embedded.airflow_home import DATABASE, PORT, AirflowHome
from pipelines.embedded.environment import service_environment
from pipelines.embedded.ports import free_port
from pipelines.embedded.postgres import Postgres
from pipelines.embedded.process import Detached
from pipelines.errors import Retry

SERVICES: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
READY_SECONDS = 180
GRACE_SECONDS = {"triggerer": 3.0}  # waits ten seconds for triggers, which start again from the database anyway


class Airflow:
    """One embedded Airflow below `settings.home`."""

    def __init__(self, settings: Settings, port: int = PORT) -> None:
        self.settings = settings
        self.preferred = port
        self.home = AirflowHome(settings)
        self.metadata = Postgres(settings.home / "airflow-db")
        self.processes = {name: Detached(settings.home, name) for name in SERVICES}

    @property
    def url(self) -> str:
        """The UI's address."""
        return f"http://localhost:{self.home.port}"

    def client(self) -> AirflowClient:
        """A client of the API server; close it after use."""
        return AirflowClient(f"http://127.0.0.1:{self.home.port}", self.home.login)

    def prepare(self, say: Callable[[str], None]) -> None:
        """Metadata database, airflow.cfg and schema; chooses the port unless the API server already runs."""
        self.metadata.start()
        self.metadata.ensure_database(DATABASE)
        port = self.home.port
        if not self.processes["api-server"].running():
            self.processes["api-server"].stop()
            port = free_port(self.preferred)
            if port != self.preferred:
                say(f"port {self.preferred} is taken; Airflow listens on {port}")
        self._keep_port(port)
        self.home.write(self.metadata, port)
        self._migrate(say)

    def start(self, *names: str) -> None:
        """Start these services unless they run."""
        for name in names:
            self.processes[name].start([*_airflow(), *SERVICES[name]], self.environment())

    def await_api(self, client: AirflowClient) -> None:
        """Wait until UI and API answer."""
        self.processes["api-server"].await_ready(lambda: bool(client.health()), READY_SECONDS)

    def await_healthy(self, client: AirflowClient) -> None:
        """Wait until every component has reported a heartbeat."""
        self.processes["scheduler"].await_ready(lambda: healthy(client.health()), READY_SECONDS)

    def stop(self) -> bool:
        """End all services, then their database; False when nothing ran."""
        server = self.processes["api-server"]
        others = [process for process in self.processes.values() if process is not server]
        with ThreadPoolExecutor() as pool:  # the server last: tasks that are just ending report to it
            stopped = list(pool.map(lambda process: process.stop(GRACE_SECONDS.get(process.name, 15.0)), others))
        stopped.append(server.stop())
        running = self.metadata.running()
        self.metadata.stop()
        return any(stopped) or running

    def environment(self) -> dict[str, str]:
        """What the services, and the tasks they run, see."""
        return service_environment(
            AIRFLOW_HOME=str(self.home.folder),
            MILLRACE_PROJECT=str(self.settings.root),
            MILLRACE_HOME=str(self.settings.home),
            TOKENIZERS_PARALLELISM="false",
            TQDM_DISABLE="1",
        )

    def _keep_port(self, port: int) -> None:
        """Services that talk to another port than the API server's are ended, to be started with the new one."""
        if port == self.home.port:
            return
        for process in self.processes.values():
            process.stop()

    def _migrate(self, say: Callable[[str], None]) -> None:
        """`airflow db migrate`, skipped when the database has the schema of this very version (it costs ten seconds)."""
        wanted = version("apache-airflow-core")
        if self.home.migrated == (wanted, self._revision() or "none"):
            return
        say(f"preparing Airflow {wanted}'s database")
        log = self.settings.home / "logs" / "db-migrate.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as handle:
            done = subprocess.run(
                [*_airflow(), "db", "migrate"],
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                cwd=self.home.folder,
                check=False,
            )
        revision = self._revision()
        if done.returncode or revision is None:
            raise Retry(f"airflow db migrate failed ({done.returncode}); see {log}")
        self.home.remember(version=wanted, revision=revision)

    def _revision(self) -> str | None:
        with psycopg.connect(self.metadata.dsn(DATABASE)) as connection:
            try:
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            except psycopg.errors.UndefinedTable:
                return None
        return str(row[0]) if row else None


def healthy(health: dict[str, str]) -> bool:
    """Whether every component reports a recent heartbeat."""
    return all(health.get(name) == "healthy" for name in COMPONENTS)


def _airflow() -> list[str]:
    program = Path(sys.executable).with_name("airflow")
    return [sys.executable, str(program)] if program.exists() else [sys.executable, "-m", "airflow"]

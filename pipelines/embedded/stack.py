"""The whole embedded stack: corpus database, sample bucket, Airflow; started, stopped and looked at as one.

`up` starts what is missing and is safe to repeat, to interrupt and to run twice at once. Nothing here is used in production,
where the same connections point at services that somebody else runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines.config import Settings
from pipelines.embedded import backup, settings_file
from pipelines.embedded.airflow import SERVICES, Airflow
from pipelines.embedded.airflow_home import Login
from pipelines.embedded.backup import Restored
from pipelines.embedded.bucket import ACCESS_KEY, REGION, SECRET_KEY, Bucket, fill
from pipelines.embedded.files import locked, read_json, write_json
from pipelines.embedded.postgres import Postgres
from pipelines.embedded.process import Detached, end_strays
from pipelines.errors import FixConfiguration
from pipelines.quality.validator import Validator
from pipelines.store.database import migrate

DATABASE = "millrace"
LOCK_SECONDS = 300
Say = Callable[[str], None]


@dataclass(frozen=True)
class Stack:
    """The services of one project folder, running or not."""

    settings: Settings
    postgres: Postgres
    bucket: Bucket
    airflow: Airflow

    @property
    def dsn(self) -> str:
        """The corpus database."""
        return self.postgres.dsn(DATABASE)

    @property
    def url(self) -> str:
        """Airflow's UI."""
        return self.airflow.url

    @property
    def login(self) -> Login:
        """Who enters the UI."""
        return self.airflow.home.login()

    @property
    def processes(self) -> dict[str, Detached]:
        """The detached processes by name; Postgres has a pid file of its own."""
        return {"bucket": self.bucket.process, **self.airflow.processes}


def stack(settings: Settings) -> Stack:
    """The stack of these settings; starts nothing."""
    return Stack(settings, Postgres(settings.home / "postgres"), Bucket(settings.home), Airflow(settings))


def up(settings: Settings, say: Say) -> Stack:
    """Start what does not run, load airflow_settings.yaml and wait until every service is healthy.

    Raises FixConfiguration for a wrong file and Retry for a service that does not come up, each naming its log.
    """
    began = time.monotonic()
    entries = settings_file.read(settings.root / settings_file.NAME)
    with locked(settings.home / "up.lock", LOCK_SECONDS):
        services = stack(settings)
        for note in filter(None, (services.postgres.placement.note,)):
            say(note)
        _end_strays(services, say)
        _start(services, entries, say)
    say(f"everything is up after {time.monotonic() - began:.0f} s")
    return services


def down(settings: Settings, say: Say) -> bool:
    """End every service; False when nothing ran. Data stays."""
    with locked(settings.home / "up.lock", LOCK_SECONDS):
        services = stack(settings)
        with ThreadPoolExecutor() as pool:
            airflow, bucket = pool.submit(services.airflow.stop), pool.submit(services.bucket.stop)
            stopped = [airflow.result(), bucket.result()]
        stopped.append(services.postgres.running())
        services.postgres.stop()
        Validator(settings.root / "include/expectations", settings.home / "validator").stop()
        _end_strays(services, say)
    say("stopped" if any(stopped) else "nothing was running")
    return any(stopped)


def restore(settings: Settings, folder: Path, until: datetime | None) -> Restored:
    """Bring the corpus database back from a backup folder; it is stopped afterwards.

    Raises FixConfiguration while anything runs that could write, or when there is no fitting backup.
    """
    with locked(settings.home / "up.lock", LOCK_SECONDS):
        services = stack(settings)
        if services.postgres.running() or any(_pids(services).values()):
            raise FixConfiguration("services are running that may write to the database; run `millrace down` first")
        try:
            return backup.restore(services.postgres, DATABASE, folder, until)
        finally:
            services.postgres.stop()


def status(settings: Settings) -> dict[str, Any]:
    """What runs: per service `running` and `pid`, Airflow's `health`, and where everything is."""
    services = stack(settings)
    client = services.airflow.client()
    try:
        health = client.health()
    finally:
        client.close()
    processes = {name: {"running": pid is not None, "pid": pid} for name, pid in _pids(services).items()}
    return {
        "services": {
            "postgres": {"running": services.postgres.running(), "pid": services.postgres.pid()},
            "airflow-db": {"running": services.airflow.metadata.running(), "pid": services.airflow.metadata.pid()},
            **processes,
        },
        "health": health,
        "url": services.url,
        "endpoint": services.bucket.endpoint,
        "dsn": services.dsn,
        "logs": str(settings.home / "logs"),
    }


def effective_connections(services: Stack, entries: settings_file.Entries) -> dict[str, dict[str, Any]]:
    """The file's connections, those of the embedded services pointing at what runs."""
    overrides: dict[str, dict[str, Any]] = {
        services.settings.database: {
            "conn_type": "postgres",
            "host": str(services.postgres.sockets),
            "port": services.postgres.port,
            "login": "postgres",
            "schema": DATABASE,
        },
        "millrace_s3": {
            "conn_type": "aws",
            "login": ACCESS_KEY,
            "password": SECRET_KEY,
            "extra": {"region_name": REGION, "endpoint_url": services.bucket.endpoint},
        },
    }
    return settings_file.connections(entries, overrides)


def _start(services: Stack, entries: settings_file.Entries, say: Say) -> None:
    """Stores and API server in parallel; the rest at once when Airflow already has the right connections, else after."""
    known = services.settings.home / "connections.json"
    with ThreadPoolExecutor() as pool:
        stores = [pool.submit(_start_database, services), pool.submit(_start_bucket, services, say)]
        pool.submit(_start_api, services, say).result()
        for store in stores:
            store.result()
    effective = effective_connections(services, entries)
    if read_json(known) == effective:
        services.airflow.start(*SERVICES)
    client = services.airflow.client()
    try:
        services.airflow.await_api(client)
        say(f"Airflow answers at {services.url}")
        settings_file.load(client, entries, effective, say)
        write_json(known, effective)
        services.airflow.start(*SERVICES)
        services.airflow.await_healthy(client)
    finally:
        client.close()


def _start_database(services: Stack) -> None:
    services.postgres.start()
    services.postgres.ensure_database(DATABASE)
    migrate(services.dsn)


def _start_bucket(services: Stack, say: Say) -> None:
    """The server fills itself before it listens; a running one gets what changed in include/sample since."""
    if not services.bucket.start(say, services.settings.root / "include/sample"):
        fill(services.bucket.endpoint, services.settings)


def _start_api(services: Stack, say: Say) -> None:
    services.airflow.prepare(say)
    services.airflow.start("api-server")


def _pids(services: Stack) -> Mapping[str, int | None]:
    return {name: process.pid() for name, process in services.processes.items()}


def _end_strays(services: Stack, say: Say) -> None:
    """A state folder that was deleted while its services ran leaves some."""
    owned = [pid for process in services.processes.values() for pid in process.members()]
    ended = end_strays(services.settings.home, owned)
    if ended:
        say(f"ended {ended} stale processes of an earlier start")

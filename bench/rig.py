"""A throw-away project with its own database and object store, driven through the real command line.

The bench's sources replace those of `include/config/sources.yaml`; everything else is the project's own configuration.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import yaml

from pipelines.config import Connection
from pipelines.connections import postgres_dsn
from pipelines.embedded.bucket import Bucket, client, make_bucket
from pipelines.embedded.postgres import Postgres
from pipelines.quality.validator import Validator
from pipelines.store.database import migrate

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Ran:
    """One finished command: its JSON, how long the whole process took, and its exit code."""

    value: Any
    seconds: float
    code: int
    stderr: str


class Rig:
    """`with Rig(sources) as rig`: a project folder under a temporary home; `rig.millrace(...)` runs a cold process."""

    def __init__(self, sources: dict[str, Any], *, bucket: str | None = None, embedder: str = "minilm") -> None:
        """`{folder}` in a source's path is the rig's folder; `embedder` is the packaged model or `hash`."""
        self._sources = sources
        self._bucket = bucket
        self._embedder = embedder
        self.folder = Path(tempfile.mkdtemp(prefix="millrace-bench-"))
        self.folder.chmod(0o711)
        self.home = self.folder / "home"
        self.home.mkdir(mode=0o711)
        self.postgres = Postgres(self.home / "pg")
        self.store = Bucket(self.home, port=0)

    def __enter__(self) -> Self:
        shutil.copytree(ROOT / "include/config", self.folder / "include/config")
        shutil.copytree(ROOT / "include/expectations", self.folder / "include/expectations")
        self._configure()
        self.postgres.start()
        self.postgres.ensure_database("millrace")
        migrate(self.postgres.dsn())
        if self._bucket:
            self.store.start()
            make_bucket(client(self.store.endpoint), self._bucket)
        self.use_store(self.store.endpoint)
        # The converted model is a cache that an installed project has; conversion is measured elsewhere.
        cache = ROOT / ".millrace/cache"
        if cache.is_dir():
            shutil.copytree(cache, self.home / "cache")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        cool(self.home)
        self.store.stop()
        self.postgres.discard()
        shutil.rmtree(self.folder, ignore_errors=True)

    def use_store(self, endpoint: str) -> None:
        """Point the commands at an object store, the rig's own or a proxy before it."""
        connections = {"millrace_postgres": _postgres_fields(self.postgres), "millrace_s3": _s3_fields(endpoint)}
        (self.home / "connections.json").write_text(json.dumps(connections))

    def _configure(self) -> None:
        sources = yaml.safe_dump({"sources": self._sources}).replace("{folder}", str(self.folder))
        (self.folder / "include/config/sources.yaml").write_text(sources)
        if self._embedder == "hash":
            models = {"models": {"hash": {"tier": "hash"}}, "collections": {"knowledge": {"model": "hash"}}}
            (self.folder / "include/config/models.yaml").write_text(yaml.safe_dump(models))

    def rows_written(self) -> int:
        """Rows of chunks, texts and vectors inserted, updated or deleted so far, by PostgreSQL's own count."""
        self.query("SELECT pg_stat_force_next_flush()")
        [(written,)] = self.query(
            "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_user_tables "
            "WHERE schemaname = 'millrace' AND (relname IN ('chunk', 'text', 'embedding_cache', 'document') "
            "OR relname LIKE 'space\\_%')"
        )
        return int(written)

    def s3(self) -> Any:
        """A client of the rig's object store."""
        return client(self.store.endpoint)

    def dsn(self) -> str:
        """The rig's corpus database."""
        return self.postgres.dsn()

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of a read-only statement of the bench."""
        with psycopg.connect(self.dsn(), options="-c search_path=millrace,public") as conn:
            return conn.execute(statement.encode()).fetchall()

    def millrace(self, *arguments: str, check: bool = True) -> Ran:
        """Run the command in a fresh process, timed from spawn to exit."""
        environment = {**os.environ, "MILLRACE_PROJECT": str(self.folder), "MILLRACE_HOME": str(self.home)}
        return millrace(environment, arguments, check=check)


def millrace(environment: Mapping[str, str], arguments: Sequence[str], *, check: bool = True) -> Ran:
    """Run `millrace … --json` in a fresh process, timed from spawn to exit."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments, "--json"],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - began
    if check and done.returncode:
        raise RuntimeError(f"millrace {' '.join(arguments)} exited {done.returncode}: {done.stderr[-2000:]}")
    return Ran(json.loads(done.stdout) if done.stdout.strip() else None, seconds, done.returncode, done.stderr)


def cool(home: Path) -> None:
    """End the validation worker that an earlier command left warm."""
    Validator(ROOT / "include/expectations", home / "validator").stop()


def _postgres_fields(server: Postgres) -> dict[str, Any]:
    parts = psycopg.conninfo.conninfo_to_dict(server.dsn())
    fields: dict[str, Any] = {
        "conn_type": "postgres",
        "host": parts["host"],
        "port": int(str(parts["port"])) if parts.get("port") else None,
        "login": parts.get("user"),
        "schema": parts["dbname"],
    }
    postgres_dsn(Connection(conn_id="millrace_postgres", **fields))  # raises here rather than in the first command
    return fields


def _s3_fields(endpoint: str) -> dict[str, Any]:
    return {
        "conn_type": "aws",
        "login": "millrace",
        "password": "millrace",
        "extra": {"endpoint_url": endpoint, "region_name": "eu-central-1"},
    }

"""A throw-away corpus for fault benches: its own PostgreSQL, stage files and sources, deterministic embedder, real suites.

Everything but the source, the embedder and the injected fault is the product's own code. `reset` gives an empty corpus in
about a tenth of a second, so that each fault starts from the same state.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from pipelines.config import (
    Chunking,
    Collection,
    Connection,
    DeleteGuard,
    FolderSource,
    Limits,
    Model,
    Settings,
    SourceConfig,
)
from pipelines.context import Context
from pipelines.embedded.postgres import Postgres
from pipelines.ports import Objects, Source
from pipelines.quality.validator import Validator
from pipelines.records import Accounting, SyncRequest
from pipelines.stages import sync
from pipelines.stages.pipeline import pipeline, space_of
from pipelines.store import audit
from pipelines.store.database import migrate

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "millrace-lab-"
TEMPLATE, CORPUS = "lab_template", "lab"
SOURCE, COLLECTION = "docs", "knowledge"


class LabContext(Context):
    """A Context whose sources, and stage files if given, are handed in instead of opened from the configuration."""

    sources: Mapping[str, Source] = {}

    def source(self, name: str, day: date | None = None) -> Source:
        """The handed-in source of this name, else the configured one."""
        return self.sources[name] if name in self.sources else super().source(name, day)


class Lab:
    """`with Lab() as lab: lab.reset(); lab.sync(source)`. `dsn` may point through a proxy; `durable` keeps fsync on."""

    def __init__(
        self,
        *,
        durable: bool = False,
        limits: Mapping[str, int] | None = None,
        guard: DeleteGuard | None = None,
        entries: Mapping[str, SourceConfig] | None = None,
        connections: Mapping[str, Connection] | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.folder.chmod(0o711)
        self.home = self.folder / "home"
        self.home.mkdir(mode=0o711)
        self.postgres = Postgres(self.folder / "pg", durable=durable)
        self.validator = Validator(ROOT / "include/expectations", self.folder / "validator")
        self.dsn = ""
        self._connections = dict(connections or {})
        default = {SOURCE: FolderSource(kind="folder", path="/nowhere", delete_guard=guard or DeleteGuard())}
        self.settings = Settings(
            root=ROOT,
            home=self.home,
            database="millrace_postgres",
            sources=dict(entries or default),
            chunking=Chunking(),
            models={"hash": Model(tier="hash")},
            collections={COLLECTION: Collection(model="hash")},
            limits=Limits(**dict(limits or {})),
        )

    def __enter__(self) -> Self:
        _sweep()
        self._owner = (self.folder / "owner.new").open("w")
        fcntl.flock(self._owner, fcntl.LOCK_EX)
        (self.folder / "owner.new").rename(self.folder / "owner")  # a lab that starts beside this one sees it locked
        self.postgres.start()
        self.postgres.ensure_database(TEMPLATE)
        migrate(self.postgres.dsn(TEMPLATE))
        self.validator.start()
        with self.context({}, self.postgres.dsn(TEMPLATE)) as ctx:
            space_of(ctx, pipeline(ctx, COLLECTION))
        self.dsn = self.postgres.dsn(CORPUS)
        self.reset()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.validator.stop()
        self.postgres.discard()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._owner.close()

    def reset(self, template: str = TEMPLATE) -> None:
        """An empty corpus (or a copy of `template`, made by `keep`) and no stage files."""
        self._copy(template, CORPUS)
        shutil.rmtree(self.home / "objects", ignore_errors=True)

    def keep(self, name: str) -> None:
        """Remember the corpus as it is now, for `reset(name)`; stage files are not kept. Nobody may be connected."""
        self._copy(CORPUS, name)

    def context(self, sources: Mapping[str, Source] | Source, dsn: str = "", objects: Objects | None = None) -> LabContext:
        """A Context on this corpus, or on `dsn`; a single source is the one called `docs`. Close it."""
        parts = conninfo_to_dict(dsn or self.dsn)
        database = Connection(
            conn_id="millrace_postgres",
            conn_type="postgres",
            host=str(parts["host"]),
            port=int(str(parts.get("port") or 5432)),
            login=str(parts["user"]),
            schema=str(parts["dbname"]),
        )
        ctx = LabContext(self.settings, {"millrace_postgres": database, **self._connections})
        ctx.sources = sources if isinstance(sources, Mapping) else {SOURCE: sources}
        ctx.__dict__["validator"] = self.validator
        if objects is not None:
            ctx.__dict__["objects"] = objects
        return ctx

    def sync(self, sources: Mapping[str, Source] | Source, *, dsn: str = "", **request: Any) -> Accounting:
        """One whole sync of `docs` in this process. Raises what the sync raises."""
        with self.context(sources, dsn) as ctx:
            return sync.run(ctx, SyncRequest(request.pop("source", SOURCE), **request))

    def fingerprint(self) -> str:
        """Of everything the corpus serves."""
        with self.context({}) as ctx:
            return audit.fingerprint(ctx.pool, COLLECTION)

    def findings(self) -> Sequence[audit.Finding]:
        """What the auditor finds now."""
        with self.context({}) as ctx:
            return audit.audit(ctx.pool)

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of a statement of the bench's own, committed; an empty list when it returns none."""
        with psycopg.connect(self.dsn, options="-c search_path=millrace,public") as conn:
            cursor = conn.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def _copy(self, template: str, name: str) -> None:
        """Replace database `name` by a copy of `template`."""
        with closing(psycopg.connect(self.postgres.dsn("postgres"), autocommit=True)) as conn:
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY wal_log")
            conn.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))


def _sweep() -> None:
    """Stop and remove the labs of benches that were killed: nobody holds the lock on their owner file."""
    for owner in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/owner"):
        with suppress(FileNotFoundError, BlockingIOError), owner.open("r+") as handle:  # another lab sweeps it, or owns it
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            Postgres(owner.parent / "pg", durable=False).discard()
            shutil.rmtree(owner.parent, ignore_errors=True)


def in_child(work: Callable[[], None]) -> int:
    """Fork, run `work`, and wait: its exit status (0 done, 1 raised), or minus the signal that ended it.

    The caller must hold no database connection and no thread. The child never returns into the caller's code.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

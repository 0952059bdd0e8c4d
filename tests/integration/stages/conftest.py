"""A project of one test: its own configuration, database, stage files and sources, driven through the stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from pipelines.config import Chunking, Collection, Connection, Limits, Model, Settings, SourcesFile, validate
from pipelines.context import Context
from pipelines.quality.validator import Validator
from pipelines.records import Accounting, SyncRequest
from pipelines.stages import sync

ROOT = Path(__file__).resolve().parents[3]
Make = Callable[..., Context]


@pytest.fixture(scope="session")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Validator]:
    """One validation worker for all tests: its import is what costs."""
    shared = Validator(ROOT / "include/expectations", tmp_path_factory.mktemp("validator"))
    yield shared
    shared.stop()


def database_connection(dsn: str) -> Connection:
    parts = conninfo_to_dict(dsn)
    return Connection(
        conn_id="millrace_postgres",
        conn_type="postgres",
        host=str(parts["host"]),
        port=int(str(parts.get("port") or 5432)),
        login=str(parts["user"]),
        schema=str(parts["dbname"]),
    )


@pytest.fixture
def make(dsn: str, tmp_path: Path, validator: Validator) -> Iterator[Make]:
    """`make({name: source entry}, limits={…}, …)` opens a Context on the deterministic embedder."""
    opened: list[Context] = []

    def build(
        sources: dict[str, Any], *, limits: dict[str, int] | None = None, connections: dict[str, Connection] | None = None
    ) -> Context:
        entries = validate({"sources": sources}, SourcesFile, "sources.yaml")
        settings = Settings(
            root=ROOT,
            home=tmp_path / "home",
            database="millrace_postgres",
            sources=dict(entries.sources),
            chunking=Chunking(),
            models={"hash": Model(tier="hash")},
            collections={"knowledge": Collection(model="hash")},
            limits=Limits(**(limits or {})),
        )
        ctx = Context(settings, {"millrace_postgres": database_connection(dsn), **(connections or {})})
        ctx.__dict__["validator"] = validator
        opened.append(ctx)
        return ctx

    yield build
    for ctx in opened:
        ctx.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that the source `docs` of most tests lists."""
    path = tmp_path / "docs"
    path.mkdir()
    return path


@pytest.fixture
def ctx(make: Make, folder: Path) -> Context:
    """A Context with one folder source, `docs`."""
    return make({"docs": {"kind": "folder", "path": str(folder), "exclude": ["drafts/*"]}})


@pytest.fixture
def run(ctx: Context) -> Callable[..., Accounting]:
    """Sync `docs` and return the accounting."""
    return lambda **fields: sync.run(ctx, SyncRequest("docs", **fields))

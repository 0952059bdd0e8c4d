"""The ledger: runs, fences, what is known of a source, live progress, stored validation results.

A run takes its fence before the source is listed, and each attempt at a shard a newer one before it reads bytes; documents
are written elsewhere (`publish`, `quarantine`, `deletions`) and only by a higher fence. All errors are those of `translate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeVar

import psycopg
from psycopg import Cursor
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipelines.errors import FixConfiguration
from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connect, connection, translate
from pipelines.store.sql import load

T = TypeVar("T")
Door = Literal["airflow", "cli"]
RunState = Literal["running", "succeeded", "failed", "held", "abandoned"]
StageState = Literal["running", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class Run:
    """One sync of one source. `counts` and `reasons` are objects; `stats` is the stage figures that estimates use."""

    id: int
    tenant: str
    source: str
    collection: str
    door: str
    external_id: str
    scope: str
    request: dict[str, Any]
    fence: int
    state: str
    listed: int | None
    counts: dict[str, int]
    reasons: dict[str, int]
    stats: dict[str, Any]
    notes: list[str]
    started_at: datetime
    finished_at: datetime | None


class Known(NamedTuple):
    """A top-level document as the ledger has it."""

    doc_id: bytes
    uri: str
    source_version: str
    pipeline_fingerprint: str
    state: str
    reason: str | None
    attempts: int
    fence: int
    loaded_version: str | None
    chunk_count: int
    content_sha: bytes | None


@dataclass(frozen=True, slots=True)
class StageProgress:
    """Where one stage of one shard stands; `done` of `total` documents."""

    stage: str
    shard: str
    state: str
    done: int
    total: int
    counts: dict[str, int]
    error: str | None
    started_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source: documents by state, what is served, what waits for a person. Attachments count as documents."""

    source: str
    loaded: int = 0
    quarantined: int = 0
    deleted: int = 0
    served: int = 0
    chunks: int = 0
    open_quarantine: int = 0
    held_deletions: int = 0
    kept_deletions: int = 0  # documents that the source no longer has and that a person decided to keep
    running: int = 0
    last_run: int | None = None
    last_state: str | None = None
    last_success: datetime | None = None
    configured: bool = True  # False: sources.yaml has no such source any more


def start_run(
    pool: Pool,
    *,
    source: str,
    collection: str,
    door: Door,
    scope: str,
    fence: int,
    external_id: str = "",
    request: Mapping[str, Any] | None = None,
    tenant: str = PUBLIC_TENANT,
) -> Run:
    """A new run under a fence taken before. Runs of the source that nobody works on any more become abandoned."""
    values = {
        "fence": fence,
        "tenant": tenant,
        "source": source,
        "collection": collection,
        "door": door,
        "scope": scope,
        "external_id": external_id,
        "request": Jsonb(dict(request or {})),
    }
    with connection(pool) as conn, conn.cursor(row_factory=class_row(Run)) as cursor:
        cursor.execute(load("ledger")["abandon_runs"], values)
        return _one(cursor.execute(load("ledger")["start_run"], values), "new")


def next_fence(pool: Pool) -> int:
    """A number above every fence handed out before; take it before reading bytes."""
    with connection(pool) as conn, conn.cursor() as cursor:
        return int(_one(cursor.execute(load("ledger")["next_fence"]), "fence")[0])


def leap(conn: psycopg.Connection[Any]) -> None:
    """After a restore: give out no fence or run number that the database may have given out before."""
    conn.execute(load("ledger")["leap"])


def sign_of_life(dsn: str, fence: int) -> psycopg.Connection[Any]:
    """A session that says "the run of this fence is alive" until it is closed or its process dies. Close it."""
    with translate():
        conn = connect(dsn)
        conn.execute(load("ledger")["sign_of_life"], {"fence": fence})
    return conn


def finish_run(
    pool: Pool,
    run_id: int,
    state: RunState,
    *,
    listed: int | None,
    counts: Mapping[str, int],
    reasons: Mapping[str, int] | None = None,
    stats: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Run:
    """Close a run; a second close replaces the first. `counts` but `deleted` sum to `listed` when it succeeded."""
    values = {
        "run_id": run_id,
        "state": state,
        "listed": listed,
        "counts": Jsonb(dict(counts)),
        "reasons": Jsonb(dict(reasons or {})),
        "stats": Jsonb(dict(stats or {})),
        "notes": list(notes),
    }
    with connection(pool) as conn, conn.cursor(row_factory=class_row(Run)) as cursor:
        return _one(cursor.execute(load("ledger")["finish_run"], values), run_id)


def run(pool: Pool, run_id: int) -> Run:
    """One run; FixConfiguration when there is none with this id."""
    with connection(pool) as conn, conn.cursor(row_factory=class_row(Run)) as cursor:
        return _one(cursor.execute(load("ledger")["run"], {"run_id": run_id}), run_id)


def runs(pool: Pool, source: str | None = None, *, limit: int = 20, tenant: str = PUBLIC_TENANT) -> list[Run]:
    """The newest runs, newest first."""
    with connection(pool) as conn, conn.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(load("ledger")["runs"], {"tenant": tenant, "source": source, "limit": limit}).fetchall()


def history(pool: Pool, source: str, *, limit: int = 20, tenant: str = PUBLIC_TENANT) -> list[Run]:
    """The newest finished runs that recorded stats, newest first: what estimates are made of."""
    with connection(pool) as conn, conn.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(load("ledger")["history"], {"tenant": tenant, "source": source, "limit": limit}).fetchall()


def sampled_today(pool: Pool, source: str, *, tenant: str = PUBLIC_TENANT) -> bool:
    """Whether a run of the last day compared some documents with the source."""
    with connection(pool) as conn:
        row = conn.execute(load("ledger")["sampled_today"], {"tenant": tenant, "source": source}).fetchone()
        return bool(row and row[0])


def known(pool: Pool, tenant: str, source: str, scope: str) -> list[Known]:
    """Every top-level document of the source whose uri starts with `scope`, deleted ones included, in no order."""
    with connection(pool) as conn, conn.cursor(binary=True, row_factory=_known_row) as cursor:
        return cursor.execute(load("ledger")["known"], {"tenant": tenant, "source": source, "scope": scope}).fetchall()


def refresh(
    pool: Pool, *, run_id: int, fence: int, versions: Sequence[tuple[bytes, str, bytes]], tenant: str = PUBLIC_TENANT
) -> None:
    """Note that documents have a new version but the very bytes that are loaded: (doc_id, version, sha256 of the bytes).

    A document that holds other bytes by now is left alone: the next run compares it again.
    """
    if not versions:
        return
    values = {
        "tenant": tenant,
        "run_id": run_id,
        "fence": fence,
        "doc_ids": [doc_id for doc_id, _, _ in versions],
        "versions": [version for _, version, _ in versions],
        "contents": [content for _, _, content in versions],
    }
    with connection(pool) as conn:
        conn.execute(load("ledger")["refresh"], values)


def record_stage(
    pool: Pool,
    run_id: int,
    stage: str,
    shard: str = "",
    *,
    state: StageState,
    done: int = 0,
    total: int = 0,
    counts: Mapping[str, int] | None = None,
    error: str | None = None,
) -> None:
    """Say where a stage stands; the last word stays."""
    values = {
        "run_id": run_id,
        "stage": stage,
        "shard": shard,
        "state": state,
        "done": done,
        "total": total,
        "counts": Jsonb(dict(counts or {})),
        "error": error,
    }
    with connection(pool) as conn:
        conn.execute(load("ledger")["record_stage"], values)


def progress(pool: Pool, run_id: int) -> list[StageProgress]:
    """The stages of a run in the order they started."""
    with connection(pool) as conn, conn.cursor(row_factory=class_row(StageProgress)) as cursor:
        return cursor.execute(load("ledger")["progress"], {"run_id": run_id}).fetchall()


def record_validation(
    pool: Pool,
    run_id: int,
    shard: str,
    suite: str,
    *,
    success: bool,
    rows: int,
    failed: Sequence[Any] = (),
    docs_uri: str = "",
) -> None:
    """Store a suite's result; `failed` is a list of JSON objects {expectation, column, unexpected, documents}."""
    values = {"run_id": run_id, "shard": shard, "suite": suite, "success": success, "rows": rows, "docs_uri": docs_uri}
    with connection(pool) as conn:
        conn.execute(load("ledger")["record_validation"], {**values, "failed": Jsonb(list(failed))})


def passed_suites(pool: Pool, run_id: int, shard: str) -> frozenset[str]:
    """The suites that this shard passed on at least one row."""
    with connection(pool) as conn:
        rows = conn.execute(load("ledger")["passed_suites"], {"run_id": run_id, "shard": shard})
        return frozenset(suite for (suite,) in rows)


def source_status(pool: Pool, source: str | None = None, *, tenant: str = PUBLIC_TENANT) -> list[SourceStatus]:
    """One row per source that was ever run, by name."""
    with connection(pool) as conn, conn.cursor(row_factory=class_row(SourceStatus)) as cursor:
        return cursor.execute(load("ledger")["source_status"], {"tenant": tenant, "source": source}).fetchall()


def _known_row(cursor: Cursor[Any]) -> Any:
    return Known._make


def _one(cursor: Cursor[T], what: object) -> T:
    row = cursor.fetchone()
    if row is None:
        raise FixConfiguration(f"run {what}: not in the ledger; `millrace status` lists the runs")
    return row

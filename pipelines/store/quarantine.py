"""Quarantine: why a document is not loaded, written in a transaction of its own so that a failed one cannot take it along.

What was served before stays served. Attempts are counted per version and settings, and never for a dependency's failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from pipelines.records import PUBLIC_TENANT, Reason, document_id
from pipelines.store.database import Pool, connection
from pipelines.store.sql import load

# The source or a service failed, not the document: such tries are recorded and do not count.
UNCHARGED = frozenset({Reason.DEPENDENCY_DOWN, Reason.SOURCE_VANISHED, Reason.SOURCE_CHANGED, Reason.CHECKSUM_MISMATCH})


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A document that `stage` could not load at exactly this version."""

    doc_id: bytes
    uri: str
    source_version: str
    pipeline_fingerprint: str
    stage: str
    reason: Reason
    detail: str = ""
    member: str = ""
    parent_doc_id: bytes | None = None
    content_sha: bytes | None = None
    media_type: str = ""
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Recorded:
    """`quarantined`: recorded now or by an earlier try of this very attempt; `superseded`: a newer attempt has written."""

    quarantined: frozenset[bytes]
    superseded: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class QuarantineItem:
    """The newest entry of a document in quarantine."""

    id: int
    doc_id: bytes
    source: str
    uri: str
    member: str
    source_version: str
    stage: str
    reason: str
    detail: str
    attempt: int
    run_id: int
    at: datetime
    replay_at: datetime | None


def record(
    pool: Pool,
    *,
    run_id: int,
    fence: int,
    collection: str,
    source: str,
    items: Sequence[Quarantined],
    tenant: str = PUBLIC_TENANT,
) -> Recorded:
    """Put documents into quarantine where their row is older than `fence`; repeating the call adds nothing.

    Opens its own transaction: call it after the failed one has ended. Of two entries for one document the first counts.
    """
    items = list({item.doc_id: item for item in reversed(items)}.values())
    ids = [item.doc_id for item in items]
    names = {"tenant": tenant, "fence": fence, "run_id": run_id, "collection": collection, "source": source, "doc_ids": ids}
    with connection(pool) as conn:
        rows = conn.execute(load("quarantine")["lock_documents"], names).fetchall()
        mine = {doc_id for doc_id, _, is_mine in rows if is_mine}
        newer = {doc_id for doc_id, at, _ in rows if at >= fence}
        written = enter(conn, names, [item for item in items if item.doc_id not in newer])
    return Recorded(frozenset(mine | written), frozenset(ids) - mine - written)


def open_items(
    pool: Pool, *, source: str | None = None, reason: str | None = None, limit: int = 1000, tenant: str = PUBLIC_TENANT
) -> list[QuarantineItem]:
    """What is in quarantine, newest first, one entry per document."""
    values = {"tenant": tenant, "source": source, "reason": reason, "limit": limit}
    with connection(pool) as conn, conn.cursor(row_factory=class_row(QuarantineItem)) as cursor:
        return cursor.execute(load("quarantine")["open_items"], values).fetchall()


def request_replay(
    pool: Pool,
    *,
    ids: Sequence[int] | None = None,
    reason: str | None = None,
    source: str | None = None,
    tenant: str = PUBLIC_TENANT,
) -> int:
    """Ask for another try of the open items that match all that is given (entry ids, reason, source); returns how many."""
    values = {"tenant": tenant, "ids": None if ids is None else list(ids), "reason": reason, "source": source}
    with connection(pool) as conn:
        return conn.execute(load("quarantine")["request_replay"], values).rowcount


def replayable(pool: Pool, source: str, *, tenant: str = PUBLIC_TENANT) -> set[bytes]:
    """The objects (ids of their top-level documents) that a person asked to try again."""
    with connection(pool) as conn:
        rows = conn.execute(load("quarantine")["replayable"], {"tenant": tenant, "source": source})
        return {document_id(source, uri) for (uri,) in rows}


def enter(conn: psycopg.Connection[Any], names: dict[str, Any], items: Sequence[Quarantined]) -> set[bytes]:
    """Inside the caller's transaction: enter documents whose rows it has locked; returns those older than its fence.

    `names` holds tenant, fence, run_id, collection, source and the `doc_ids` of the items.
    """
    queries, values = load("quarantine"), {**names, **_columns(items), "uncharged": [reason.value for reason in UNCHARGED]}
    written = {doc_id for doc_id, _ in conn.execute(queries["mark_quarantined"], values)}
    conn.execute(queries["forget_replay"], {**names, "doc_ids": list(written)})
    conn.execute(queries["insert_entries"], {**values, "written": list(written)})
    return written


def _columns(items: Sequence[Quarantined]) -> dict[str, list[Any]]:
    return {
        "doc_ids": [item.doc_id for item in items],
        "uris": [storable(item.uri) for item in items],
        "members": [storable(item.member) for item in items],
        "parents": [item.parent_doc_id for item in items],
        "versions": [storable(item.source_version) for item in items],
        "pipelines": [item.pipeline_fingerprint for item in items],
        "contents": [item.content_sha for item in items],
        "stages": [item.stage for item in items],
        "reasons": [item.reason.value for item in items],
        "details": [storable(item.detail)[:2000] for item in items],
        "charges": [int(item.reason not in UNCHARGED) for item in items],
        "bytes": [item.bytes for item in items],
        "media_types": [item.media_type for item in items],
    }


def storable(text: str) -> str:
    """`text` with what Postgres cannot store (NUL, lone surrogates) replaced by U+FFFD."""
    return text.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")

"""Deletions: fenced, with the object's attachments; or held until a person decides.

A deletion is a state of the document's row. Its chunks move to `chunk_past`; the collector takes texts and
vectors. Whether a document may be deleted at all is the plan's decision, not made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.sql import load

SLICE = 1000  # documents per transaction


@dataclass(frozen=True, slots=True)
class Deleted:
    """`deleted`: the documents asked for that are deleted now; `members`: their attachments; `superseded`: written by a
    newer attempt meanwhile and left alone."""

    deleted: frozenset[bytes] = frozenset()
    members: frozenset[bytes] = frozenset()
    superseded: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Hold:
    """A deletion out of proportion: it waits for a person (`decision` is None), or a person's decision about it stands."""

    run_id: int  # the run whose number decides about it
    source: str
    doc_id: bytes
    uri: str
    since: datetime
    why: str
    decision: Literal["approved", "rejected"] | None
    decided_by: str | None
    decided_at: datetime | None


def delete(pool: Pool, *, run_id: int, fence: int, doc_ids: Iterable[bytes], tenant: str = PUBLIC_TENANT) -> Deleted:
    """Delete documents whose row is older than `fence`, with their attachments; repeating the call reports the same."""
    ordered = sorted(set(doc_ids))
    parts = [
        _delete_slice(pool, run_id, fence, ordered[start : start + SLICE], tenant) for start in range(0, len(ordered), SLICE)
    ]
    return Deleted(
        frozenset().union(*(part.deleted for part in parts)),
        frozenset().union(*(part.members for part in parts)),
        frozenset().union(*(part.superseded for part in parts)),
    )


def _delete_slice(pool: Pool, run_id: int, fence: int, doc_ids: Sequence[bytes], tenant: str) -> Deleted:
    values = {"tenant": tenant, "fence": fence, "doc_ids": list(doc_ids)}
    with connection(pool) as conn:
        conn.execute(load("deletions")["lock_objects"], values)
        # Again: while the locks were waited for, a publisher may have added an attachment, which the first look missed.
        rows = conn.execute(load("deletions")["lock_objects"], values).fetchall()
        newer = {doc_id for doc_id, _, _, at, asked, mine in rows if asked and at >= fence and not mine}
        left_alone = {(source, uri) for doc_id, source, uri, *_ in rows if doc_id in newer}
        free = [row for row in rows if row[0] not in newer and (row[1], row[2]) not in left_alone]
        mark(conn, run_id=run_id, tenant=tenant, fence=fence, doc_ids=[row[0] for row in free if row[3] < fence])
    gone = [(doc_id, asked) for doc_id, _, _, at, asked, mine in free if at < fence or mine]
    return Deleted(
        frozenset(doc_id for doc_id, asked in gone if asked),
        frozenset(doc_id for doc_id, asked in gone if not asked),
        frozenset(doc_id for doc_id, _, _, _, asked, _ in rows if asked) - {doc_id for doc_id, _ in gone},
    )


def mark(conn: psycopg.Connection[Any], *, run_id: int, tenant: str, fence: int, doc_ids: Sequence[bytes]) -> None:
    """Inside the caller's transaction: set locked rows to deleted, move their chunks to the past, close their quarantine
    and holds."""
    values = {"run_id": run_id, "tenant": tenant, "fence": fence, "doc_ids": list(doc_ids)}
    for name in ("mark_deleted", "retire_chunks", "resolve_quarantine", "close_holds"):
        conn.execute(load("deletions")[name], values)


def hold(
    pool: Pool, run_id: int, source: str, documents: Iterable[tuple[bytes, str]], *, tenant: str = PUBLIC_TENANT
) -> int:
    """Hold (doc_id, uri) for approval; returns how many are newly held. One that already waits keeps its first entry."""
    pairs = list(documents)
    values = {
        "run_id": run_id,
        "tenant": tenant,
        "source": source,
        "doc_ids": [doc_id for doc_id, _ in pairs],
        "uris": [uri for _, uri in pairs],
    }
    with connection(pool) as conn:
        conn.execute(load("deletions")["supersede_stale"], values)
        return conn.execute(load("deletions")["hold"], values).rowcount


def standing(pool: Pool, source: str | None = None, *, tenant: str = PUBLIC_TENANT) -> list[Hold]:
    """Deletions that wait, or were decided about and not carried out, by source, run, decision and uri.

    Those of documents that were written since, or are deleted, are left out.
    """
    with connection(pool) as conn, conn.cursor(row_factory=class_row(Hold)) as cursor:
        return cursor.execute(load("deletions")["standing"], {"tenant": tenant, "source": source}).fetchall()


def open_holds(pool: Pool, source: str | None = None, *, tenant: str = PUBLIC_TENANT) -> list[Hold]:
    """What waits for a person, by source, run and uri."""
    return [hold for hold in standing(pool, source, tenant=tenant) if hold.decision is None]


def approve(pool: Pool, run_id: int, by: str) -> int:
    """Allow the deletions that this run holds, rejected ones too; the next run carries them out. Returns how many."""
    return _decide(pool, run_id, "approved", by)


def reject(pool: Pool, run_id: int, by: str) -> int:
    """Refuse the deletions that this run holds: the documents stay served and are not held again. Returns how many."""
    return _decide(pool, run_id, "rejected", by)


def was_approved(pool: Pool, source: str, run_id: int, *, tenant: str = PUBLIC_TENANT) -> bool:
    """Whether deletions that this run held were ever approved."""
    with connection(pool) as conn:
        row = conn.execute(load("deletions")["was_approved"], {"tenant": tenant, "source": source, "run_id": run_id})
        return bool(row.fetchall()[0][0])


def reappeared(pool: Pool, source: str, doc_ids: Iterable[bytes], *, tenant: str = PUBLIC_TENANT) -> int:
    """The source lists these again: their holds and what was decided about them is superseded. Returns how many."""
    values = {"tenant": tenant, "source": source, "doc_ids": list(doc_ids)}
    if not values["doc_ids"]:
        return 0
    with connection(pool) as conn:
        return conn.execute(load("deletions")["reappeared"], values).rowcount


def _decide(pool: Pool, run_id: int, decision: str, by: str) -> int:
    with connection(pool) as conn:
        return conn.execute(load("deletions")["decide"], {"run_id": run_id, "decision": decision, "by": by}).rowcount

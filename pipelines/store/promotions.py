"""Proposals to let a challenger serve: what was checked, who decided, what became of them.

    (verdict refuse, cannot tell) refused
    proposed --> approved --> promoted    rejected, expired: decided against; overtaken: the champion or the space changed

A proposal is promoted, and every other one of its collection overtaken, by a trigger in the transaction that lets the space
serve, so no promotion is without its proposal's end. `promotion_history` keeps each state with who set it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipelines.errors import FailRun, FixConfiguration
from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.spaces import Space
from pipelines.store.sql import load

OPEN = ("proposed", "approved")


@dataclass(frozen=True, slots=True)
class Proposal:
    """One challenger, judged; `reasons` are those against it, `reason` is that of its state, `age` is in seconds."""

    id: int
    collection: str
    version: str  # such as handbook@3
    space: int
    beside: int
    evaluation: int | None
    verdict: str
    reasons: list[str]
    checks: list[dict[str, Any]]
    state: str
    decided_by: str
    reason: str
    report: str  # below data-docs/
    proposed_by: str
    at: datetime
    age: float

    @property
    def open(self) -> bool:
        """Whether it may still be promoted."""
        return self.state in OPEN

    def text(self) -> str:
        """What it is and what became of it, one line."""
        by = f" by {self.decided_by}" if self.decided_by else ""
        why = self.reason or "; ".join(self.reasons)
        return f"proposal {self.id}: {self.version} for {self.collection}, {self.state}{by}" + (f": {why}" if why else "")


def add(
    pool: Pool,
    collection: str,
    *,
    version: int,
    space: int,
    beside: int,
    evaluation: int | None,
    verdict: str,
    reasons: Sequence[str],
    checks: Sequence[Mapping[str, Any]],
    by: str = "",
    tenant: str = PUBLIC_TENANT,
) -> int:
    """Store a judged challenger; returns its number. An earlier one of the space that waits is overtaken.

    Raises FailRun when the space no longer waits verified, and while an approved proposal of it is being promoted.
    """
    statements = load("promotions")
    values = {
        "tenant": tenant,
        "collection": collection,
        "version": version,
        "space": space,
        "beside": beside,
        "evaluation": evaluation,
        "verdict": verdict,
        "reasons": list(reasons),
        "checks": Jsonb([dict(check) for check in checks]),
        "by": by,
    }
    with connection(pool) as conn:
        found = conn.execute(statements["wait_for_space"], values).fetchone()
        if found is None or found[1] != "shadow":
            raise FailRun(
                f"space {space} of collection {collection!r} no longer waits; `millrace spaces {collection}` lists them"
            )
        approved = conn.execute(statements["approved"], values).fetchone()
        if approved is not None:
            raise FailRun(f"proposal {approved[0]} of space {space} is approved; `millrace models promote` completes it")
        conn.execute(statements["overtake"], values)
        row = conn.execute(statements["insert"], values).fetchone()
    assert row is not None
    return int(row[0])


def set_report(pool: Pool, proposal: int, path: str) -> None:
    """Remember where the page of a proposal is, once it is written."""
    with connection(pool) as conn:
        conn.execute(load("promotions")["report"], {"id": proposal, "report": path})


def decide(
    pool: Pool, proposal: int, state: Literal["approved", "rejected", "expired"], *, by: str = "", reason: str = ""
) -> bool:
    """Decide about a proposal that waits; False when it waits no more."""
    values = {"id": proposal, "state": state, "by": by, "reason": reason}
    with connection(pool) as conn:
        return conn.execute(load("promotions")["decide"], values).rowcount == 1


def get(pool: Pool, proposal: int, *, tenant: str = PUBLIC_TENANT) -> Proposal:
    """One proposal. Raises FixConfiguration when there is none of this number."""
    found = _proposals(pool, tenant=tenant, id=proposal)
    if not found:
        raise FixConfiguration(f"there is no proposal {proposal}; `millrace models proposals` lists them")
    return found[0]


def waiting(pool: Pool, space: int, *, tenant: str = PUBLIC_TENANT) -> Proposal | None:
    """The proposal of a space that may still be promoted."""
    return next(iter(_proposals(pool, tenant=tenant, space=space)), None)


def listed(pool: Pool, collection: str | None = None, limit: int = 50, *, tenant: str = PUBLIC_TENANT) -> list[Proposal]:
    """The newest proposals of a collection or of all, newest first."""
    return _proposals(pool, tenant=tenant, collection=collection, limit=limit)


def decision(pool: Pool, evaluation: int, space: int) -> dict[str, Any]:
    """What an evaluation's gate decided about a space, in its JSON form."""
    with connection(pool) as conn:
        row = conn.execute(load("promotions")["decision"], {"evaluation": evaluation, "space": space}).fetchone()
    if row is None or row[0] is None:
        raise FailRun(f"evaluation {evaluation} has not judged space {space}; evaluate again")
    return dict(row[0])


def tries(pool: Pool, collection: str, *, tenant: str = PUBLIC_TENANT) -> list[tuple[str, int, int, int]]:
    """How often each slice version judged: its label, challengers, those of them that did not pass, evaluations."""
    with connection(pool) as conn:
        rows = conn.execute(load("promotions")["tries"], {"tenant": tenant, "collection": collection}).fetchall()
    return [(str(row[0]), int(row[1]), int(row[2]), int(row[3])) for row in rows]


def passages(pool: Pool, space: Space, count: int) -> list[str]:
    """At most so many texts that the space holds vectors of, the same ones every time."""
    values = {"tenant": space.tenant, "collection": space.collection, "chunk_set": space.chunk_set, "count": count}
    with connection(pool) as conn:
        return [str(body) for (body,) in conn.execute(load("promotions")["passages"], values)]


def _proposals(
    pool: Pool,
    *,
    tenant: str,
    id: int | None = None,
    collection: str | None = None,
    space: int | None = None,
    limit: int = 50,
) -> list[Proposal]:
    values = {"tenant": tenant, "id": id, "collection": collection, "space": space, "limit": limit}
    with connection(pool) as conn, conn.cursor(row_factory=class_row(Proposal)) as cursor:
        return cursor.execute(load("promotions")["proposals"], values).fetchall()

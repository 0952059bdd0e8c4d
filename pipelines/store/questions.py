"""What users ask: kept for a number of days where a collection is told to, read for drift and the benchmark's freshness."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.spaces import Space
from pipelines.store.sql import load

DRAWN = 1000  # different questions of a span: as many as are compared
SEED = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """The different questions drawn of a span; `similarity` (n,) is their nearest passage's mean cosine, NaN if unknown."""

    questions: tuple[str, ...]
    times: tuple[int, ...]
    similarity: npt.NDArray[np.float64]
    asked: int = 0  # in the span, each as often as it was asked
    different: int = 0  # of those, drawn or not


@dataclass(frozen=True, slots=True)
class Listed:
    """A question, how often and when last it was asked, and the mean cosine of its nearest passage, None if unknown."""

    question: str
    times: int
    last: datetime
    similarity: float | None


def keep(
    pool: Pool,
    collection: str,
    question: str,
    space_id: int | None,
    similarity: float | None,
    hits: int,
    *,
    tenant: str = PUBLIC_TENANT,
) -> None:
    """Keep one question. Raises Retry and FixConfiguration as every statement does."""
    values = {
        "tenant": tenant,
        "collection": collection,
        "question": question,
        "space": space_id,
        "similarity": similarity,
        "hits": hits,
    }
    with connection(pool) as conn:
        conn.execute(load("questions")["soon"])
        conn.execute(load("questions")["keep"], values)


def asked(pool: Pool, space: Space, since: datetime, until: datetime) -> Asked:
    """What was asked of the space's collection in [since, until); similarities as this space found them."""
    values = {
        "tenant": space.tenant,
        "collection": space.collection,
        "space": space.id,
        "since": since,
        "until": until,
        "seed": SEED,
        "limit": DRAWN,
    }
    with connection(pool) as conn:
        rows = conn.execute(load("questions")["asked"], values).fetchall()
    similarity = np.array([np.nan if row[2] is None else row[2] for row in rows], dtype=np.float64)
    total, different = rows[0][3:5] if rows else (0, 0)
    return Asked(tuple(row[0] for row in rows), tuple(row[1] for row in rows), similarity, total, different)


def listed(pool: Pool, space: Space, since: datetime, order: Literal["farthest", "most"], limit: int) -> list[Listed]:
    """The different questions since a moment, in one of two orders; similarities as this space found them."""
    values = {
        "tenant": space.tenant,
        "collection": space.collection,
        "space": space.id,
        "since": since,
        "farthest": order == "farthest",
        "limit": limit,
    }
    with connection(pool) as conn:
        return [Listed(*row) for row in conn.execute(load("questions")["listed"], values)]


def forget(pool: Pool, collection: str, question: str, *, tenant: str = PUBLIC_TENANT) -> int:
    """Remove a question, however often it was asked; returns how many rows."""
    with connection(pool) as conn:
        values = {"tenant": tenant, "collection": collection, "question": question}
        return conn.execute(load("questions")["forget"], values).rowcount


def expire(pool: Pool, collection: str, days: int, *, tenant: str = PUBLIC_TENANT) -> int:
    """Forget what was asked more than so many days ago, all of it for 0; returns how many rows."""
    with connection(pool) as conn:
        return conn.execute(load("questions")["expire"], {"tenant": tenant, "collection": collection, "days": days}).rowcount

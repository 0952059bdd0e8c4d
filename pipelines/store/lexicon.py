"""The full-text side of texts: filled after they are published, by whoever published and by the end of the run.

Publishing notes each new text as pending (by a trigger) and goes on; a fold analyses what is pending. Whoever writes or
removes what was analysed notes the change (by a trigger) and goes on; a fold sums the changes into the statistics that BM25
weighs words with. So no writer waits for another, and statistics and changes together are exact at every moment: a fold that
is killed leaves its slice as it was. Search finds the first pending texts itself, so nobody waits for a fold to be found.
The texts of a document that is being replaced don't wait: what was found by its words stays found, in either version.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import psycopg

from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.sql import load

SLICE = 2000  # texts of one transaction
SUMMED = 20_000  # changes of one transaction; common terms are written once for all of them


class Lag(NamedTuple):
    """What the next fold will do: texts that are not analysed, and changes that the statistics do not have."""

    texts: int
    changes: int


def fold(pool: Pool, *, tenant: str = PUBLIC_TENANT) -> int:
    """Analyse the pending texts until none is left or another process is doing it; returns how many were taken.

    Raises Retry when the database fails; what was taken in earlier slices stays.
    """
    folded = 0
    while True:
        taken = _analyse(pool, tenant)
        folded += taken
        if taken < SLICE:
            break
        if folded % SUMMED == 0:
            _sum(pool, tenant)
    while _sum(pool, tenant) == SUMMED:
        pass
    return folded


def analyse(conn: psycopg.Connection[Any], tenant: str, shas: Collection[bytes]) -> None:
    """Analyse these texts in the caller's transaction, as far as they are not analysed."""
    queries = load("lexicon")
    rows = conn.execute(queries["unanalysed"], {"tenant": tenant, "shas": list(shas)}).fetchall()
    if rows:
        names = {"tenant": tenant, "shas": sorted(sha for (sha,) in rows)}
        conn.execute(queries["write"], names)
        conn.execute(queries["forget"], names)


def lag(pool: Pool, *, tenant: str = PUBLIC_TENANT) -> Lag:
    """How far the last fold is behind."""
    with connection(pool) as conn:
        ((texts, changes),) = conn.execute(load("lexicon")["lag"], {"tenant": tenant}).fetchall()
    return Lag(int(texts), int(changes))


def _analyse(pool: Pool, tenant: str) -> int:
    """One slice of pending texts; 0 when another process is at it."""
    queries = load("lexicon")
    with connection(pool) as conn:
        if not conn.execute(queries["begin"]).fetchall()[0][0]:
            return 0
        taken = conn.execute(queries["take"], {"tenant": tenant, "rows": SLICE}).fetchall()
        shas = sorted({sha for (sha,) in taken})
        conn.execute(queries["write"], {"tenant": tenant, "shas": shas})
    return len(taken)


def _sum(pool: Pool, tenant: str) -> int:
    """One slice of changes; 0 when another process is at it."""
    queries = load("lexicon")
    with connection(pool) as conn:
        if not conn.execute(queries["begin"]).fetchall()[0][0]:
            return 0
        ((changes,),) = conn.execute(queries["sum"], {"tenant": tenant, "rows": SUMMED}).fetchall()
    return int(changes)

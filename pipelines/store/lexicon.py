"""The full-text side of texts: filled after they are published, by whoever published and by the end of the run.

Publishing notes each new text as pending (by a trigger) and goes on; a fold analyses what is pending. Search finds the first
pending texts itself, so nobody waits for a fold to be found. A fold that is killed leaves its slice pending. The texts of a
document that is being replaced don't wait: what was found by its words stays found, in its old version or its new one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import psycopg

from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.sql import load

SLICE = 2000  # texts of one transaction


def fold(pool: Pool, *, tenant: str = PUBLIC_TENANT) -> int:
    """Analyse the pending texts until none is left or another process is doing it; returns how many were taken.

    Raises Retry when the database fails; what was taken in earlier slices stays.
    """
    queries, folded = load("lexicon"), 0
    while True:
        with connection(pool) as conn:
            if not conn.execute(queries["begin"]).fetchall()[0][0]:
                return folded
            taken = conn.execute(queries["take"], {"tenant": tenant, "rows": SLICE}).fetchall()
            shas = sorted({sha for (sha,) in taken})
            conn.execute(queries["write"], {"tenant": tenant, "shas": shas})
        folded += len(taken)
        if len(taken) < SLICE:
            return folded


def analyse(conn: psycopg.Connection[Any], tenant: str, shas: Collection[bytes]) -> None:
    """Analyse these texts in the caller's transaction, as far as they are not analysed."""
    queries = load("lexicon")
    rows = conn.execute(queries["unanalysed"], {"tenant": tenant, "shas": list(shas)}).fetchall()
    if rows:
        names = {"tenant": tenant, "shas": sorted(sha for (sha,) in rows)}
        conn.execute(queries["write"], names)
        conn.execute(queries["forget"], names)


def pending(pool: Pool, *, tenant: str = PUBLIC_TENANT) -> int:
    """How many texts await a fold."""
    with connection(pool) as conn:
        ((count,),) = conn.execute(load("lexicon")["pending"], {"tenant": tenant}).fetchall()
    return int(count)

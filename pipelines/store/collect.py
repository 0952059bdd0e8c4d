"""The collector: removes texts that no chunk uses (their vectors go with them) and expires the embedding cache.

Safe beside publishers: it locks a text before it looks for chunks a last time, and skips what others have locked; a
publisher that comes second meets the foreign key and tries again. Vectors that a run counts on are renewed by
`vectors.keep`, so they do not expire before it publishes. What one pass leaves, the next takes.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.sql import load

PASS_ROWS = 200_000  # texts, and cached vectors, that one pass removes at most
LEAST_DAYS = 2  # `vectors.keep` renews what is older than one day


@dataclass(frozen=True, slots=True)
class Collected:
    """Rows removed."""

    texts: int
    cached_vectors: int


def collect(pool: Pool, *, cache_days: int, slice_rows: int = 5000, tenant: str = PUBLIC_TENANT) -> Collected:
    """Remove unused texts, then cached vectors older than `cache_days` days without a text; `slice_rows` per transaction.

    Raises ValueError for fewer than LEAST_DAYS days: a running sync may count on what is younger.
    """
    if cache_days < LEAST_DAYS:
        raise ValueError(f"cache_days {cache_days}: a cached vector is kept for at least {LEAST_DAYS} days")
    return Collected(_collect_texts(pool, tenant, slice_rows), _expire(pool, tenant, cache_days, slice_rows))


def _collect_texts(pool: Pool, tenant: str, slice_rows: int) -> int:
    with connection(pool) as conn, conn.cursor(binary=True) as cursor:
        unused = sorted(
            sha for (sha,) in cursor.execute(load("collect")["unused_texts"], {"tenant": tenant, "limit": PASS_ROWS})
        )
    removed = 0
    for start in range(0, len(unused), slice_rows):
        values = {"tenant": tenant, "shas": unused[start : start + slice_rows]}
        with connection(pool) as conn:
            values["shas"] = [sha for (sha,) in conn.execute(load("collect")["lock_texts"], values)]
            removed += conn.execute(load("collect")["delete_texts"], values).rowcount
    return removed


def _expire(pool: Pool, tenant: str, days: int, slice_rows: int) -> int:
    values = {"tenant": tenant, "days": days, "limit": slice_rows}
    removed = 0
    for _ in range(0, PASS_ROWS, slice_rows):
        with connection(pool) as conn:
            expired = conn.execute(load("collect")["expire_cache"], values).rowcount
        removed += expired
        if expired < slice_rows:
            break
    return removed

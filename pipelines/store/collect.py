"""The collector: removes texts that no chunk uses (their vectors go with them) and expires the embedding cache.

Safe beside publishers: the foreign keys decide every race, and a publisher that loses one tries again.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.sql import load


@dataclass(frozen=True, slots=True)
class Collected:
    """Rows removed."""

    texts: int
    cached_vectors: int


def collect(pool: Pool, *, cache_days: int, slice_rows: int = 5000, tenant: str = PUBLIC_TENANT) -> Collected:
    """Remove unused texts, `slice_rows` per transaction, then cached vectors older than `cache_days` days without a text."""
    texts, after = 0, b""
    while True:
        with connection(pool) as conn:
            values = {"tenant": tenant, "after": after, "limit": slice_rows}
            shas = [sha for (sha,) in conn.execute(load("collect")["lock_unused_texts"], values)]
            if not shas:
                break
            texts += conn.execute(load("collect")["delete_texts"], {"tenant": tenant, "shas": shas}).rowcount
            after = max(shas)
    with connection(pool) as conn:
        cached = conn.execute(load("collect")["expire_cache"], {"tenant": tenant, "days": cache_days}).rowcount
    return Collected(texts, cached)

"""Replaced and deleted passages, kept for as-of search and drift: their end, and since when a collection's past is whole."""

from __future__ import annotations

from datetime import datetime

from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.sql import load


def forget(pool: Pool, collection: str, days: int, *, slice_rows: int = 5000, tenant: str = PUBLIC_TENANT) -> int:
    """Remove what ended more than so many days ago, `slice_rows` per transaction; returns how many passages."""
    values = {"tenant": tenant, "collection": collection, "days": days, "limit": slice_rows}
    removed = 0
    while True:
        with connection(pool) as conn:
            count = int(conn.execute(load("past")["forget"], values).fetchall()[0][0])
        removed += count
        if count < slice_rows:
            return removed


def forgotten(pool: Pool, collection: str, *, tenant: str = PUBLIC_TENANT) -> datetime | None:
    """Of what ended before this moment some is gone; None while everything is kept."""
    with connection(pool) as conn:
        row = conn.execute(load("past")["forgotten"], {"tenant": tenant, "collection": collection}).fetchone()
    return None if row is None else row[0]

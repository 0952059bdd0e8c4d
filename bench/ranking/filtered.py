"""Nearest passages under filters that keep 1 % and 10 % of 50,000 chunks: how many of the true ten are found, and how fast.

The rows are those of the load benches: texts with clustered vectors, five to a document, with an index as settle builds it.
A filter keeps the documents below one address. The exact scan reads the same table without an index.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import numpy as np
import psycopg

from bench.loads import ours
from bench.loads.rows import Rows, rows
from pipelines.search import hybrid
from pipelines.search.query import Filters, Query
from pipelines.store.database import session_conninfo

COUNT = 50_000
ASKED = 100
KEPT = {"1": "bench://guide/000000", "10": "bench://guide/00000"}  # percent -> address, of 10,000 documents
EXACT = """
SELECT d.uri, c.ordinal
FROM document d JOIN chunk c USING (tenant, chunk_set, doc_id) JOIN space_1 v USING (tenant, text_sha)
WHERE starts_with(d.uri, %s) ORDER BY (v.embedding <#> %s::halfvec) + 0 LIMIT 10
"""


def measured(dsn: str, seed: int) -> dict[str, float]:
    """Into a migrated database: recall@10 by percent kept, results short of ten, p95 of search and exact scan in ms."""
    made = rows(COUNT, seed)
    figures: dict[str, float] = {}
    with closing(ours.Loader.open(dsn)) as loader:
        loader.remember(made)
        loader.publish(ours.documents(made), "v1")
        loader.index()
        with psycopg.connect(session_conninfo(dsn), autocommit=True) as conn:
            conn.execute("ANALYZE")
            for percent, prefix in KEPT.items():
                asked = _asked(loader, conn, made, prefix, seed)
                figures |= {f"{name}_{percent}_percent": value for name, value in asked.items()}
    return figures


def _asked(loader: ours.Loader, conn: psycopg.Connection[Any], made: Rows, prefix: str, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    drawn = made.vectors[rng.choice(len(made.vectors), ASKED, replace=False)]
    found, short, ours_ms, exact_ms = 0, 0, [], []
    for row in drawn + 0.02 * rng.standard_normal(drawn.shape):
        vector = (row / np.linalg.norm(row)).astype(np.float32)
        began = time.perf_counter()
        query = Query("guide", ours.COLLECTION, k=10, mode="dense", filters=Filters(uri_prefix=prefix))
        hits = hybrid.search(loader.pool, query, vector)
        ours_ms.append(1000 * (time.perf_counter() - began))
        began = time.perf_counter()
        best = set(conn.execute(EXACT, (prefix, "[" + ",".join(f"{value:.8g}" for value in vector) + "]")).fetchall())
        exact_ms.append(1000 * (time.perf_counter() - began))
        found += len(best & {(hit.uri, hit.ordinal) for hit in hits})
        short += len(hits) < 10
    return {
        "filtered_recall": round(found / (10 * ASKED), 4),
        "filtered_short": short,
        "filtered_p95_ms": round(float(np.percentile(ours_ms, 95)), 1),
        "exact_p95_ms": round(float(np.percentile(exact_ms, 95)), 1),
    }

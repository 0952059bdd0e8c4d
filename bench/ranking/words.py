"""Full-text search over a million chunks whose words are as common as words are, beside `ts_rank` of the very same matches.

Texts are drawn from the vocabulary of this project's documents by Zipf's law; questions are of three to eight words, drawn
alike. Chunks have no vectors: mode "text" reads none.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from bench.loads import ours
from pipelines.records import sha256
from pipelines.search import hybrid
from pipelines.search.query import Query
from pipelines.store import lexicon
from pipelines.store.database import session_conninfo

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = 100  # chunks of a document
LENGTHS = (30, 160)  # words of a chunk
ASKED = 100
TS_RANK = """
SELECT text_sha FROM lexical WHERE tenant = 'public' AND tsv @@ %(query)s::tsquery
ORDER BY ts_rank(tsv, %(query)s::tsquery, 1) DESC, text_sha LIMIT 50
"""
ANY_WORD = "SELECT replace(plainto_tsquery('english', %s)::text, '&', '|')"
DOCUMENTS = """
INSERT INTO document (doc_id, collection, source, uri, source_version, pipeline_fingerprint, state, fence, commit_token,
                      run_id, loaded_version, chunk_set, chunk_count, lang)
SELECT sha256(int8send(n)), %s, 'bench', 'bench://' || n, '1', 'p', 'loaded', 1, gen_random_uuid(), 1, '1', 1, %s, 'en'
FROM generate_series(1, %s) AS n
"""
CHUNKS = """
INSERT INTO chunk (chunk_set, doc_id, ordinal, text_sha, char_start, char_end, tokens)
SELECT 1, sha256(int8send(1 + (n - 1) / %s)), (n - 1) %% %s, text_sha, 0, length(body), 9
FROM (SELECT row_number() OVER () AS n, text_sha, body FROM text) AS t
"""


def measured(dsn: str, count: int, seed: int) -> dict[str, float]:
    """Into a migrated database: median and p95 of the search and of `ts_rank` in ms, and texts folded a second."""
    rng = random.Random(seed)
    drawn = _Drawn(rng)
    loader = ours.Loader.open(dsn)
    try:
        with psycopg.connect(session_conninfo(dsn), autocommit=True) as conn:
            _fill(conn, drawn, count, rng)
            began = time.monotonic()
            lexicon.fold(loader.pool)
            folded = count / (time.monotonic() - began)
            conn.execute("VACUUM ANALYZE")
            asked = [" ".join(drawn.words(rng.randint(3, 8))) for _ in range(ASKED)]
            bm25 = [_timed(lambda text=text: hybrid.search(loader.pool, _query(text), None)) for text in asked]
            plain = [_timed(lambda text=text: _ts_rank(conn, text)) for text in asked]
    finally:
        loader.close()
    figures = {f"text_{name}_ms": value for name, value in _summary(bm25).items()}
    figures |= {f"ts_rank_{name}_ms": value for name, value in _summary(plain).items()}
    return {"chunks": count, "texts_folded_per_second": round(folded), **figures}


class _Drawn:
    """Words of the project's own documents, some of them common, as in any language."""

    def __init__(self, rng: random.Random) -> None:
        paths = [*sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "include/sample/knowledge").rglob("*.md"))]
        found = {word for path in paths for word in re.findall(r"[a-z]{3,}", path.read_text(encoding="utf-8").lower())}
        self._words = sorted(found)
        rng.shuffle(self._words)
        self._weights = np.cumsum([1 / place for place in range(1, len(self._words) + 1)]).tolist()
        self._rng = rng

    def words(self, count: int) -> list[str]:
        """So many words, the same ones often."""
        return self._rng.choices(self._words, cum_weights=self._weights, k=count)


def _fill(conn: psycopg.Connection[Any], drawn: _Drawn, count: int, rng: random.Random) -> None:
    with conn.transaction(), conn.cursor().copy("COPY text (text_sha, body, lang) FROM STDIN") as copy:
        for number in range(count):
            body = f"{number} {' '.join(drawn.words(rng.randint(*LENGTHS)))}"
            copy.write_row(("\\x" + sha256(body).hex(), body, "en"))
    documents = -(-count // DOCUMENT)
    conn.execute(DOCUMENTS.encode(), (ours.COLLECTION, DOCUMENT, documents))
    conn.execute(CHUNKS.encode(), (DOCUMENT, DOCUMENT))


def _query(text: str) -> Query:
    return Query(text, ours.COLLECTION, k=10, mode="text")


def _ts_rank(conn: psycopg.Connection[Any], text: str) -> list[Any]:
    ((query,),) = conn.execute(ANY_WORD, (text,)).fetchall()
    return conn.execute(TS_RANK.encode(), {"query": query}).fetchall()


def _timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def _summary(times: Sequence[float]) -> dict[str, float]:
    return {"median": round(float(np.median(times)), 1), "p95": round(float(np.percentile(times, 95)), 1)}

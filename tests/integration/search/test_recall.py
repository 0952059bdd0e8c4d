"""Filters of every selectivity on 20,000 clustered vectors: never short, and close to the exact answer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pipelines.embedded.postgres import Postgres
from pipelines.records import sha256
from pipelines.search import hybrid
from pipelines.search.query import Filters, Query
from pipelines.store.database import Pool, open_pool
from tests.integration.search.corpus import Corpus, Vectors, literal

pytestmark = [pytest.mark.integration, pytest.mark.slow]
COUNT, DIM, PER_DOCUMENT, QUESTIONS = 20_000, 96, 4, 20


def clustered(rng: np.random.Generator) -> Vectors:
    rows = rng.normal(size=(100, DIM))[rng.integers(0, 100, COUNT)] + 1.2 * rng.normal(size=(COUNT, DIM))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16).astype(np.float32)  # what halfvec keeps


@pytest.fixture(scope="module")
def large(postgres_server: Postgres, template: str) -> Iterator[tuple[Pool, Vectors]]:
    postgres_server.ensure_database("recall", template)
    dsn = postgres_server.dsn("recall")
    vectors = clustered(np.random.default_rng(11))
    fill(dsn, vectors)
    pool = open_pool(dsn, size=2)
    yield pool, vectors
    pool.close()
    postgres_server.drop_database("recall")


def fill(dsn: str, vectors: Vectors) -> None:
    corpus = Corpus(dsn, DIM)
    space = corpus.space()
    shas = [sha256(f"passage {n:05}") for n in range(COUNT)]
    documents = [sha256(f"document {n}") for n in range(COUNT // PER_DOCUMENT)]
    with corpus.conn.cursor() as cursor:
        with cursor.copy(
            "COPY document (doc_id, collection, source, uri, source_version, pipeline_fingerprint, state, fence,"
            " commit_token, run_id, loaded_version, chunk_set, chunk_count, metadata) FROM STDIN"
        ) as copy:
            for n, doc_id in enumerate(documents):
                metadata = f'{{"tenth": {n % 10}, "hundredth": {n % 100}}}'
                token = f"00000000-0000-0000-0000-{n:012}"
                copy.write_row(
                    (doc_id, "k", "s", str(n), "1", "p", "loaded", 1, token, corpus.run, "1", corpus.chunk_set, 4, metadata)
                )
        with cursor.copy("COPY text (text_sha, body, lang) FROM STDIN") as copy:
            for n, sha in enumerate(shas):
                copy.write_row((sha, f"passage {n:05}", "en"))
        with cursor.copy(
            "COPY chunk (chunk_set, doc_id, ordinal, text_sha, char_start, char_end, tokens) FROM STDIN"
        ) as copy:
            for n, sha in enumerate(shas):
                copy.write_row((corpus.chunk_set, documents[n // PER_DOCUMENT], n % PER_DOCUMENT, sha, 0, 13, 4))
        cursor.execute(f"DROP INDEX space_{space}_embedding_idx".encode())
        with cursor.copy(f"COPY space_{space} FROM STDIN".encode()) as copy:
            for sha, vector in zip(shas, vectors, strict=True):
                copy.write_row(("public", sha, literal(vector)))
        cursor.execute(f"CREATE INDEX ON space_{space} USING hnsw (embedding halfvec_ip_ops)".encode())
        cursor.execute("ANALYZE")
    corpus.close()


# exact_chunks 0 sends every filter through the index, whatever it keeps.
@pytest.mark.parametrize("exact_chunks", [hybrid.EXACT_CHUNKS, 0])
@pytest.mark.parametrize(
    ("filters", "step"), [(Filters(), 1), (Filters(metadata={"tenth": 3}), 10), (Filters(metadata={"hundredth": 3}), 100)]
)
def test_recall_and_length(
    large: tuple[Pool, Vectors], monkeypatch: pytest.MonkeyPatch, filters: Filters, step: int, exact_chunks: int
) -> None:
    pool, vectors = large
    monkeypatch.setattr(hybrid, "EXACT_CHUNKS", exact_chunks)
    rng = np.random.default_rng(12)
    allowed = np.flatnonzero((np.arange(COUNT) // PER_DOCUMENT) % step == (3 if step > 1 else 0))
    found = 0
    for near in rng.integers(0, COUNT, QUESTIONS):
        question = vectors[near] + 0.05 * rng.normal(size=DIM).astype(np.float32)
        hits = hybrid.search(pool, Query("x", "k", mode="dense", filters=filters), question)
        assert len(hits) == 10
        best = allowed[np.argsort(-(vectors[allowed] @ question))[:10]]
        found += len({int(hit.uri) * PER_DOCUMENT + hit.ordinal for hit in hits} & set(best.tolist()))
    assert found / (10 * QUESTIONS) >= 0.95


def test_a_filter_that_keeps_little_returns_all_of_it(large: tuple[Pool, Vectors]) -> None:
    pool, vectors = large
    hits = hybrid.search(pool, Query("x", "k", k=200, mode="dense", filters=Filters(metadata={"hundredth": 7})), vectors[0])
    assert len(hits) == COUNT // 100
    assert {int(hit.uri) % 100 for hit in hits} == {7}


def test_what_the_index_cannot_reach_is_found_while_it_is_new(
    large: tuple[Pool, Vectors], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among hundreds of dead entries the living one may not be reached; here it is not in the index at all."""
    pool, vectors = large
    place = 4_321
    ready = "UPDATE pg_index SET indisready = %s WHERE indexrelid = 'space_1_embedding_idx'::regclass"
    with pool.connection() as conn:
        conn.execute(ready, (False,))
    with pool.connection() as conn:
        name = {"sha": sha256(f"passage {place:05}")}
        conn.execute("CREATE TEMP TABLE moved ON COMMIT DROP AS SELECT * FROM space_1 WHERE text_sha = %(sha)s", name)
        conn.execute("DELETE FROM space_1 WHERE text_sha = %(sha)s", name)
        conn.execute("INSERT INTO space_1 SELECT * FROM moved")
        conn.execute("UPDATE document SET loaded_at = now() WHERE uri = %s", (str(place // PER_DOCUMENT),))
    with pool.connection() as conn:
        conn.execute(ready, (True,))
    tenth = Filters(metadata={"tenth": place // PER_DOCUMENT % 10})
    for filters, exact_chunks in ((Filters(), hybrid.EXACT_CHUNKS), (tenth, 0)):
        monkeypatch.setattr(hybrid, "EXACT_CHUNKS", exact_chunks)
        query = Query("x", "k", mode="dense", filters=filters)
        first = hybrid.search(pool, query, vectors[place])[0]
        assert (int(first.uri), first.ordinal) == divmod(place, PER_DOCUMENT)
        with monkeypatch.context() as patched:
            patched.setattr(hybrid, "NEWEST_DOCUMENTS", 0)
            found = hybrid.search(pool, query, vectors[place])
            assert divmod(place, PER_DOCUMENT) not in {(int(hit.uri), hit.ordinal) for hit in found}

"""Spaces and vectors: one model per collection, unit vectors only, nothing computed twice."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
from psycopg import sql

from pipelines.errors import FixConfiguration, Retry
from pipelines.records import sha256
from pipelines.store import spaces, vectors
from tests.integration.store.corpus import Corpus, Identity, unit_vectors

pytestmark = pytest.mark.integration


def shas(*texts: str) -> list[bytes]:
    return [sha256(text) for text in texts]


def test_a_collection_keeps_its_space(corpus: Corpus) -> None:
    again = spaces.ensure_space(
        corpus.pool, Identity(), collection="knowledge", chunk_set=corpus.space.chunk_set, storage="halfvec"
    )
    assert again == corpus.space == spaces.active(corpus.pool, "knowledge")
    assert spaces.active(corpus.pool, "unknown") is None
    assert spaces.active(corpus.pool, "knowledge", tenant="other") is None


def test_what_serves_decides_whatever_is_asked_for(corpus: Corpus) -> None:
    other = spaces.ensure_chunk_set(corpus.pool, fingerprint="set-2", settings={}, tokenizer_sha="t", max_tokens=9)
    assert other == spaces.ensure_chunk_set(corpus.pool, fingerprint="set-2", settings={}, tokenizer_sha="t", max_tokens=9)
    asked = spaces.ensure_space(
        corpus.pool, Identity("other", "e5"), collection="knowledge", chunk_set=other, storage="vector"
    )
    assert asked == corpus.space
    with pytest.raises(FixConfiguration, match="chunk set 99 is not in the database"):
        spaces.chunk_set(corpus.pool, 99)
    with pytest.raises(FixConfiguration, match="space 99 does not exist"):
        spaces.get(corpus.pool, 99)


@pytest.mark.parametrize(("storage", "dim"), [("vector", 2001), ("halfvec", 4001)])
def test_more_dimensions_than_an_index_takes_are_refused(corpus: Corpus, storage: spaces.Storage, dim: int) -> None:
    with pytest.raises(FixConfiguration, match=str(dim)):
        spaces.ensure_space(
            corpus.pool, Identity("wide", dim=dim), collection="wide", chunk_set=corpus.space.chunk_set, storage=storage
        )


@pytest.mark.parametrize("storage", ["vector", "halfvec"])
def test_a_space_refuses_zero_vectors_and_has_no_index_before_its_load(corpus: Corpus, storage: spaces.Storage) -> None:
    space = spaces.ensure_space(
        corpus.pool, Identity("x", dim=3), collection="x", chunk_set=corpus.space.chunk_set, storage=storage
    )
    indexes = corpus.rows("SELECT indexdef FROM pg_indexes WHERE tablename = %s", f"space_{space.id}")
    assert not [definition for (definition,) in indexes if "hnsw" in definition]
    corpus.rows("INSERT INTO text (text_sha, body) VALUES (%s, 't')", sha256("t"))
    insert = sql.SQL("INSERT INTO {} (text_sha, embedding) VALUES (%s, %s)").format(space.table)
    with corpus.pool.connection() as conn, pytest.raises(psycopg.errors.CheckViolation):
        conn.execute(insert, (sha256("t"), "[0,0,0]"))


@pytest.mark.parametrize("count", [0, 1, 511, 513, 1200])
def test_remembered_vectors_come_back_in_order(corpus: Corpus, count: int) -> None:
    wanted = shas(*(f"text {i}" for i in range(count)))
    matrix = unit_vectors(wanted)
    assert vectors.remember(corpus.pool, "hash-8", wanted, matrix) == count
    assert vectors.remember(corpus.pool, "hash-8", wanted, matrix) == 0
    order = np.random.default_rng(count).permutation(count)
    loaded = vectors.load_vectors(corpus.pool, corpus.space, [wanted[i] for i in order])
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, matrix[order])


def test_the_first_vector_of_a_text_stays(corpus: Corpus) -> None:
    (sha,) = shas("one")
    first, second = unit_vectors(shas("x")), unit_vectors(shas("y"))
    vectors.remember(corpus.pool, "hash-8", [sha, sha], np.vstack([first, first]))
    vectors.remember(corpus.pool, "hash-8", [sha], second)
    assert np.array_equal(vectors.load_vectors(corpus.pool, corpus.space, [sha]), first)


def test_missing_knows_the_cache_and_the_space_of_this_model_only(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["published"]})
    corpus.rows("DELETE FROM embedding_cache")
    corpus.embed(["cached"])
    vectors.remember(corpus.pool, "another model", shas("foreign"), unit_vectors(shas("foreign")))
    wanted = shas("published", "cached", "foreign", "unknown")
    assert vectors.missing(corpus.pool, corpus.space, wanted) == set(shas("foreign", "unknown"))
    with pytest.raises(Retry, match="2 of 4"):
        vectors.load_vectors(corpus.pool, corpus.space, wanted)


@pytest.mark.parametrize("damage", ["nan", "zero", "long", "float64", "rows"])
def test_what_is_no_unit_vector_never_reaches_the_database(corpus: Corpus, damage: str) -> None:
    wanted = shas("a", "b")
    matrix = unit_vectors(wanted)
    broken = {
        "nan": np.where(np.arange(16).reshape(2, 8) == 9, np.float32("nan"), matrix),
        "zero": matrix * np.array([[1], [0]], np.float32),
        "long": matrix * np.array([[1], [1.5]], np.float32),
        "float64": matrix.astype(np.float64),
        "rows": matrix[:1],
    }[damage]
    with pytest.raises(ValueError, match="vectors|matrix"):
        vectors.remember(corpus.pool, "hash-8", wanted, broken)
    assert corpus.rows("SELECT count(*) FROM embedding_cache") == [(0,)]

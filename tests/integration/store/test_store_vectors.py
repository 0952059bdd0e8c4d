"""The embedding cache: new vectors go straight in, known ones are left as they are, and both come back as they were."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pipelines.records import sha256
from pipelines.store import vectors
from tests.integration.store.corpus import Corpus, unit_vectors

pytestmark = pytest.mark.integration
SHAS = [sha256(str(number)) for number in range(1200)]


def test_new_vectors_are_remembered_and_read_back(corpus: Corpus) -> None:
    matrix = unit_vectors(SHAS)
    assert vectors.remember(corpus.pool, corpus.space.embedder_fingerprint, SHAS, matrix) == 1200
    assert np.array_equal(vectors.load_vectors(corpus.pool, corpus.space, SHAS), matrix)
    assert corpus.rows("SELECT DISTINCT tenant, embedder_fingerprint FROM embedding_cache") == [("public", "hash-8")]


def test_known_vectors_and_repeated_ones_are_left_as_they_are(corpus: Corpus) -> None:
    fingerprint = corpus.space.embedder_fingerprint
    vectors.remember(corpus.pool, fingerprint, SHAS[:3], unit_vectors(SHAS[:3]))
    before = corpus.rows("SELECT xmin::text FROM embedding_cache ORDER BY text_sha")
    again = [*SHAS[:5], SHAS[4]]
    assert vectors.remember(corpus.pool, fingerprint, again, np.flip(unit_vectors(again), axis=1).copy()) == 2
    assert np.array_equal(vectors.load_vectors(corpus.pool, corpus.space, SHAS[:3]), unit_vectors(SHAS[:3]))
    assert (
        corpus.rows("SELECT xmin::text FROM embedding_cache WHERE text_sha = ANY(%s) ORDER BY text_sha", SHAS[:3]) == before
    )


def test_writers_of_the_same_vectors_in_any_order_do_not_stop_each_other(corpus: Corpus) -> None:
    def remember(shas: list[bytes]) -> int:
        return vectors.remember(corpus.pool, corpus.space.embedder_fingerprint, shas, unit_vectors(shas))

    with ThreadPoolExecutor(4) as threads:
        written = list(threads.map(remember, [SHAS, SHAS[::-1], SHAS[600:] + SHAS[:600], SHAS]))
    assert sum(written) == 1200

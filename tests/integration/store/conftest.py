"""A pool on a fresh database and a corpus with one space."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.store import ledger, spaces
from pipelines.store.database import Pool, open_pool
from tests.integration.store.corpus import SOURCE, Corpus, Identity


@pytest.fixture
def pool(dsn: str) -> Iterator[Pool]:
    with open_pool(dsn, size=8) as opened:
        yield opened


@pytest.fixture
def corpus(pool: Pool) -> Corpus:
    chunk_set = spaces.ensure_chunk_set(
        pool, fingerprint="set-1", settings={"target_tokens": 160}, tokenizer_sha="t", max_tokens=256
    )
    space = spaces.ensure_space(pool, Identity(), collection="knowledge", chunk_set=chunk_set, storage="halfvec")
    fence = ledger.next_fence(pool)
    run = ledger.start_run(pool, source=SOURCE, collection="knowledge", door="cli", scope="mem://", fence=fence)
    return Corpus(pool, space, run)

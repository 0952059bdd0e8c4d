"""Fixtures: an empty corpus with its pool."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.store.database import Pool, open_pool
from tests.integration.search.corpus import DIM, Corpus


@pytest.fixture
def corpus(dsn: str) -> Iterator[Corpus]:
    made = Corpus(dsn, DIM)
    yield made
    made.close()


@pytest.fixture
def pool(dsn: str) -> Iterator[Pool]:
    opened = open_pool(dsn, size=2)
    yield opened
    opened.close()

"""What the search stage embeds, and what it refuses before it embeds anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.embed.hashing import Hashing, WordTokenizer
from pipelines.errors import FixConfiguration
from pipelines.search import hybrid
from pipelines.search.query import Hit, Query
from pipelines.stages import search
from pipelines.store import spaces
from pipelines.store.spaces import Space
from tests.unit.search.test_answer import hit

SPACE = Space(1, "public", "k", 1, "hashing", "1", "hash", 384, "hash", "halfvec", 256, "active", 1)


class FakeContext:
    """A pool that is never touched, and an embedder that remembers."""

    pool = None

    def __init__(self) -> None:
        self.embedded: list[str] = []

    @property
    def models(self) -> FakeContext:
        return self

    def model_name(self, collection: str, space: Space) -> str:
        return "hash"

    def tokenizer(self, name: str) -> WordTokenizer:
        return WordTokenizer()

    def reranker(self, collection: str) -> None:
        return None

    def embedder(self, name: str) -> FakeContext:
        return self

    def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
        self.embedded += texts
        return Hashing().embed(texts)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Query]:
    """The queries that reach the database."""
    queries: list[Query] = []

    def retrieve(pool: Any, query: Query, vector: Any, space: Any = None, watch: Any = None) -> list[Hit]:
        queries.append(query)
        return [hit(f"u{n}", f"rope {n} is new.") for n in range(query.k)]

    monkeypatch.setattr(hybrid, "search", retrieve)
    monkeypatch.setattr(spaces, "active", lambda pool, collection, *, tenant: SPACE)
    return queries


@pytest.mark.parametrize("text", ["", " \x00 ", "x" * 4001])
def test_a_bad_question_costs_no_embedding(asked: list[Query], text: str) -> None:
    ctx: Any = FakeContext()
    with pytest.raises(FixConfiguration):
        search.run(ctx, Query(text, "k"))
    assert ctx.embedded == asked == []


def test_a_clean_question_is_embedded_and_a_long_one_as_far_as_it_fits(asked: list[Query]) -> None:
    ctx: Any = FakeContext()
    search.run(ctx, Query("is\x00 the rope new?", "k"))
    assert ctx.embedded[0] == "is the rope new?"
    ctx = FakeContext()
    question = " ".join(["rope"] * 700)
    search.run(ctx, Query(question, "k"))
    assert ctx.embedded[0] == " ".join(["rope"] * 256)
    assert asked[-1].text == question  # the words of all of it are searched


@pytest.mark.parametrize("k", [1, 10, 40])
def test_as_many_hits_as_asked(asked: list[Query], k: int) -> None:
    ctx: Any = FakeContext()
    assert len(search.run(ctx, Query("rope", "k", k=k))) == k


def test_text_mode_embeds_nothing_and_keeps_the_order(asked: list[Query]) -> None:
    ctx: Any = FakeContext()
    found = search.run(ctx, Query("7 rope", "k", mode="text"))
    assert [each.uri for each in found] == [f"u{n}" for n in range(10)]
    assert ctx.embedded == []

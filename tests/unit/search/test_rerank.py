"""Passages are ordered by their sentences, within bounds, the same way every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.embed.cross_words import SharedWords
from pipelines.embed.hashing import Hashing, WordTokenizer
from pipelines.search import rerank
from pipelines.search.lengths import fitting
from pipelines.search.query import Hit
from pipelines.text.sentences import spans
from tests.unit.search.test_answer import hit


class Counting(Hashing):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[str]] = []

    def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
        self.calls.append(list(texts))
        return super().embed(texts)


def order(question: str, hits: Sequence[Hit], embedder: Hashing | None = None) -> list[Hit]:
    embedder = embedder or Hashing()
    return rerank.rerank(hits, embedder.embed([question])[0], embedder, WordTokenizer(), spans)


def test_the_passage_with_the_better_sentence_comes_first() -> None:
    hits = [
        hit("vague", "Cats sleep. Dogs bark. The rope is blue.", similarity=0.2),
        hit("right", "Rain falls. The tow rope is replaced every two years. Trees grow.", similarity=0.2),
    ]
    best = order("how often is the tow rope replaced", hits)[0]
    assert best.uri == "right"
    scores = {best.passage[sentence.start : sentence.end]: sentence.score for sentence in best.sentences}
    assert max(scores, key=lambda text: scores[text]) == "The tow rope is replaced every two years."


def test_the_heading_counts() -> None:
    hits = [hit("other", "It is replaced in May.", title="Cats"), hit("rope", "It is replaced in May.", title="Tow rope")]
    assert order("when is the tow rope replaced", hits)[0].uri == "rope"


def test_equal_hits_keep_their_order() -> None:
    hits = [hit(f"u{n}", "The same words.", similarity=0.3) for n in range(20)]
    assert [h.uri for h in order("words", hits)] == [h.uri for h in hits]


def test_the_work_is_one_bounded_call_and_nothing_is_lost() -> None:
    long = " ".join(f"Word{n} stands here." for n in range(500))
    hits = [hit(f"u{n}", f"{long} Number {n} ends it.") for n in range(rerank.PASSAGES + 10)]
    embedder = Counting()
    result = order("word", hits, embedder)
    assert len(embedder.calls) == 2  # the question's is the test's own
    assert len(embedder.calls[1]) <= 2 * rerank.SENTENCES
    assert sorted(h.uri for h in result) == sorted(h.uri for h in hits)
    assert [h.uri for h in result[rerank.PASSAGES :]] == [h.uri for h in hits[rerank.PASSAGES :]]


def test_a_sentence_beyond_the_limit_is_cut_and_not_refused() -> None:
    passage = "rope " * 1000
    assert order("rope", [hit("a", passage.strip())])[0].sentences[0].end == len(passage) - 1


@pytest.mark.parametrize("hits", [[], [hit("a", "")]])
def test_nothing_to_order(hits: list[Hit]) -> None:
    assert [replace(each, reranked=None) for each in order("rope", hits)] == [replace(each, sentences=()) for each in hits]


@pytest.mark.parametrize("text", ["a " * 300, "word" * 3, "x, " * 200, "", "Ä" * 5000 + " b" * 300])
def test_fitting(text: str) -> None:
    tokenizer = WordTokenizer(max_tokens=16)
    (cut,) = fitting([text], tokenizer)
    assert tokenizer.count([cut])[0] <= 16
    assert text.startswith(cut)
    assert tokenizer.count([text])[0] > 16 or cut == text
    assert cut == text or tokenizer.count([cut])[0] >= 8
    assert "sentences" not in hit("a", text).as_dict()


def test_a_cross_encoder_orders_the_leading_passages_and_leaves_the_rest() -> None:
    hits = [hit(str(place), "Trees grow.") for place in range(rerank.PASSAGES)]
    hits[7] = hit("rope", "The tow rope is replaced every two years.")
    hits.append(hit("late", "When is the tow rope replaced?"))
    found = [entry.uri for entry in rerank.by_pairs(hits, "when is the tow rope replaced", SharedWords())]
    assert found == ["rope", *(str(place) for place in range(rerank.PASSAGES) if place != 7), "late"]

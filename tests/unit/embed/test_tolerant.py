"""Poison texts are found and the others keep their vectors; an embedder that is down is not the texts' fault."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.embed import tolerant
from pipelines.embed.hashing import Hashing
from pipelines.errors import FailRun, Retry, SkipDocument
from pipelines.records import Reason

TEXTS = [f"text number {index}" for index in range(37)]


class Faulty(Hashing):
    """Raises for the texts in `poison`, answers NaN for those in `nan`, counts its calls."""

    def __init__(self, poison: Sequence[str] = (), nan: Sequence[str] = (), error: Exception | None = None) -> None:
        super().__init__()
        self.poison, self.nan, self.error = set(poison), set(nan), error or RuntimeError("shape mismatch")
        self.calls = 0

    def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
        self.calls += 1
        if self.poison & set(texts):
            raise self.error
        matrix = super().embed(texts)
        matrix[[text in self.nan for text in texts]] = np.nan
        return matrix


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError(), SkipDocument(Reason.EMBED_FAILED, "not this")])
def test_a_refused_batch_is_halved_to_the_offending_texts(error: Exception) -> None:
    embedder = Faulty(poison=[TEXTS[0], TEXTS[20]], error=error)
    found = tolerant.embed(embedder, TEXTS)
    assert {row: reason for row, (reason, _) in found.refused.items()} == dict.fromkeys((0, 20), Reason.EMBED_FAILED)
    healthy = [row for row in range(len(TEXTS)) if row not in found.refused]
    np.testing.assert_array_equal(found.matrix[healthy], Hashing().embed([TEXTS[row] for row in healthy]))
    assert embedder.calls < 4 * np.log2(len(TEXTS)) + 4


def test_a_broken_vector_is_computed_again_alone_and_then_refused() -> None:
    found = tolerant.embed(Faulty(nan=[TEXTS[3]]), TEXTS)
    assert list(found.refused) == [3]
    assert found.refused[3][0] is Reason.EMBED_NAN


def test_a_vector_of_another_size_is_named_so() -> None:
    class Short(Hashing):
        def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
            matrix = super().embed(texts)
            return matrix[:, :-1] if TEXTS[5] in texts else matrix

    assert {row: reason for row, (reason, _) in tolerant.embed(Short(), TEXTS).refused.items()} == {5: Reason.EMBED_DIM}


@pytest.mark.parametrize("embedder", [Faulty(poison=[*TEXTS, tolerant.CANARY]), Faulty(nan=[*TEXTS, tolerant.CANARY])])
def test_an_embedder_that_fails_on_a_harmless_text_is_down(embedder: Faulty) -> None:
    with pytest.raises(Retry, match="fails on any text"):
        tolerant.embed(embedder, TEXTS)


@pytest.mark.parametrize("error", [Retry("server away"), FailRun("too long")])
def test_the_projects_own_errors_pass_through(error: Exception) -> None:
    with pytest.raises(type(error)):
        tolerant.embed(Faulty(poison=[TEXTS[7]], error=error), TEXTS)

"""Answer a question from the corpus: search, then the best sentences with their sources, or an honest refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.search import answer, hybrid
from pipelines.search.rerank import PASSAGES
from pipelines.stages import search

if TYPE_CHECKING:
    from pipelines.context import Context


def run(
    ctx: Context,
    question: str,
    collection: str = "knowledge",
    filters: hybrid.Filters | None = None,
    *,
    by_user: bool = False,
) -> answer.Answer:
    """The cited answer; `by_user` as in `Query`. Raises what search raises."""
    query = hybrid.Query(
        text=question, collection=collection, k=PASSAGES, filters=filters or hybrid.Filters(), by_user=by_user
    )
    found = search.found(ctx, query)
    assert found.reading is not None  # the mode is hybrid
    return answer.answer(question, found.hits, found.reading.embedder, found.reading.tokenizer)

"""Search one collection: embed the question, run the hybrid query, order the best passages by their sentences."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.search import hybrid, rerank
from pipelines.search.lengths import fitting
from pipelines.search.query import check, clean_text
from pipelines.text.sentences import spans

if TYPE_CHECKING:
    from pipelines.context import Context


def run(ctx: Context, query: hybrid.Query) -> list[hybrid.Hit]:
    """At most `query.k` passages, best first. Mode "text" embeds nothing and is not reranked.

    A question beyond the embedder's limit is embedded as far as it fits; the words of all of it are searched. Raises
    FixConfiguration for a bad query or an unknown collection, Retry when the database or the embedder fails.
    """
    check(query)
    if query.mode == "text":
        return hybrid.search(ctx.pool, query, None)
    tokenizer, embedder = ctx.tokenizer(query.collection), ctx.embedder(query.collection)
    vector = embedder.embed(fitting([clean_text(query.text)], tokenizer))[0]
    hits = hybrid.search(ctx.pool, replace(query, k=max(query.k, rerank.PASSAGES)), vector)
    return rerank.rerank(hits, vector, embedder, tokenizer, spans)[: query.k]

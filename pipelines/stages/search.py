"""Search one collection: embed the question, run the hybrid query, order the best passages by their sentences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipelines.errors import Retry, Switched
from pipelines.search import hybrid, rerank
from pipelines.search.lengths import fitting
from pipelines.search.query import check, clean_text
from pipelines.store import spaces
from pipelines.text.sentences import spans

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.ports import Embedder, Tokenizer

SWITCHES = 5  # of the collection during one search


@dataclass(frozen=True, slots=True)
class Reading:
    """The space that answers, with the model that its questions are embedded by."""

    space: spaces.Space
    embedder: Embedder
    tokenizer: Tokenizer


@dataclass(frozen=True, slots=True)
class Found:
    """Hits, and what they were found with; `reading` is None for mode "text"."""

    hits: list[hybrid.Hit]
    reading: Reading | None = None


def run(ctx: Context, query: hybrid.Query) -> list[hybrid.Hit]:
    """At most `query.k` passages, best first. Mode "text" embeds nothing and is not reranked.

    A question beyond the embedder's limit is embedded as far as it fits; the words of all of it are searched. Raises
    FixConfiguration for a bad query or an unknown collection, Retry when the database or the embedder fails.
    """
    return found(ctx, query).hits


def found(ctx: Context, query: hybrid.Query) -> Found:
    """As `run`, with the model. A collection that is switched meanwhile is searched again with the new space's model."""
    check(query)
    for _ in range(SWITCHES):
        try:
            return Found(hybrid.search(ctx.pool, query, None)) if query.mode == "text" else _dense(ctx, query)
        except Switched:
            continue
    raise Retry(f"collection {query.collection!r} was switched {SWITCHES} times during one search; ask again")


def reading(ctx: Context, space: spaces.Space) -> Reading:
    """The space with its model. Raises FixConfiguration when no models.yaml entry is that model."""
    name = ctx.model_name(space.collection, space)
    return Reading(space, ctx.models.embedder(name), ctx.models.tokenizer(name))


def ranked(hits: list[hybrid.Hit], vector: hybrid.Vector, read: Reading, k: int) -> list[hybrid.Hit]:
    """The best `k` after reranking by sentences."""
    return rerank.rerank(hits, vector, read.embedder, read.tokenizer, spans)[:k]


def wide(query: hybrid.Query) -> hybrid.Query:
    """The query for as many passages as reranking reads."""
    return replace(query, k=max(query.k, rerank.PASSAGES))


def embedded(query: hybrid.Query, read: Reading) -> hybrid.Vector:
    """(dim,) float32 of the question, as much of it as the model reads."""
    vector: hybrid.Vector = read.embedder.embed(fitting([clean_text(query.text)], read.tokenizer), query=True)[0]
    return vector


def _dense(ctx: Context, query: hybrid.Query) -> Found:
    space = spaces.active(ctx.pool, query.collection, tenant=query.tenant)
    if space is None:
        return Found(hybrid.search(ctx.pool, replace(query, mode="text"), None))  # which says what is searchable
    read = reading(ctx, space)
    vector = embedded(query, read)
    hits = hybrid.search(ctx.pool, wide(query), vector, space)
    return Found(ranked(hits, vector, read, query.k), read)

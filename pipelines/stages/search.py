"""Search one collection: embed the question, run the hybrid query, order the best passages.

They are ordered by their sentences, and where the collection has a cross-encoder, by that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipelines.errors import FixConfiguration, Retry, Switched
from pipelines.search import as_of, explain, hybrid, rerank
from pipelines.search.lengths import fitting
from pipelines.search.query import check, clean_text
from pipelines.stages import asked
from pipelines.store import spaces
from pipelines.text.sentences import spans

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.ports import Embedder, Reranker, Tokenizer
    from pipelines.store.database import Pool

SWITCHES = 5  # of the collection during one search


@dataclass(frozen=True, slots=True)
class Reading:
    """The space that answers, with the model that its questions are embedded by."""

    space: spaces.Space
    embedder: Embedder
    tokenizer: Tokenizer
    reranker: Reranker | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Hits, and what they were found with; `reading` is None for mode "text"."""

    hits: list[hybrid.Hit]
    reading: Reading | None = None
    explanation: explain.Explanation | None = None  # where one was asked for
    notes: tuple[str, ...] = ()  # what a reader must know about an answer as of an earlier moment


def run(ctx: Context, query: hybrid.Query) -> list[hybrid.Hit]:
    """At most `query.k` passages, best first. Mode "text" embeds nothing and is not reranked.

    A question beyond the embedder's limit is embedded as far as it fits; the words of all of it are searched. Raises
    FixConfiguration for a bad query or an unknown collection, Retry when the database or the embedder fails.
    """
    return found(ctx, query).hits


def found(ctx: Context, query: hybrid.Query, *, explained: bool = False) -> Found:
    """As `run`, with the model. A collection that is switched meanwhile is searched again with the new space's model."""
    check(query)
    if explained and query.as_of is not None:
        raise FixConfiguration("only what is served now can be explained; ask either for an explanation or as of a moment")
    query = permitted(ctx, query)
    for _ in range(SWITCHES):
        watch = explain.Watch(explained)
        try:
            found = _worded(ctx.pool, query, watch) if query.mode == "text" else _dense(ctx, query, watch)
            if query.by_user:
                asked.keep(ctx, query, found)
            return replace(found, explanation=_explanation(query, found, watch)) if explained else found
        except Switched:
            continue
    raise Retry(f"collection {query.collection!r} was switched {SWITCHES} times during one search; ask again")


def permitted(ctx: Context, query: hybrid.Query) -> hybrid.Query:
    """The query with the sources that are open by configuration, where it says who reads; others need an access list."""
    if query.filters.principals is None:
        return query
    sources = tuple(name for name, source in ctx.settings.sources.items() if source.access == "open")
    return replace(query, filters=replace(query.filters, open_sources=sources))


def reading(ctx: Context, space: spaces.Space) -> Reading:
    """The space with its model. Raises FixConfiguration when no models.yaml entry is that model."""
    name = ctx.model_name(space.collection, space)
    return Reading(space, ctx.models.embedder(name), ctx.models.tokenizer(name), ctx.reranker(space.collection))


def ranked(hits: list[hybrid.Hit], vector: hybrid.Vector, read: Reading, query: hybrid.Query) -> list[hybrid.Hit]:
    """The best `query.k` after reranking; by sentences in any case, because answers are made of them."""
    ordered = rerank.rerank(hits, vector, read.embedder, read.tokenizer, spans)
    if read.reranker is not None:
        ordered = rerank.by_pairs(ordered, clean_text(query.text), read.reranker)
    return ordered[: query.k]


def wide(query: hybrid.Query) -> hybrid.Query:
    """The query for as many passages as reranking reads."""
    return replace(query, k=max(query.k, rerank.PASSAGES))


def embedded(query: hybrid.Query, read: Reading) -> hybrid.Vector:
    """(dim,) float32 of the question, as much of it as the model reads."""
    vector: hybrid.Vector = read.embedder.embed(fitting([clean_text(query.text)], read.tokenizer), query=True)[0]
    return vector


def _worded(pool: Pool, query: hybrid.Query, watch: explain.Watch) -> Found:
    if query.as_of is not None:
        then = as_of.search(pool, query, None)
        return Found(then.hits, notes=then.notes)
    return Found(hybrid.search(pool, query, None, watch=watch))


def _explanation(query: hybrid.Query, found: Found, watch: explain.Watch) -> explain.Explanation:
    if found.reading is None:
        reranker = "none"
    elif found.reading.reranker is None:
        reranker = f"sentences by {found.reading.space.model}"
    else:
        reranker = f"{found.reading.reranker.model} {found.reading.reranker.revision[:12]}"
    return explain.explanation(query, found.hits, watch, reranker)


def _dense(ctx: Context, query: hybrid.Query, watch: explain.Watch) -> Found:
    space = spaces.active(ctx.pool, query.collection, tenant=query.tenant)
    if space is None:
        return _worded(ctx.pool, replace(query, mode="text"), watch)  # which says what is searchable
    read = reading(ctx, space)
    with watch.phase("question's vector"):
        vector = embedded(query, read)
    if query.as_of is not None:
        then = as_of.search(ctx.pool, wide(query), vector, space)
        return Found(ranked(then.hits, vector, read, query), read, notes=then.notes)
    hits = hybrid.search(ctx.pool, wide(query), vector, space, watch)
    with watch.phase("reranking"):
        return Found(ranked(hits, vector, read, query), read)

"""Search, then what a language model or a person is given to answer from: pieces of documents within a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.errors import FixConfiguration
from pipelines.search import as_of, context, neighbours
from pipelines.search.query import Hit, Query
from pipelines.stages import search
from pipelines.store import spaces
from pipelines.text.sentences import spans

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.ports import Tokenizer
    from pipelines.store.database import Pool

MAX_TOKENS = 1_000_000


def run(ctx: Context, query: Query, tokens: int, *, section: bool = False) -> context.Assembled:
    """Pieces of at most `tokens`, counted by the collection's own tokenizer; other models count otherwise.

    With `section`, hits grow to the whole text under their heading, otherwise to the passages beside them. Raises what the
    search raises, and FixConfiguration for a budget that is none.
    """
    if not 1 <= tokens <= MAX_TOKENS:
        raise FixConfiguration(f"the budget is {tokens} tokens; use a whole number from 1 to {MAX_TOKENS:,}")
    query = search.permitted(ctx, query)
    found = search.found(ctx, query)
    if not found.hits:
        return context.Assembled((), (), 0, tokens, notes=found.notes)
    width = neighbours.SECTION if section else 1
    around = _around(ctx.pool, found.hits, query, width)
    read = found.reading or _reading(ctx, query)
    assembled = context.assemble(found.hits, around, tokens, counter(read.tokenizer), spans)
    return replace(assembled, counted_by=read.space.model, notes=found.notes)


def _around(pool: Pool, hits: Sequence[Hit], query: Query, width: int) -> list[neighbours.Stretch]:
    """What stands around the hits, now or as of the query's moment."""
    if query.as_of is None:
        return neighbours.around(pool, hits, tenant=query.tenant, filters=query.filters, width=width)
    return neighbours.stretches(hits, as_of.around(pool, hits, query, width + 1), width)


def counter(tokenizer: Tokenizer) -> context.Count:
    """Tokens of each text without the special ones, which a text has once, however many parts it is made of."""

    def count(texts: Sequence[str]) -> list[int]:
        return [tokens - tokenizer.special_tokens for tokens in tokenizer.count(texts)] if texts else []

    return count


def _reading(ctx: Context, query: Query) -> search.Reading:
    """The collection's model, which a search by words alone does not need."""
    space = spaces.active(ctx.pool, query.collection, tenant=query.tenant)
    if space is None:
        raise FixConfiguration(f"collection {query.collection!r} has nothing to search; sync a source of it first")
    return search.reading(ctx, space)

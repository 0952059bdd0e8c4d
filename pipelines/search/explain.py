"""Why a search found what it found: legs, terms, filters, lag and times, and for each hit where its score comes from.

A search that is watched reads what it needs for that in the same snapshot (`facts`), with the very terms and scores that it
used; the parts of a score add up to it. Ranks and scores are the search's own, nothing is estimated afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from pipelines.search import access, surroundings
from pipelines.search.fulltext import Terms, contribution
from pipelines.search.fusion import share
from pipelines.search.query import Hit, Query
from pipelines.store.spaces import Space
from pipelines.store.sql import load

Connection = psycopg.Connection[TupleRow]
Key = tuple[bytes, int]  # document and ordinal


class TermUse(NamedTuple):
    """What one word of the question adds to a passage's BM25 relevance."""

    term: str
    frequency: int  # in the passage, with its headings
    idf: float
    adds: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read inside the search's snapshot. `order` are the hits by their fused score, 1-based."""

    space: Space
    terms: Terms
    order: Mapping[Key, int]
    relevance: Mapping[Key, float]
    around: Mapping[Key, float]
    uses: Mapping[Key, tuple[TermUse, ...]]
    near: int | None
    worded: int | None
    reach: int
    exact_chunks: int
    lag: tuple[int, int]


@dataclass
class Watch:
    """Takes the times of a search's phases; with `wanted`, the search also leaves its facts here."""

    wanted: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    facts: Facts | None = None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what is done inside, added to what the phase has taken already."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class HitExplained:
    """One hit: `score` is `from_vector` + `from_words`; `relevance` is the sum of what the terms add.

    `from_words` is of `relevance` and of `surroundings`, the relevance of the passages around it, half and half.
    """

    rank: int
    uri: str
    member: str
    ordinal: int
    fused_rank: int
    score: float
    from_vector: float
    from_words: float
    similarity: float | None
    dense_rank: int | None
    relevance: float
    surroundings: float
    text_rank: int | None
    terms: tuple[TermUse, ...]
    reranked: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One query's explanation, as `millrace search --explain` gives it. A leg that did not run found None."""

    collection: str
    mode: str
    space: int
    model: str
    revision: str
    reranker: str
    found_by_vector: int | None
    found_by_words: int | None
    terms: tuple[tuple[str, int, float], ...]  # word, texts that have it, idf
    mean_words: float
    filters: Mapping[str, Any]
    filtering: str
    pending_texts: int
    pending_changes: int
    hits: tuple[HitExplained, ...]
    seconds: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            **asdict(self),
            "terms": [dict(zip(("term", "texts", "idf"), term, strict=True)) for term in self.terms],
            "hits": [{**asdict(hit), "terms": [use._asdict() for use in hit.terms]} for hit in self.hits],
        }


def facts(
    conn: Connection,
    space: Space,
    arguments: Mapping[str, Any],
    terms: Terms,
    hits: Sequence[Hit],
    texts: Mapping[Key, bytes],
    relevance: Mapping[bytes, float],
    around: Mapping[bytes, float],
    found: tuple[int | None, int | None],
) -> Facts:
    """Read the rest of what an explanation says; `texts` are the text hashes of hits, `found` how many each leg found."""
    queries = load("explain")
    shown = {(hit.doc_id, hit.ordinal): texts[hit.doc_id, hit.ordinal] for hit in hits}
    names = [term.query for term in terms.known]
    rows = conn.execute(
        queries["frequencies"], {"tenant": arguments["tenant"], "shas": list(shown.values()), "terms": names}
    ).fetchall()
    uses: dict[bytes, list[TermUse]] = {}
    for sha, words, number, frequency in rows:
        term = terms.known[number - 1]
        adds = contribution(term, frequency, int(words), terms.mean)
        uses.setdefault(bytes(sha), []).append(TermUse(_word(term.query), frequency, term.idf, adds))
    reach = conn.execute(sql.SQL(queries["reach"]).format(corpus=access.corpus()), arguments).fetchall()[0][0]
    lag = conn.execute(load("lexicon")["lag"], {"tenant": arguments["tenant"]}).fetchall()[0]
    return Facts(
        space,
        terms,
        {key: place for place, key in enumerate(shown, start=1)},
        {key: relevance.get(sha, 0.0) for key, sha in shown.items()},
        {key: around.get(sha, 0.0) for key, sha in shown.items()},
        {key: tuple(uses.get(sha, ())) for key, sha in shown.items()},
        *found,
        int(reach),
        arguments["exact_chunks"],
        (int(lag[0]), int(lag[1])),
    )


def explanation(query: Query, hits: Sequence[Hit], watch: Watch, reranker: str) -> Explanation:
    """The hits in their final order, explained. Pure."""
    facts = watch.facts
    if facts is None:
        raise ValueError("nothing was watched: search with a Watch(wanted=True)")
    return Explanation(
        collection=query.collection,
        mode=query.mode,
        space=facts.space.id,
        model=facts.space.model,
        revision=facts.space.revision,
        reranker=reranker,
        found_by_vector=facts.near,
        found_by_words=facts.worded,
        terms=tuple((_word(term.query), term.texts, term.idf) for term in facts.terms.known),
        mean_words=facts.terms.mean,
        filters=_named(query),
        filtering=_filtering(query, facts),
        pending_texts=facts.lag[0],
        pending_changes=facts.lag[1],
        hits=tuple(_explained(rank, hit, facts) for rank, hit in enumerate(hits, start=1)),
        seconds=dict(watch.seconds),
    )


def _explained(rank: int, hit: Hit, facts: Facts) -> HitExplained:
    key = (hit.doc_id, hit.ordinal)
    relevance, around = facts.relevance[key], facts.around[key]
    return HitExplained(
        rank,
        hit.uri,
        hit.member,
        hit.ordinal,
        facts.order[key],
        hit.score,
        hit.similarity or 0.0,
        share(surroundings.mix(relevance, around), facts.terms.information),
        hit.similarity,
        hit.dense_rank,
        relevance,
        around,
        hit.text_rank,
        tuple(sorted(facts.uses[key], key=lambda use: -use.adds)),
        hit.reranked,
    )


def _named(query: Query) -> dict[str, Any]:
    """The filters that are set."""
    return {name: value for name, value in asdict(query.filters).items() if value not in (None, ())}


def _filtering(query: Query, facts: Facts) -> str:
    if not query.filters.any:
        return "none"
    if facts.reach <= facts.exact_chunks:
        return f"exact: all {facts.reach} passages that the filters keep were compared"
    return (
        f"index scan: the filters keep more than {facts.exact_chunks} passages; it goes on until enough are found, and one "
        "that gives up is repeated exactly"
    )


def _word(query: str) -> str:
    """A term's lexeme, out of its tsquery."""
    return query[1:-1].replace("''", "'").replace("\\\\", "\\")

"""Hybrid retrieval: nearest passages by vector, best passages by words, fused by reciprocal rank.

One statement does it (`include/sql/queries/search.sql`), against the active space and the served versions only, whatever
the mode. Each text appears once; other documents with the same passage are listed beside it. Filters never leave the result
short: few matching chunks are compared exactly, many are reached by an iterative index scan, and a scan that still ends
early is repeated exactly.

Texts that were published since the last fold are analysed by the search itself, up to PENDING of them (`store/lexicon.py`).
The text leg takes the best matches by `ts_rank` and orders them by BM25 over the tenant's own word frequencies; in the
fusion its vote counts by the share of the question's information that the passage has, so that a passage with one common
word of ten says little. Measured on Cranfield (1,400 abstracts, 225 questions, all-MiniLM-L6-v2, nDCG@10):

    dense 0.500    text by ts_rank 0.458    text by BM25 0.510
    fused with ts_rank,     text weight 0.25 / 0.5 / 0.75 / 1    0.523  0.528  0.526  0.524
    fused with BM25,        text weight 0.25 / 0.5 / 0.75 / 1    0.539  0.546  0.550  0.552
    fused with BM25, by share,  text weight 1 / 2 / 3            0.551  0.546  0.537

With weight 1 by share the fusion is as good as without, and does not push a good dense hit out when the words mislead.
Does not embed the question (the caller does), and does not answer it (`answer.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from math import log
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.rows import TupleRow, dict_row
from psycopg.types.json import Jsonb

from pipelines.errors import FixConfiguration, Switched
from pipelines.search.query import Filters, Hit, Place, Query, check, clean_text
from pipelines.store import sql as statements
from pipelines.store.database import Pool, connection
from pipelines.store.spaces import Space, active_in

__all__ = ["Filters", "Hit", "Place", "Query", "search", "search_beside"]

RRF_K = 60
DENSE_WEIGHT = 1.0
TEXT_WEIGHT = 1.0
SCORED = 500  # of the text leg's matches, by ts_rank, are weighed with the rarity of their words
COMMON, MANY = 5000, 100_000  # words and texts are counted no further
PENDING = 300  # texts that no fold has analysed yet are analysed by the search, so many of them: some 30 ms
MIN_CANDIDATES = 50  # per leg
EXACT_CHUNKS = 4000  # filters that keep at most this many chunks are compared one by one
QUERY_WORDS = 64
PLACES = 10  # documents listed for one text
TIMEOUT_MS = 10_000
MAX_SCAN_TUPLES = 200_000
SCAN_MEM_MULTIPLIER = 16
# What the opening of a superseded document says of itself; "supersedes" and "replaces" are said of others.
SUPERSEDED = (
    r"\m(superseded|replaced)\M\s+(by|on|in|from|with)\M|\mstatus\M\W{0,4}(superseded|withdrawn|obsolete|outdated)\M"
    r"|\mersetzt\s+(durch|am)\M|\m(no longer (valid|in force)|nicht mehr gültig)\M"
)

Vector = npt.NDArray[np.float32]
Connection = psycopg.Connection[TupleRow]


def search(pool: Pool, query: Query, vector: Vector | None, space: Space | None = None) -> list[Hit]:
    """At most `query.k` hits, best first, always in the same order for the same corpus.

    `vector` is the question's (dim,) float32 by the embedder of `space`, which must be the one that serves; mode "text"
    reads none, and without a space the caller vouches for the vector. Raises Switched when another space serves by now,
    FixConfiguration for a query that cannot be searched or a collection without an active space, Retry when the database is
    away or slow.
    """
    check(query)
    with _snapshot(pool) as conn:
        serving = _active_space(conn, query)
        if space is not None and space.id != serving.id:
            raise Switched(f"collection {query.collection!r} is served from space {serving.id} by now, not {space.id}")
        return _found(conn, query, serving, vector)


def search_beside(pool: Pool, query: Query, vector: Vector, space: Space) -> list[Hit]:
    """As `search`, in a space that need not serve: how a new one is judged before it does."""
    check(query)
    with _snapshot(pool) as conn:
        return _found(conn, query, space, vector)


@contextmanager
def _snapshot(pool: Pool) -> Iterator[Connection]:
    """A transaction that sees one moment. A space's table that was dropped since that moment is a switch, not a defect."""
    with connection(pool) as conn:
        conn.execute(_text("snapshot"))
        try:
            yield conn
        except psycopg.errors.UndefinedTable as error:
            raise Switched(f"the space was retired during the search ({' '.join(str(error).split())})") from error


def _found(conn: Connection, query: Query, space: Space, vector: Vector | None) -> list[Hit]:
    arguments = _arguments(query, space, vector)
    _prepare(conn, arguments)
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(space.fill(_text("search")), arguments).fetchall()
    return _distinct(_hits(rows))[: query.k]


def _text(name: str) -> Any:
    return statements.load("search")[name]


def _active_space(conn: Connection, query: Query) -> Space:
    space = active_in(conn, query.collection, tenant=query.tenant)
    if space is None:
        known = [name for (name,) in conn.execute(_text("collections"), {"tenant": query.tenant})]
        raise FixConfiguration(
            f"collection {query.collection!r} has nothing to search (searchable: {', '.join(known) or 'none'}); "
            "sync a source of it first"
        )
    return space


def _prepare(conn: Connection, arguments: dict[str, Any]) -> None:
    """Transaction-local settings, and the question's words as a tsquery."""
    settings = {
        "ef_search": str(min(1000, 2 * arguments["candidates"])),
        "max_scan_tuples": str(MAX_SCAN_TUPLES),
        "scan_mem_multiplier": str(SCAN_MEM_MULTIPLIER),
        "timeout": f"{TIMEOUT_MS}ms",
    }
    conn.execute(_text("settings"), settings)
    if arguments["lexical"]:
        arguments.update(_terms(conn, arguments))


def _terms(conn: Connection, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The question's words that the texts know, as a tsquery and with their weights; no text leg when there are none."""
    words = conn.execute(_text("terms"), {"text": arguments["text"], "words": QUERY_WORDS}).fetchall()
    limits = {"tenant": arguments["tenant"], "pending": PENDING, "common": COMMON, "many": MANY}
    columns = {"lexemes": [lexeme for lexeme, _ in words], "terms": [term for _, term in words]}
    known = [row for row in conn.execute(_text("frequencies"), {**limits, **columns}) if row[2]]
    rarity = [log(1 + (total - texts + 0.5) / (texts + 0.5)) for _, _, texts, total in known]
    return {
        "lexical": bool(known),
        "terms": " | ".join(term for _, term, _, _ in known) or None,
        "lexemes": [lexeme for lexeme, _, _, _ in known],
        "idf": rarity,
        "idf_total": sum(rarity),
    }


def _arguments(query: Query, space: Space, vector: Vector | None) -> dict[str, Any]:
    filters = query.filters
    candidates = max(MIN_CANDIDATES, 2 * query.k)
    return {
        "tenant": query.tenant,
        "collection": query.collection,
        "chunk_set": space.chunk_set,
        "text": clean_text(query.text),
        "terms": None,
        "lexemes": [],
        "idf": [],
        "idf_total": 1.0,
        "scored": SCORED,
        "pending": PENDING,
        "vector": _literal(vector, query, space),
        "dense": query.mode != "text",
        "lexical": query.mode != "dense",
        "filtered": filters.any,
        "sources": None if filters.sources is None else list(filters.sources),
        "uri_prefix": filters.uri_prefix,
        "lang": filters.lang,
        "since": filters.since,
        "until": filters.until,
        "media_types": None if filters.media_types is None else list(filters.media_types),
        "metadata": None if filters.metadata is None else Jsonb(dict(filters.metadata)),
        "candidates": candidates,
        "exact_chunks": EXACT_CHUNKS,
        "rows": 2 * query.k + 10,  # more than k, because passages that repeat are dropped afterwards
        "places": PLACES,
        "rrf_k": RRF_K,
        "dense_weight": DENSE_WEIGHT,
        "text_weight": TEXT_WEIGHT,
        "superseded": SUPERSEDED,
    }


def _literal(vector: Vector | None, query: Query, space: Space) -> str | None:
    """The vector as pgvector reads it, unit length; None when the mode needs none."""
    if query.mode == "text":
        return None
    remedy = f"embed the question with model {space.model!r}"
    if vector is None:
        raise FixConfiguration(f"mode {query.mode!r} needs the question's vector; {remedy}")
    values = np.asarray(vector, dtype=np.float64).reshape(-1)
    if values.size != space.dim:
        raise FixConfiguration(
            f"the question's vector has {values.size} dimensions, space {space.id} has {space.dim}; {remedy}"
        )
    length = float(np.linalg.norm(values))
    if not np.isfinite(length) or length == 0:
        raise FixConfiguration(f"the question's vector is zero or not finite; {remedy}")
    return "[" + ",".join(f"{value:.8g}" for value in values / length) + "]"


def _hits(rows: Iterable[Mapping[str, Any]]) -> Iterator[Hit]:
    """One hit per text; its further documents become places."""
    for _, group in groupby(rows, key=itemgetter("text_sha")):
        first, *others = group
        fields = {key: value for key, value in first.items() if key != "text_sha"}
        fields["doc_id"] = bytes(first["doc_id"])
        fields["heading_path"] = tuple(first["heading_path"])
        fields["superseded"] = bool(first["superseded"])
        fields["also"] = tuple(
            dict.fromkeys(Place(row["uri"], row["member"]) for row in others if row["doc_id"] != first["doc_id"])
        )
        yield Hit(**fields)


def _distinct(hits: Iterable[Hit]) -> list[Hit]:
    """The same words under another heading are the same passage: the better hit keeps the others as places."""
    kept: dict[str, Hit] = {}
    for hit in hits:
        words = " ".join(hit.passage.casefold().split())
        first = kept.get(words)
        if first is None:
            kept[words] = hit
        else:
            kept[words] = _with_places(first, (Place(hit.uri, hit.member), *hit.also))
    return list(kept.values())


def _with_places(hit: Hit, places: tuple[Place, ...]) -> Hit:
    own = Place(hit.uri, hit.member)
    return replace(hit, also=tuple(place for place in dict.fromkeys(hit.also + places) if place != own))

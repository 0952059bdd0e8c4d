"""Hybrid retrieval: nearest passages by vector and best passages by words, fused by their scores.

Against the active space and the served versions only, whatever the mode; all statements of a search
(`include/sql/queries/search.sql`) see one moment. Each text appears once; other documents with the same passage are listed
beside it. Filters never leave the result short: few matching chunks are compared exactly, many are reached by an iterative
index scan, and a scan that still ends early is repeated exactly. What came last is compared exactly too: it may be hard to
reach in the index until the next vacuum.

The legs are `nearest` and BM25 (`fulltext.py`); a candidate of either gets both scores. What stands around it counts with
its words (`surroundings.py`), and `fusion.py` makes one score of them.
Does not embed the question (the caller does), and does not answer it (`answer.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby, islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql
from psycopg.rows import TupleRow, dict_row
from psycopg.types.json import Jsonb

from pipelines.errors import FixConfiguration, Switched
from pipelines.search import access, fulltext, surroundings
from pipelines.search.explain import Watch, facts
from pipelines.search.fusion import fuse
from pipelines.search.query import Filters, Hit, Place, Query, check, clean_text
from pipelines.store import sql as statements
from pipelines.store.database import Pool, connection
from pipelines.store.spaces import Space, active_in

__all__ = ["Filters", "Hit", "Place", "Query", "search", "search_beside"]

MIN_CANDIDATES = 50  # per leg
EXACT_CHUNKS = 4000  # filters that keep at most this many chunks are compared one by one
NEWEST_DOCUMENTS, NEWEST_CHUNKS = 100, 500  # whose vectors are compared one by one, whatever the index finds
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


class Legs(NamedTuple):
    """What was found, best first, by text hash: by vector, by words, and every candidate's scores."""

    near: dict[bytes, float]  # cosine
    worded: dict[bytes, float]  # BM25
    similarity: dict[bytes, float]
    relevance: dict[bytes, float]  # BM25
    around: dict[bytes, float]  # BM25 of what surrounds it
    scores: dict[bytes, float]  # fused
    terms: fulltext.Terms


def search(
    pool: Pool, query: Query, vector: Vector | None, space: Space | None = None, watch: Watch | None = None
) -> list[Hit]:
    """At most `query.k` hits, best first, always in the same order for the same corpus.

    `vector` is the question's (dim,) float32 by the embedder of `space`, which must be the one that serves; mode "text"
    reads none, and without a space the caller vouches for the vector. Raises Switched when another space serves by now,
    FixConfiguration for a query that cannot be searched or a collection without an active space, Retry when the database is
    away or slow.
    """
    check(query)
    if query.as_of is not None:
        raise ValueError("this is about what is served now; as_of.search answers for earlier moments")
    with snapshot(pool) as conn:
        serving = active_space(conn, query)
        if space is not None and space.id != serving.id:
            raise Switched(f"collection {query.collection!r} is served from space {serving.id} by now, not {space.id}")
        return _found(conn, query, serving, vector, watch or Watch())


def search_beside(pool: Pool, query: Query, vector: Vector, space: Space) -> list[Hit]:
    """As `search`, in a space that need not serve: how a new one is judged before it does."""
    check(query)
    with snapshot(pool) as conn:
        return _found(conn, query, space, vector, Watch())


@contextmanager
def snapshot(pool: Pool) -> Iterator[Connection]:
    """A transaction that sees one moment. A space's table that was dropped since that moment is a switch, not a defect."""
    with connection(pool) as conn:
        conn.execute(_text("snapshot"))
        try:
            yield conn
        except psycopg.errors.UndefinedTable as error:
            raise Switched(f"the space was retired during the search ({' '.join(str(error).split())})") from error


def _found(conn: Connection, query: Query, space: Space, vector: Vector | None, watch: Watch) -> list[Hit]:
    arguments = arguments_of(query, space, vector)
    prepare(conn, arguments)
    legs = _legs(conn, query, space, arguments, watch)
    scores = dict(islice(legs.scores.items(), arguments["rows"]))
    with watch.phase("passages"), conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_filled(space, "passages"), {**arguments, "chosen": list(scores)}).fetchall()
    hits = distinct(hits_of(rows, legs))[: query.k]
    if watch.wanted:
        texts = {(bytes(row["doc_id"]), row["ordinal"]): bytes(row["text_sha"]) for row in rows}
        found = (None if query.mode == "text" else len(legs.near), None if query.mode == "dense" else len(legs.worded))
        watch.facts = facts(conn, space, arguments, legs.terms, hits, texts, legs.relevance, legs.around, found)
    return hits


def _legs(conn: Connection, query: Query, space: Space, arguments: dict[str, Any], watch: Watch) -> Legs:
    """What each leg found, and both scores of everything that either found."""
    near: dict[bytes, float] = {}
    with watch.phase("words"):
        terms = fulltext.NO_TERMS if query.mode == "dense" else fulltext.read_terms(conn, query.tenant, arguments["text"])
        worded = fulltext.best(conn, terms, arguments) if terms.known else {}
    similarity, relevance = near, worded
    if query.mode != "text":
        with watch.phase("vectors"):
            near = _cosines(conn.execute(_filled(space, "nearest"), arguments))
        with watch.phase("other leg's scores"):
            others = {**arguments, "among": [sha for sha in worded if sha not in near]}
            similarity = near | _cosines(conn.execute(space.fill(_text("similarities")), others))
            relevance = worded | fulltext.of(conn, terms, [sha for sha in near if sha not in worded], arguments)
    with watch.phase("surroundings"):
        around = surroundings.read(conn, terms, list(similarity.keys() | relevance.keys()), arguments)
    return legs_of(near, worded, similarity, relevance, around, terms)


def legs_of(
    near: dict[bytes, float],
    worded: dict[bytes, float],
    similarity: dict[bytes, float],
    relevance: dict[bytes, float],
    around: dict[bytes, float],
    terms: fulltext.Terms,
) -> Legs:
    """The legs with the scores that they come to."""
    scores = fuse(similarity, surroundings.mixed(relevance, around), terms.information)
    return Legs(near, worded, similarity, relevance, around, scores, terms)


def _cosines(rows: Iterable[tuple[bytes, float]]) -> dict[bytes, float]:
    return {bytes(sha): float(similarity) for sha, similarity in rows}


def _filled(space: Space, name: str) -> sql.Composed:
    return space.fill(_text(name), corpus=access.corpus())


def _text(name: str) -> Any:
    return statements.load("search")[name]


def active_space(conn: Connection, query: Query) -> Space:
    space = active_in(conn, query.collection, tenant=query.tenant)
    if space is None:
        known = [name for (name,) in conn.execute(_text("collections"), {"tenant": query.tenant})]
        raise FixConfiguration(
            f"collection {query.collection!r} has nothing to search (searchable: {', '.join(known) or 'none'}); "
            "sync a source of it first"
        )
    return space


def prepare(conn: Connection, arguments: dict[str, Any]) -> None:
    """Transaction-local settings."""
    settings = {
        "ef_search": str(min(1000, 2 * arguments["candidates"])),
        "max_scan_tuples": str(MAX_SCAN_TUPLES),
        "scan_mem_multiplier": str(SCAN_MEM_MULTIPLIER),
        "timeout": f"{TIMEOUT_MS}ms",
    }
    conn.execute(_text("settings"), settings)


def arguments_of(query: Query, space: Space, vector: Vector | None) -> dict[str, Any]:
    filters = query.filters
    candidates = max(MIN_CANDIDATES, 2 * query.k)
    return {
        "tenant": query.tenant,
        "collection": query.collection,
        "chunk_set": space.chunk_set,
        "text": clean_text(query.text),
        "vector": _literal(vector, query, space),
        "filtered": filters.any,
        "sources": None if filters.sources is None else list(filters.sources),
        "uri_prefix": filters.uri_prefix,
        "lang": filters.lang,
        "since": filters.since,
        "until": filters.until,
        "media_types": None if filters.media_types is None else list(filters.media_types),
        "metadata": None if filters.metadata is None else Jsonb(dict(filters.metadata)),
        **access.arguments(filters),
        "candidates": candidates,
        "exact_chunks": EXACT_CHUNKS,
        "newest_documents": NEWEST_DOCUMENTS,
        "newest_chunks": NEWEST_CHUNKS,
        "rows": 2 * query.k + 10,  # more than k, because passages that repeat are dropped afterwards
        "places": PLACES,
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


def hits_of(rows: Iterable[Mapping[str, Any]], legs: Legs) -> Iterator[Hit]:
    """One hit per text; its further documents become places."""
    places = [{sha: place for place, sha in enumerate(leg, start=1)} for leg in (legs.near, legs.worded)]
    for sha, group in groupby(rows, key=lambda row: bytes(row["text_sha"])):
        first, *others = group
        fields = {key: value for key, value in first.items() if key != "text_sha"}
        fields["doc_id"] = bytes(first["doc_id"])
        fields["heading_path"] = tuple(first["heading_path"])
        fields["superseded"] = bool(first["superseded"])
        fields["also"] = tuple(
            dict.fromkeys(Place(row["uri"], row["member"]) for row in others if row["doc_id"] != first["doc_id"])
        )
        yield Hit(
            **fields,
            score=legs.scores[sha],
            similarity=legs.similarity.get(sha),
            dense_rank=places[0].get(sha),
            text_rank=places[1].get(sha),
        )


def distinct(hits: Iterable[Hit]) -> list[Hit]:
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

"""Search what was served at an earlier moment: after a run, or at a time (`include/sql/queries/as_of.sql`).

Passages that were replaced or deleted since are in `chunk_past` with their words, so they can be read whatever became of
their texts. All passages of that moment are compared, without indexes; it reads them all and takes its time. What a text's
words tell is counted over the texts of that moment. Vectors are those of the model that serves now, from its space or the
embedding cache; a text whose vector has expired is found by its words only, and the result says how many those are.

What is not kept: a document's title, metadata, access list and modification time are those of now (who may not see it now
does not see it then either), and so is its collection. The source version of a replaced passage is unknown and "". While a
run publishes a document its old passages end a little before the new ones begin: between the two it is not there. Passages
of a chunk set that is gone were kept as far as their documents have not changed since they were cut anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow, dict_row

from pipelines.errors import FixConfiguration, Switched
from pipelines.search import access, fulltext, hybrid, surroundings
from pipelines.search.hybrid import Legs, Vector
from pipelines.search.neighbours import Passage, to_passage
from pipelines.search.query import Hit, Query, check
from pipelines.store.database import Pool
from pipelines.store.spaces import Space
from pipelines.store.sql import load

TIMEOUT_MS = 120_000

Connection = psycopg.Connection[TupleRow]


@dataclass(frozen=True, slots=True)
class Then:
    """Hits as of `moment`, and what a reader must know about them, a line each."""

    moment: datetime
    hits: list[Hit]
    notes: tuple[str, ...]


def search(pool: Pool, query: Query, vector: Vector | None, space: Space | None = None) -> Then:
    """At most `query.k` hits among what was served at `query.as_of`, best first.

    `vector` is the question's, by the embedder of `space`, which must be the one that serves now; mode "text" reads none.
    Raises as `hybrid.search` does, and FixConfiguration for a run or moment that cannot be answered for.
    """
    check(query)
    with _snapshot(pool) as conn:
        serving = hybrid.active_space(conn, query)
        if space is not None and space.id != serving.id:
            raise Switched(f"collection {query.collection!r} is served from space {serving.id} by now, not {space.id}")
        arguments = {**hybrid.arguments_of(query, serving, vector), **_moment(conn, query)}
        arguments |= {"fingerprint": serving.embedder_fingerprint, "among": None}
        legs, notes = _legs(conn, query, serving, arguments)
        chosen = list(islice(legs.scores, arguments["rows"]))
        with conn.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(_filled(serving, "passages"), {**arguments, "chosen": chosen}).fetchall()
        hits = hybrid.distinct(hybrid.hits_of(rows, legs))[: query.k]
        return Then(arguments["moment"], hits, (*arguments["notes"], *notes))


def around(pool: Pool, hits: Sequence[Hit], query: Query, width: int) -> list[Passage]:
    """The passages that were served around the hits of `search`, for `neighbours.stretches`."""
    with _snapshot(pool) as conn:
        serving = hybrid.active_space(conn, query)
        words = Query(query.text, query.collection, query.tenant, query.k, "text", query.filters)
        values = {
            **hybrid.arguments_of(words, serving, None),
            **_moment(conn, query),
            "among": sorted({hit.doc_id for hit in hits}),
            "doc_ids": [hit.doc_id for hit in hits],
            "ordinals": [hit.ordinal for hit in hits],
            "width": width,
        }
        return [to_passage(row) for row in conn.execute(_filled(serving, "around"), values)]


@contextmanager
def _snapshot(pool: Pool) -> Iterator[Connection]:
    with hybrid.snapshot(pool) as conn:
        conn.execute(load("as_of")["deadline"], {"timeout": f"{TIMEOUT_MS}ms"})
        yield conn


def _moment(conn: Connection, query: Query) -> dict[str, Any]:
    """The moment that is asked for, the chunk set that served then, and what to say of both."""
    queries, names = load("as_of"), {"tenant": query.tenant, "collection": query.collection}
    moment = query.as_of if isinstance(query.as_of, datetime) else _end_of(conn, query)
    first, now, forgotten = conn.execute(queries["bounds"], names).fetchall()[0]
    if first is None or moment < first:
        since = "it has no run" if first is None else f"its first run began at {first.isoformat()}"
        raise FixConfiguration(
            f"nothing of {query.collection!r} was served at {moment.isoformat()}: {since}; ask for a later moment"
        )
    if forgotten is not None and moment < forgotten:
        raise FixConfiguration(
            f"what was served at {moment.isoformat()} is not all kept: of passages replaced before {forgotten.isoformat()} "
            "some are gone (keep_past_days); ask for a later moment"
        )
    if moment > now:
        raise FixConfiguration(f"{moment.isoformat()} is not over yet (it is {now.isoformat()}); leave as-of out")
    notes = [f"as of {moment.isoformat()}" + ("" if moment == query.as_of else f", the end of run {query.as_of}")]
    row = conn.execute(queries["chunk_set"], {**names, "moment": moment}).fetchone()
    if row is not None and not row[1]:
        notes.append("passages were cut anew since: of documents that changed between then and that, some are missing")
    return {"moment": moment, "chunk_set_then": row[0] if row else None, "notes": notes}


def _end_of(conn: Connection, query: Query) -> datetime:
    row = conn.execute(load("as_of")["run"], {"tenant": query.tenant, "run_id": query.as_of}).fetchone()
    if row is None or row[0] != query.collection:
        known = "there is no such run" if row is None else f"it is a run of {row[0]!r}"
        raise FixConfiguration(f"run {query.as_of} tells nothing about collection {query.collection!r}: {known}")
    if row[2] is None:
        raise FixConfiguration(f"run {query.as_of} is {row[1]} and has no end; ask for a finished run or a moment")
    ended: datetime = row[2]
    return ended


def _legs(conn: Connection, query: Query, space: Space, arguments: dict[str, Any]) -> tuple[Legs, list[str]]:
    """What each leg found, as in `hybrid.py`, and a note on what could not be compared."""
    word_of = {} if query.mode == "dense" else fulltext.read_lexemes(conn, arguments["text"])
    rows = conn.execute(_filled(space, "statistics"), {**arguments, "lexemes": list(word_of)}).fetchall()
    texts, words, lacking = rows[0][:3]
    forms = ((word_of[lexeme], term, having) for *_, lexeme, term, having in rows if term is not None)
    terms = fulltext.weighted(forms, texts, words)
    values = {**arguments, **fulltext.scoring(terms), "match": fulltext.any_of(terms.known)}
    scores = conn.execute(_filled(space, "scores"), values).fetchall()
    similarity = {bytes(sha): float(cosine) for sha, cosine, *_ in scores if cosine is not None}
    relevance = {bytes(sha): float(value) for sha, _, value, *_ in scores if value is not None}
    found_near = {bytes(sha) for sha, *_, found, _ in scores if found}
    found_worded = {bytes(sha) for sha, *_, found in scores if found}
    notes = []
    if lacking and query.mode != "text":
        notes.append(
            f"{lacking} of {texts} texts of then have no vector of {space.model!r} any more: they were "
            + ("not searched; use mode hybrid or text" if query.mode == "dense" else "found by their words only")
        )
    middles = {**values, **surroundings.asked(terms), "middles": list(similarity.keys() | relevance.keys())}
    around = surroundings.weighed(terms, conn.execute(_filled(space, "surroundings"), middles)) if terms.known else {}
    near, worded = _ordered(similarity, found_near), _ordered(relevance, found_worded)
    return hybrid.legs_of(near, worded, similarity, relevance, around, terms), notes


def _ordered(scores: dict[bytes, float], found: set[bytes]) -> dict[bytes, float]:
    return {sha: scores[sha] for sha in sorted(found, key=lambda sha: (-scores[sha], sha))}


def _filled(space: Space, name: str) -> sql.Composed:
    queries = load("as_of")
    return space.fill(
        queries[name],
        passages=sql.SQL(queries["passages_then"]).format(visible=access.visible()),
        texts=sql.SQL(queries["texts_then"]),
        relevance=fulltext.relevance(),
        frequency=fulltext.frequency(),
    )

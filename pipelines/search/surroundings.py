"""What the passages around a passage say: the question's words, looked for a few passages before and after it.

A passage is short, so the words of a question are often spread over it and its neighbours. Half of what words are worth to a
passage is therefore the BM25 of its stretch of the document, WIDTH passages to either side, as one text. Measured, nDCG@10:

    half of it from               text only   hybrid    text only   hybrid         text only   hybrid
    the passage itself   sample   0.629       0.840     PEPs 0.766  0.842   Cranfield 0.522       0.558
    its surroundings              0.690       0.856          0.806  0.867             0.521       0.561

(chosen on the sample; of the PEPs, the titles of every other one were asked for; Cranfield's documents are one or two
passages). Length counts in comparison with the other candidates' stretches. Reads the corpus by `search.sql`, statement
`surroundings`; everything else is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from pipelines.search import fulltext
from pipelines.search.access import corpus
from pipelines.search.fulltext import PENDING, Terms
from pipelines.store import sql as statements

WIDTH = 8
SHARE = 0.5
K1, B = 1.2, 0.75  # those usual for articles: a word said again tells less here than within a passage
WORDS = 0  # the term's number in rows that count all words

Row = tuple[bytes, int, int]  # text hash, number of the term from 1, how often its stretch has it


def read(
    conn: psycopg.Connection[TupleRow], terms: Terms, texts: Sequence[bytes], arguments: Mapping[str, Any]
) -> dict[bytes, float]:
    """BM25 of what surrounds each of the texts where it is shown first; a text no reader may see has none."""
    if not texts or not terms.known:
        return {}
    statement = sql.SQL(statements.load("search")["surroundings"]).format(corpus=corpus(), frequency=fulltext.frequency())
    return weighed(terms, conn.execute(statement, {**arguments, **asked(terms), "among": list(texts), "pending": PENDING}))


def asked(terms: Terms) -> dict[str, Any]:
    """The values of a statement `surroundings`, those apart that say what is searched."""
    return {"terms": [term.query for term in terms.known], "width": WIDTH}


def weighed(terms: Terms, rows: Iterable[tuple[Any, ...]]) -> dict[bytes, float]:
    """BM25 by text hash, of rows as `Row` says."""
    lengths: dict[bytes, int] = {}
    counts: dict[bytes, list[tuple[int, int]]] = {}
    for sha, number, frequency in rows:
        if number == WORDS:
            lengths[bytes(sha)] = int(frequency)
        else:
            counts.setdefault(bytes(sha), []).append((number - 1, int(frequency)))
    mean = max(1.0, sum(lengths.values()) / max(1, len(lengths)))
    scores = {}
    for sha, words in lengths.items():
        longer = K1 * (1 - B + B * words / mean)
        scores[sha] = sum(
            terms.known[place].idf * (1 + K1) * times / (times + longer) for place, times in sorted(counts.get(sha, []))
        )
    return scores


def mixed(own: Mapping[bytes, float], around: Mapping[bytes, float]) -> dict[bytes, float]:
    """Relevance of each passage: its own and that of its surroundings."""
    return {sha: mix(own.get(sha, 0.0), around.get(sha, 0.0)) for sha in own.keys() | around.keys()}


def mix(own: float, around: float) -> float:
    """Of one passage."""
    return (1 - SHARE) * own + SHARE * around

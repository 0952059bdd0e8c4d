"""Full-text search by BM25, exact however common the words are (`include/sql/queries/search.sql`, statement `weigh`).

Weighing a text costs some microseconds, so a question whose words are in a few ten thousand texts is answered by weighing
all of them. When there are more, the texts with the rarest words are weighed first. What the other words can add has an
upper bound, so most texts that have only those cannot come near the best ones found: the index is asked once more, for just
the texts whose words together could (MaxScore). Nothing is left out that belongs among the best.

Texts and words are counted per tenant, by the last fold (`store/lexicon.py`); up to PENDING texts that it has not seen are
analysed here. Knows nothing of vectors (`hybrid.py`) and of fusion (`fusion.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import log
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from pipelines.search.access import corpus
from pipelines.store import sql as statements

Connection = psycopg.Connection[TupleRow]

# Passages are short and alike in length, so a word said twice tells more than in whole articles, for which 1.2 is usual: the
# sample's nDCG@10 of text search is 0.616 with a k1 of 1.2, 0.618 with 1.6, 0.629 with 2.0 and 0.624 with 2.4.
K1, B = 2.0, 0.75
PENDING = 300  # texts that no fold has analysed yet are analysed by the search, so many of them
QUERY_WORDS = 64
AFFORDABLE = 20_000  # texts that are weighed without asking first whether they could be among the best
WAYS = 200  # alternatives of the query that finds the texts which could


class Term(NamedTuple):
    """A word of the question in one of the forms that texts have it in.

    As a tsquery, in how many texts, and what its presence tells: that of the word, however rare this form of it is. A word
    that all English texts have tells nothing where it stands unstemmed in the only French one.
    """

    word: str
    query: str
    texts: int
    idf: float

    @property
    def most(self) -> float:
        """What it can add to a text's relevance at most, however often it is in it and however short the text."""
        return self.idf * (1 + K1)


class Terms(NamedTuple):
    """All forms of words that texts know, those that tell most first, and the mean number of words of a text."""

    known: tuple[Term, ...]
    mean: float

    @property
    def information(self) -> float:
        """What all words together tell: the relevance of a text of mean length that has each once, in one form."""
        return sum({term.word: term.idf for term in self.known}.values())


NO_TERMS = Terms((), 1.0)


def read_terms(conn: Connection, tenant: str, text: str) -> Terms:
    """The question's words with the statistics of the tenant's texts."""
    word_of = read_lexemes(conn, text)
    values = {"tenant": tenant, "lexemes": list(word_of), "pending": PENDING}
    rows = conn.execute(statements.load("search")["statistics"], values).fetchall()
    return weighted(((word_of[row[0]], *row[1:3]) for row in rows), *rows[0][3:]) if rows else NO_TERMS


def read_lexemes(conn: Connection, text: str) -> dict[str, str]:
    """{form that texts may have it in, in any language that they are indexed in: the question's word}."""
    rows = conn.execute(statements.load("search")["terms"], {"text": text, "words": QUERY_WORDS})
    return dict(rows.fetchall())


def weighted(found: Iterable[tuple[str, str, int]], texts: int, words: int) -> Terms:
    """Terms with their weights: word, form as a tsquery and in how many texts, of `texts` with so many words together."""
    forms = list(found)
    having = Counter[str]()
    for word, _, count in forms:
        having[word] += count
    known = [Term(word, query, count, _idf(min(texts, having[word]), texts)) for word, query, count in forms]
    mean = words / max(1, texts)
    return Terms(tuple(sorted(known, key=lambda term: (-term.idf, term.query))), max(1.0, mean))


def relevance() -> sql.Composed:
    """The fragment that scores a text `t`, which has a tsv and words; its values are those of `scoring`."""
    return sql.SQL(statements.load("search")["relevance"]).format(frequency=frequency())


def frequency() -> sql.Composed:
    """The fragment that tells how often a text `t`, which has a tsv, has a term `w`: `f.tf`."""
    return sql.SQL(statements.load("search")["frequency"]).format()


def scoring(terms: Terms) -> dict[str, Any]:
    """The values of the fragment `relevance`."""
    return {
        "terms": [term.query for term in terms.known],
        "idf": [term.idf for term in terms.known],
        "mean": terms.mean,
        "k1": K1,
        "b": B,
    }


def best(conn: Connection, terms: Terms, arguments: Mapping[str, Any]) -> dict[bytes, float]:
    """Relevance by text hash of the `candidates` best texts, best first, equal ones by hash."""
    count, first = arguments["candidates"], _affordable(terms.known)
    found = _weigh(conn, terms, {**arguments, "match": any_of(terms.known[:first])})
    rest = terms.known[first:]
    least = list(found.values())[count - 1] if len(found) >= count else 0.0
    others = at_least(rest, least)
    if others is None:
        return found  # nothing else can come near
    match = f"({others}) & !({any_of(terms.known[:first])})"
    found |= _weigh(conn, terms, {**arguments, "match": match})
    return dict(sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))[:count])


def of(conn: Connection, terms: Terms, texts: Sequence[bytes], arguments: Mapping[str, Any]) -> dict[bytes, float]:
    """The relevance of these texts; those without a word of the question are left out."""
    if not texts or not terms.known:
        return {}
    values = {**arguments, "match": any_of(terms.known), "among": list(texts), "candidates": len(texts)}
    return _weigh(conn, terms, values)


def contribution(term: Term, frequency: int, words: int, mean: float) -> float:
    """What a term adds to the relevance of a text of so many words; statement `weigh` adds these up."""
    return term.most * frequency / (frequency + K1 * (1 - B + B * words / mean))


def any_of(terms: Sequence[Term]) -> str:
    """The tsquery of the texts that have one of the terms."""
    return " | ".join(term.query for term in terms)


def at_least(terms: Sequence[Term], relevance: float) -> str | None:
    """A tsquery that finds every text which these terms alone can lift to `relevance`; None when they can lift none.

    It may find more: of many terms, those that tell least are taken to be in every text, so that it stays small.
    """
    ordered = sorted(terms, key=lambda term: -term.most)
    if sum(term.most for term in ordered) <= relevance:
        return None
    for kept in range(len(ordered), 0, -1):
        granted = sum(term.most for term in ordered[kept:])
        if granted > relevance:
            break  # those would do alone
        ways = list(islice(_exceeding(ordered[:kept], relevance - granted), WAYS + 1))
        if len(ways) <= WAYS:
            return " | ".join(" & ".join(term.query for term in way) for way in ways) or None
    return any_of(ordered)


def _exceeding(terms: Sequence[Term], needed: float) -> Iterator[tuple[Term, ...]]:
    """The smallest sets of the terms, which come with the greatest `most` first, whose `most` sum to more than `needed`."""
    left = sum(term.most for term in terms)
    for place, term in enumerate(terms):
        if left <= needed:
            return
        if term.most > needed:
            yield (term,)
        else:
            for way in _exceeding(terms[place + 1 :], needed - term.most):
                yield (term, *way)
        left -= term.most


def _affordable(terms: Sequence[Term]) -> int:
    """How many of the rarest terms are weighed without asking; the rarest always is."""
    total = 0
    for place, term in enumerate(terms):
        total += term.texts
        if place and total > AFFORDABLE:
            return place
    return len(terms)


def _idf(texts: int, total: int) -> float:
    """Above 0 also where the count of all texts lags behind that of those with the term."""
    return log(1 + (max(0, total - texts) + 0.5) / (texts + 0.5))


def _weigh(conn: Connection, terms: Terms, values: Mapping[str, Any]) -> dict[bytes, float]:
    queries = statements.load("search")
    statement = sql.SQL(queries["weigh"]).format(corpus=corpus(), relevance=relevance())
    rows = conn.execute(statement, {"among": None, **values, **scoring(terms), "pending": PENDING})
    return {bytes(sha): float(relevance) for sha, relevance in rows}

"""Benchmark sets: versions of slices with their questions and judgments, candidates under review, and the passages they
are made from. A version is written once, with its questions, in one transaction; nothing updates one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from pipelines.errors import FixConfiguration
from pipelines.records import PUBLIC_TENANT, Candidate, Hidden, Question, sha256
from pipelines.store.database import Pool, connection
from pipelines.store.spaces import Space
from pipelines.store.sql import load


class Corpus(NamedTuple):
    """What is served at one moment: equal hashes mean the same documents with the same passages."""

    sha: bytes
    documents: int


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The newest version of one slice."""

    id: int
    collection: str
    name: str
    slice: str
    version: int
    corpus_sha: bytes
    documents: int
    created_by: str
    created_at: datetime
    questions: int

    @property
    def label(self) -> str:
        """What scores are named by."""
        return f"{self.name}/{self.slice} v{self.version}"


@dataclass(frozen=True, slots=True)
class Proposed:
    """One candidate with what was said to it."""

    id: int
    slice: str
    body: str
    documents: tuple[str, ...]
    cluster: str
    builder: str
    evidence: str
    overlap: float | None
    hidden: dict[str, Any] | None
    state: str
    reason: str
    decided_by: str | None
    decided_at: datetime | None

    def question(self) -> Question:
        """It as a question of a slice."""
        relevant = tuple((document, 1) for document in self.documents)
        name = f"{self.builder}-{self.id}"
        return Question(name, self.body, relevant, self.cluster, self.builder, self.overlap, _hidden(self.hidden))


class Served(NamedTuple):
    """A served passage of a document, at [start, end) of its cleaned text."""

    document: str
    title: str
    headings: list[str]
    start: int
    end: int
    text: str
    lang: str
    text_sha: bytes


def corpus(pool: Pool, collection: str, *, tenant: str = PUBLIC_TENANT) -> Corpus:
    """What is served now."""
    with connection(pool) as conn:
        row = conn.execute(load("benchmarks")["corpus"], {"tenant": tenant, "collection": collection}).fetchone()
    assert row is not None
    return Corpus(bytes(row[0]), int(row[1]))


def addresses(pool: Pool, collection: str, *, tenant: str = PUBLIC_TENANT) -> list[str]:
    """Every served document as judgments name it, sorted."""
    with connection(pool) as conn:
        rows = conn.execute(load("benchmarks")["addresses"], {"tenant": tenant, "collection": collection}).fetchall()
    return [address for (address,) in rows]


def add_version(
    pool: Pool,
    collection: str,
    name: str,
    slice_: str,
    questions: Sequence[Question],
    *,
    content_sha: bytes,
    origin: Mapping[str, Any],
    by: str,
    tenant: str = PUBLIC_TENANT,
) -> tuple[int, bool]:
    """(version, whether it is new): the same content as the newest version makes none.

    Raises FixConfiguration for another content of a frozen slice.
    """
    served = corpus(pool, collection, tenant=tenant)
    names = {"tenant": tenant, "collection": collection, "name": name, "slice": slice_}
    statements = load("benchmarks")
    with connection(pool) as conn:
        conn.execute(statements["lock"], names)
        newest = conn.execute(statements["newest"], names).fetchone()
        if newest is not None and bytes(newest[2]) == content_sha:
            return int(newest[1]), False
        if newest is not None and slice_ == "frozen":
            raise FixConfiguration(
                f"{name}/frozen of {collection} exists with other questions and never changes; "
                "use slice rolling or challenge, or another --name"
            )
        version = 1 if newest is None else int(newest[1]) + 1
        values = {"version": version, "content_sha": content_sha, "origin": Jsonb(dict(origin)), "by": by}
        values |= {"corpus_sha": served.sha, "documents": served.documents}
        row = conn.execute(statements["insert"], names | values).fetchone()
        assert row is not None
        with conn.cursor() as cursor:
            cursor.executemany(statements["insert_query"], [_row(row[0], question) for question in questions])
            judgments = [
                {"benchmark": row[0], "query": question.id, "document": document, "relevance": relevance}
                for question in questions
                for document, relevance in question.relevant
            ]
            cursor.executemany(statements["insert_judgment"], judgments)
    return version, True


def current(pool: Pool, collection: str | None = None, *, tenant: str = PUBLIC_TENANT) -> list[Benchmark]:
    """The newest version of every slice."""
    with connection(pool) as conn, conn.cursor(row_factory=class_row(Benchmark)) as cursor:
        return cursor.execute(load("benchmarks")["current"], {"tenant": tenant, "collection": collection}).fetchall()


def questions(pool: Pool, benchmark: int) -> list[Question]:
    """The questions of a version, by name."""
    with connection(pool) as conn, conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(load("benchmarks")["questions"], {"benchmark": benchmark}).fetchall()
    return [
        Question(
            row["query_id"],
            row["body"],
            tuple(zip(row["documents"], row["relevances"], strict=True)),
            row["cluster"],
            row["origin"],
            row["overlap"],
            _hidden(row["hidden"]),
        )
        for row in rows
    ]


def propose(
    pool: Pool, collection: str, name: str, slice_: str, found: Sequence[Candidate], *, tenant: str = PUBLIC_TENANT
) -> int:
    """Add candidates to review; returns how many were new. One that was decided about is not proposed again."""
    rows = [
        {
            "tenant": tenant,
            "collection": collection,
            "name": name,
            "slice": slice_,
            "sha": sha256(entry.text, *sorted(entry.documents)),
            "body": entry.text,
            "documents": list(entry.documents),
            "cluster": entry.cluster,
            "builder": entry.builder,
            "evidence": entry.evidence,
            "overlap": entry.overlap,
            "hidden": None if entry.hidden is None else Jsonb(asdict(entry.hidden)),
        }
        for entry in found
    ]
    with connection(pool) as conn, conn.cursor() as cursor:
        cursor.executemany(load("benchmarks")["propose"], rows)
        return max(0, cursor.rowcount) if rows else 0


def candidates(
    pool: Pool,
    collection: str,
    name: str,
    state: str,
    *,
    slice_: str | None = None,
    limit: int = 1_000_000,
    tenant: str = PUBLIC_TENANT,
) -> list[Proposed]:
    """The set's candidates in a state, oldest first."""
    values = {"tenant": tenant, "collection": collection, "name": name, "state": state, "slice": slice_, "limit": limit}
    with connection(pool) as conn, conn.cursor(row_factory=class_row(Proposed)) as cursor:
        return cursor.execute(load("benchmarks")["candidates"], values).fetchall()


def candidate_counts(
    pool: Pool, collection: str | None = None, *, tenant: str = PUBLIC_TENANT
) -> list[tuple[str, str, str, str, int]]:
    """(collection, set, slice, state, candidates)."""
    with connection(pool) as conn:
        rows = conn.execute(load("benchmarks")["counts"], {"tenant": tenant, "collection": collection}).fetchall()
    return [(str(row[0]), str(row[1]), str(row[2]), str(row[3]), int(row[4])) for row in rows]


def decide(
    pool: Pool,
    collection: str,
    name: str,
    ids: Sequence[int],
    state: str,
    *,
    reason: str,
    by: str,
    tenant: str = PUBLIC_TENANT,
) -> int:
    """Accept or reject candidates of a set; returns how many there were."""
    values = {"tenant": tenant, "collection": collection, "name": name, "ids": list(ids), "state": state}
    with connection(pool) as conn:
        return conn.execute(load("benchmarks")["decide"], {**values, "reason": reason, "by": by}).rowcount


def passages(pool: Pool, space: Space, *, documents: int, seed: int) -> list[Served]:
    """The passages of at most so many served documents, drawn by the seed, each document whole and in order."""
    values = {"tenant": space.tenant, "collection": space.collection, "chunk_set": space.chunk_set}
    with connection(pool) as conn:
        rows = conn.execute(load("benchmarks")["passages"], {**values, "documents": documents, "seed": seed}).fetchall()
    return [Served._make(row) for row in rows]


def texts_of(pool: Pool, space: Space, documents: Sequence[str]) -> list[tuple[str, bytes]]:
    """(document, text hash) of every passage of the named documents that are served."""
    values = {"tenant": space.tenant, "collection": space.collection, "chunk_set": space.chunk_set}
    with connection(pool) as conn:
        rows = conn.execute(load("benchmarks")["texts_of"], {**values, "documents": list(documents)}).fetchall()
    return [(str(row[0]), bytes(row[1])) for row in rows]


def _row(benchmark: int, question: Question) -> dict[str, Any]:
    return {
        "benchmark": benchmark,
        "query": question.id,
        "body": question.text,
        "cluster": question.cluster,
        "origin": question.origin,
        "overlap": question.overlap,
        "hidden": None if question.hidden is None else Jsonb(asdict(question.hidden)),
    }


def _hidden(value: Mapping[str, Any] | None) -> Hidden | None:
    return None if value is None else Hidden(**value)

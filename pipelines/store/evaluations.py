"""What evaluations measured: one row an evaluation, one a system and slice version, one a question and measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from pipelines.records import PUBLIC_TENANT
from pipelines.store.benchmarks import Corpus
from pipelines.store.database import Pool, connection
from pipelines.store.sql import load

Scores = Mapping[str, Mapping[str, float]]  # measure -> question -> value


@dataclass(frozen=True, slots=True)
class Result:
    """One system on one slice version; `reason` says why it cannot be told, empty where it can."""

    benchmark: int
    label: str
    slice: str
    system: str
    space: int | None
    questions: int
    reason: str = ""
    measures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    compared: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scores: Scores = field(default_factory=dict)
    buckets: Mapping[str, float] = field(default_factory=dict)  # of the headline measure, by kind of question


class Former(NamedTuple):
    """An earlier result to compare with."""

    id: int
    evaluation: int
    corpus_sha: bytes
    space: int | None
    at: datetime


class Point(NamedTuple):
    """One mean of the past."""

    name: str
    slice: str
    version: int
    evaluation: int
    at: datetime
    mean: float


def add(
    pool: Pool,
    collection: str,
    *,
    space: int | None,
    door: str,
    external_id: str,
    corpus: Corpus,
    verdict: str,
    notes: Sequence[str],
    freshness: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Any],
    gates: Mapping[str, Any],
    results: Sequence[Result],
    tenant: str = PUBLIC_TENANT,
) -> int:
    """Store an evaluation with all it measured, in one transaction; returns its number."""
    statements = load("evaluations")
    values = {
        "tenant": tenant,
        "collection": collection,
        "space": space,
        "door": door,
        "external_id": external_id,
        "corpus_sha": corpus.sha,
        "documents": corpus.documents,
        "verdict": verdict,
        "notes": list(notes),
        "freshness": Jsonb(list(freshness)),
        "answers": Jsonb(dict(answers)),
        "gates": Jsonb(dict(gates)),
    }
    with connection(pool) as conn, conn.cursor() as cursor:
        number = _only(cursor.execute(statements["insert"], values).fetchone())
        for result in results:
            row = {
                "evaluation": number,
                "benchmark": result.benchmark,
                "system": result.system,
                "space": result.space,
                "questions": result.questions,
                "reason": result.reason,
                "measures": Jsonb(dict(result.measures)),
                "compared": Jsonb(dict(result.compared)),
            }
            stored = _only(cursor.execute(statements["insert_result"], row).fetchone())
            scores = [
                {"result": stored, "measure": measure, "query": query, "value": value}
                for measure, by_question in result.scores.items()
                for query, value in by_question.items()
            ]
            cursor.executemany(statements["insert_score"], scores)
    return number


def set_report(pool: Pool, evaluation: int, path: str) -> None:
    """Remember where the page of an evaluation is, once it is written."""
    with connection(pool) as conn:
        conn.execute(load("evaluations")["report"], {"evaluation": evaluation, "report": path})


def former(pool: Pool, benchmark: int, system: str) -> Former | None:
    """The newest result of the system on the same slice version."""
    with connection(pool) as conn:
        row = conn.execute(load("evaluations")["former"], {"benchmark": benchmark, "system": system}).fetchone()
    return None if row is None else Former._make(row)


def scores(pool: Pool, result: int) -> dict[str, dict[str, float]]:
    """Every value of a result."""
    found: dict[str, dict[str, float]] = {}
    with connection(pool) as conn:
        for measure, query, value in conn.execute(load("evaluations")["scores"], {"result": result}):
            found.setdefault(measure, {})[query] = value
    return found


def history(pool: Pool, collection: str, system: str, measure: str, *, tenant: str = PUBLIC_TENANT) -> list[Point]:
    """The means of a measure over time, oldest first within each slice version."""
    values = {"tenant": tenant, "collection": collection, "system": system, "measure": measure}
    with connection(pool) as conn:
        rows = conn.execute(load("evaluations")["history"], values).fetchall()
    return [Point._make(row[:6]) for row in rows]


def _only(row: tuple[Any, ...] | None) -> int:
    assert row is not None
    return int(row[0])

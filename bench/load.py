"""Loading rows without a vector index: the product's publish beside bare COPY of the same rows and beside the peers.

Ours is the real path: ledger, fences, commit tokens, foreign keys, one commit a batch. `direct` loads new
documents into an empty space, `merge` documents of which each batch has one that is known, `replace` a new version of every
document, all of whose texts changed (the old ones go into the past). Vectors are in the cache, where stage embed commits
them batch by batch; that is counted against the peers, which are handed vectors, and not against COPY. Bare COPY sends
prepared blocks of the very rows into the same tables with the same constraints and indexes, in one transaction.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.harness import Limit, Options, Result
from bench.loads import ours, peers, server
from bench.loads.rows import CHUNKS, Rows, rows
from bench.loads.server import Server

ROWS, ROUNDS = 20_000, 3
QUICK_ROWS, QUICK_ROUNDS = 5_000, 1
AGAINST_PEERS = ("ratio_tuned_peer", "ratio_langchain", "ratio_llamaindex", "ratio_haystack", "ratio_langchain_store")


def run(options: Options) -> Result:
    """Measure in turns; `--quick` loads fewer rows once and leaves the peers out."""
    count, rounds = (QUICK_ROWS, QUICK_ROUNDS) if options.quick else (ROWS, ROUNDS)
    made, other = rows(count, options.seed), rows(count, options.seed + 1)
    rates: dict[str, list[float]] = defaultdict(list)
    absent = options.quick or not peers.PYTHON.exists()
    with Server() as on:
        path = made.save(on.folder)
        for _ in range(rounds):
            _ours(on, made, other, rates)
            if not absent:
                _peers(on, path, count, rates)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    return Result(
        "load",
        _figures(count, rounds, middle),
        floors=(
            Limit("direct_share_of_copy", at_least=0.50),
            Limit("merge_share_of_copy", at_least=0.25),
            Limit("ratio_tuned_peer", at_least=2),
            Limit("ratio_langchain", at_least=5),
            Limit("ratio_llamaindex", at_least=5),
            Limit("ratio_haystack", at_least=5),
            Limit("ratio_langchain_store", at_least=30),
        ),
        goals=(Limit("direct_share_of_copy", at_least=0.75), Limit("merge_share_of_copy", at_least=0.45)),
        left_out=AGAINST_PEERS if options.quick else (),
        rows=_table(rates),
        notes=(
            "against the peers our seconds include writing the vectors into the cache; theirs have no ledger and foreign "
            "keys",
            "full text is analysed after publishing, at the rate of `fold`; of the peers only Haystack has any",
        ),
    )


def _ours(on: Server, made: Rows, other: Rows, rates: dict[str, list[float]]) -> None:
    """Bare COPY, then the three ways of publish, each on a database of its own."""
    count = len(made.texts)
    with on.database("corpus") as dsn, closing(ours.Loader.open(dsn)) as loader:
        cached = loader.remember(made)
        direct = loader.publish(ours.documents(made), "v1")
        _require(dsn, count)
        dumped = ours.dump(dsn)
        loader.remember(other)
        rates["replace"].append(count / loader.publish(ours.documents(other), "v2"))
        _require(dsn, count)
        rates["fold"].append(loader.fold())
    rates["direct"].append(count / direct)
    rates["direct_with_cache"].append(count / (direct + cached))
    with on.database("corpus") as dsn:
        rates["copy"].append(count / ours.bare_copy(dsn, dumped))
        _require(dsn, count)
    with on.database("corpus") as dsn, closing(ours.Loader.open(dsn)) as loader:
        loader.remember(made)
        _publish_before(loader, ours.documents(made)[:: ours.BATCH])
        rates["merge"].append(count / loader.publish(ours.documents(made), "v1"))
        _require(dsn, count)


def _publish_before(loader: ours.Loader, known: list[tuple[int, list[str]]]) -> None:
    """A former version of these documents, one of each batch."""
    former = [(number, [f"{text} before" for text in texts]) for number, texts in known]
    texts = [text for _, own in former for text in own]
    loader.remember(Rows(texts, rows(len(texts), 0).vectors))
    loader.publish(former, "v0")


def _peers(on: Server, path: Path, count: int, rates: dict[str, list[float]]) -> None:
    for variant in (*peers.SHIPPED, *peers.TUNED, peers.ROW_BY_ROW):
        with on.database("bare") as dsn:
            rates[variant.name].append(peers.run(dsn, variant, path, count).rate)


def _require(dsn: str, count: int) -> None:
    there = server.count(dsn, "millrace.chunk")
    if there != count:
        raise RuntimeError(f"{there} of {count} chunks are there: there is nothing to compare")


def _figures(count: int, rounds: int, middle: dict[str, float]) -> dict[str, Any]:
    figures: dict[str, Any] = {"rows": count, "documents": count // CHUNKS, "batch_documents": ours.BATCH, "rounds": rounds}
    figures |= {f"{name}_rows_per_second": round(rate) for name, rate in middle.items()}
    for way in ("direct", "merge", "replace"):
        figures[f"{way}_share_of_copy"] = round(middle[way] / middle["copy"], 3)
    measured = [variant.name for variant in (*peers.SHIPPED, *peers.TUNED) if variant.name in middle]
    if measured:
        rate = middle["direct_with_cache"]
        figures["ratio_tuned_peer"] = round(rate / max(middle[name] for name in measured), 2)
        for variant in (*peers.SHIPPED, peers.ROW_BY_ROW):
            figures[f"ratio_{variant.name}"] = round(rate / middle[variant.name], 2)
    return figures


def _table(rates: dict[str, list[float]]) -> list[tuple[str, ...]]:
    return [
        ("rows a second", "least", "median", "most"),
        *((name, *(f"{pick(values):.0f}" for pick in (min, statistics.median, max))) for name, values in rates.items()),
    ]

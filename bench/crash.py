"""SIGKILL everywhere: at the n-th stage boundary, rename, statement and commit for n = 1, 2, 3 … until a run ends unharmed.

A small archive is loaded, changed, and listed shrunken so that deletions are held. After each kill one sync must bring the
corpus to the very rows of a fault-free run, and the next must find nothing to do. Most victims are forked from a warm
process; the others are fresh processes of the command line, killed at random moments and, by strace, at random system calls.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

from bench.faults.cold import Cold
from bench.faults.lab import Lab
from bench.faults.pg_proxy import PgProxy
from bench.faults.trials import BATCH, LIMITS, SCENES, Trial, Trials
from bench.harness import Limit, Options, Result

LANES = 2
# A kill after an uncommitted statement leaves in the database what a kill before it leaves; so `after` is for commits.
SWEEPS = (
    *((scene, "commit after") for scene in SCENES),
    ("change", "statement before"),
    *((scene, kind) for kind in ("rename", "boundary") for scene in SCENES),
)
COLD_MOMENTS, COLD_CALLS = 44, 12
DRAWN, DRAWN_COLD = 16, 2  # of --quick
HARMS = {  # what a trial counts -> the figure that sums it
    "lost_rows": "lost_rows",
    "duplicate_rows": "duplicate_rows",
    "orphan_rows": "orphan_rows",
    "mixed_documents": "mixed_rows",
    "mixed_after_kill": "mixed_rows",
    "different_fingerprints": "different_fingerprints",
    "findings": "findings",
    "unaccounted": "unaccounted",
    "ledger_differences": "ledger_differences",
    "hold_differences": "hold_differences",
    "not_recovered": "not_recovered",
    "not_idle": "not_idle",
    "inflated_attempts": "inflated_attempts",
    "runs_left_running": "runs_left_running",
    "processes_left": "processes_left",
}
Line = dict[str, Any]


def run(options: Options) -> Result:
    """Kill in two lanes, each with a database of its own; `--quick` draws its kills by seed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="millrace-crash-") as folder:
        lanes: dict[int, int] = {}
        told = [Path(folder) / f"lane{index}" for index in range(LANES)]
        for index, path in enumerate(told):
            path.touch()
            lanes[_fork(index, path, options)] = index
        failed = _wait(set(lanes), told)
        lines = [json.loads(line) for path in told for line in path.read_text().splitlines()]
    return _result(options, lines, failed, time.monotonic() - began)


def _fork(index: int, path: Path, options: Options) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        with path.open("a", buffering=1) as told:
            for trial in _lane(index, options):
                told.write(json.dumps(asdict(trial)) + "\n")
        status = 0
    except BaseException:
        print(f"lane {index}: {traceback.format_exc()}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def _wait(lanes: set[int], told: list[Path]) -> int:
    """Until every lane has ended, telling how far they are; how many failed."""
    failed = turns = 0
    while lanes:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in lanes:
            lanes.remove(pid)
            failed += status != 0
        elif turns % 20 == 0:
            print(f"{sum(path.read_text().count(chr(10)) for path in told)} trials", file=sys.stderr, flush=True)
        turns += 1
        time.sleep(0.25)
    return failed


def _lane(index: int, options: Options) -> Iterator[Trial]:
    rng = random.Random(f"{options.seed}/{index}")
    with Lab(limits=LIMITS) as lab, PgProxy(lab.postgres.sockets, lab.postgres.port) as proxy:
        trials = Trials(lab, proxy)
        yield from _drawn(trials, rng, DRAWN // LANES) if options.quick else _swept(trials, index)
        with closing(Cold(lab)) as cold:
            if options.quick:
                yield from _cold(cold, rng, "load" if index else "change", DRAWN_COLD // LANES, 0)
            else:
                for scene in ("load", "change"):
                    yield from _cold(cold, rng, scene, COLD_MOMENTS // LANES // 2, COLD_CALLS // LANES // 2)


def _swept(trials: Trials, index: int) -> Iterator[Trial]:
    """Every LANES-th point of every sweep, until a run passes fewer points than that."""
    for scene, kind in SWEEPS:
        for nth in count(index + 1, LANES):
            trial = trials.run(scene, kind, nth)
            yield trial
            if not trial.killed:
                break


def _drawn(trials: Trials, rng: random.Random, wanted: int) -> Iterator[Trial]:
    killed = 0
    while killed < wanted:
        scene, kind = rng.choice(SWEEPS)
        points = trials.references[scene].points[kind.split()[0].replace("commit", "statement")]
        nth = rng.randint(1, points // 6 if "commit" in kind else points)
        trial = trials.run(scene, kind, nth)
        killed += trial.killed
        yield trial


def _cold(cold: Cold, rng: random.Random, scene: str, moments: int, calls: int) -> Iterator[Trial]:
    """So many kills of each kind; a process that ended before its moment is drawn again."""
    cold.scene(scene)
    for wanted, traced in ((moments, False), (calls, True)):
        killed = 0
        while killed < wanted:
            trial = cold.run(rng, traced)
            yield trial or Trial(scene, "cold call", 0, False, trouble="skipped")
            killed += trial.killed if trial else 1


def _result(options: Options, lines: list[Line], failed: int, seconds: float) -> Result:
    kills = [line for line in lines if line["killed"]]
    sums: Counter[str] = Counter(dict.fromkeys(HARMS.values(), 0))
    for line in lines:
        for name, figure in HARMS.items():
            sums[figure] += line["counts"].get(name, 0)
    most = max((line["counts"].get("extra_texts", 0) for line in lines), default=0)
    skipped = sum(line["trouble"] == "skipped" for line in lines)
    figures: dict[str, Any] = {
        "kills": len(kills),
        "kills_cold": sum(line["kind"].startswith("cold") for line in kills),
        "survived": sum(not _harmed(line) for line in kills),
        **sums,
        "resume_cost_batches": math.ceil(most / BATCH),
        "resume_cost_texts": most,
        "failed_lanes": failed,
        "kills_that_left_temporary_files": sum(line["counts"].get("litter", 0) > 0 for line in kills),
        "recoveries_that_left_temporary_files": sum(line["counts"].get("recovery_litter", 0) > 0 for line in kills),
        "kills_that_left_unused_texts": sum(line["counts"].get("unused_texts", 0) > 0 for line in kills),
        "skipped": skipped,
        "seconds": round(seconds),
        "seed": options.seed,
    }
    zero = (*dict.fromkeys(HARMS.values()), "failed_lanes", "recoveries_that_left_temporary_files")
    return Result(
        "crash",
        figures,
        floors=(
            Limit("kills", at_least=500),
            Limit("kills_cold", at_least=50),
            *(Limit(name, at_most=0) for name in zero),
            Limit("resume_cost_batches", at_most=1),
        ),
        left_out=("kills", "kills_cold") if options.quick else (),
        notes=tuple(_told(line) for line in lines if _harmed(line))[:20],
        rows=_rows(lines, options.quick),
    )


def _harmed(line: Line) -> bool:
    counts = line["counts"]
    beyond = counts.get("extra_texts", 0) > BATCH
    return beyond or any(counts.get(name) for name in HARMS) or line["trouble"] not in ("", "skipped")


def _told(line: Line) -> str:
    harms = {name: number for name, number in line["counts"].items() if number}
    return f"{line['scene']}, {line['kind']} {line['nth']} ({line['point']}): {harms} {line['trouble']}"


def _rows(lines: list[Line], quick: bool) -> list[tuple[str, ...]]:
    """Kills of each kind in each scene, and the first n that a run did not reach: it passes one point fewer."""
    rows: list[tuple[str, ...]] = [("scene", "killed at", "kills", "unharmed from n =")]
    for scene, kind in dict.fromkeys((line["scene"], line["kind"]) for line in lines):
        part = [line for line in lines if (line["scene"], line["kind"]) == (scene, kind)]
        passed = [line["nth"] for line in part if not line["killed"]]
        until = "" if quick or kind.startswith("cold") else str(min(passed, default="never"))
        rows.append((scene, kind, str(sum(line["killed"] for line in part)), until))
    return rows

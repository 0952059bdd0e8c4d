"""Overlapping runs of the same sources end as if they had run one after the other.

Each round, eight processes race: two schedules, the same shard executed twice, zombies stopped between stages and inside
transactions until everybody else has ended, a collector, and a writer that changes the source all the while. Then one quiet
sweep; the corpus and its ledger must be what a single sync of the same files gives. A second part lets publishers, collector
and expiry fight over a few texts.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.faults.lab import Lab
from bench.faults.recycling import recycle
from bench.faults.rivals import PROCESSES, RIVALS, play
from bench.faults.shelf import DAYS, Shelf
from bench.faults.tally import Tally
from bench.harness import Limit, Options, Result
from pipelines.errors import MillraceError

ROUNDS, QUICK_ROUNDS = 20, 2
RECYCLING, QUICK_RECYCLING = 20.0, 5.0
FILLED = "races_filled"
LEDGER = """
SELECT d.source, d.uri, d.member, d.state, d.reason, d.loaded_version, d.chunk_count,
       EXISTS (SELECT FROM quarantine q WHERE q.doc_id = d.doc_id AND q.resolved_at IS NULL)
FROM document d WHERE d.state <> 'deleted' ORDER BY 1, 2, 3
"""
WITHOUT_VECTOR = """
SELECT count(*) FROM chunk c
WHERE NOT EXISTS (SELECT FROM space_1 v WHERE v.text_sha = c.text_sha)
   OR NOT EXISTS (SELECT FROM text t WHERE t.text_sha = c.text_sha)
"""


def run(options: Options) -> Result:
    """All rounds by the seed, then the fight over texts."""
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    seconds = QUICK_RECYCLING if options.quick else RECYCLING
    with tempfile.TemporaryDirectory(prefix="millrace-shelf-") as folder:
        shelf = Shelf(Path(folder))
        with Lab(entries=shelf.sources()) as lab:
            tally = Tally(lab.folder / "tally")
            shelf.fill(random.Random(options.seed))
            _sweep(lab)
            lab.keep(FILLED)
            began = time.monotonic()
            for number in range(rounds):
                _round(lab, shelf, tally, random.Random(options.seed * 1000 + number), number)
                _say(tally, number + 1, rounds, began)
            lab.reset()
            recycle(lab, tally, seconds, options.seed)
            tally.add({"without_vector": _number(lab, WITHOUT_VECTOR), "audit": len(lab.findings())})
            return _result(options, rounds, tally)


def _round(lab: Lab, shelf: Shelf, tally: Tally, rng: random.Random, number: int) -> None:
    """One race and its verdict. Every second round begins with a full corpus, the others with an empty one."""
    if number % 2:
        lab.reset(FILLED)
    else:
        lab.reset()
    shelf.fill(rng)
    play(lab, shelf, tally, rng)
    shelf.heal(rng)
    red = _sweep(lab)
    found = {
        "red_sweeps": len(red),
        "audit": len(lab.findings()),
        "without_vector": _number(lab, WITHOUT_VECTOR),
        "deadlocks": _number(lab, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"),
    }
    raced, ledger = lab.fingerprint(), lab.query(LEDGER)
    lab.reset()
    reference = _sweep(lab)
    found["red_sweeps"] += len(reference)
    found["different"] = int(raced != lab.fingerprint())
    serial = lab.query(LEDGER)
    found["different_ledgers"] = int(ledger != serial)
    notes = [f"round {number}: {error}" for error in (*red, *reference)]
    if ledger != serial:
        notes.append(f"round {number}: raced {sorted({*ledger} - {*serial})} serial {sorted({*serial} - {*ledger})}")
    tally.add(found)
    for note in notes:
        tally.add({}, red=note[:1500])


def _sweep(lab: Lab) -> list[str]:
    """One quiet sync of everything; the errors of those that were red."""
    red = []
    sweeps: list[dict[str, Any]] = [{"source": "docs"}, *({"source": "days", "day": day} for day in DAYS)]
    for fields in sweeps:
        try:
            lab.sync({}, **fields)
        except MillraceError as error:
            red.append(f"sweep of {fields['source']}: {error}")
    return red


def _number(lab: Lab, statement: str) -> int:
    return int(lab.query(statement)[0][0])


def _say(tally: Tally, done: int, rounds: int, began: float) -> None:
    totals = tally.totals()
    print(
        f"races: round {done} of {rounds} in {time.monotonic() - began:.0f} s, {totals['different']} different,"
        f" {totals['superseded_documents']} superseded",
        file=sys.stderr,
    )


def _result(options: Options, rounds: int, tally: Tally) -> Result:
    totals = tally.totals()
    figures: dict[str, Any] = {
        "rounds": rounds,
        "processes": PROCESSES,
        "rounds_different": totals["different"],
        "ledgers_different": totals["different_ledgers"],
        "red_sweeps": totals["red_sweeps"],
        "audit_findings": totals["audit"] + totals["findings"],
        "chunks_without_vector": totals["without_vector"],
        "crashes": totals["crashes"],
        "fenced_writes": sum(totals[name] for name in ("superseded_documents", "refused_deletions", "refused_quarantines")),
        "superseded_documents": totals["superseded_documents"],
        "refused_deletions": totals["refused_deletions"],
        "refused_quarantines": totals["refused_quarantines"],
        "runs": totals["runs"],
        "red_runs": totals["red_runs"],
        "zombies": totals["zombies"],
        "source_changes": totals["changes"],
        "deadlocks_retried": totals["deadlocks"],
        "recycled_publishes": totals["recycled"],
        "lost_vectors": totals["lost_vectors"],
        "overdue": totals["overdue"],
        "texts_collected": totals["collected"],
        "vectors_expired": totals["expired"],
        "vectors_recomputed": totals["recomputed"],
        "skipped": 0,
        "seed": options.seed,
    }
    zero = ("rounds_different", "ledgers_different", "red_sweeps", "audit_findings", "chunks_without_vector")
    return Result(
        "races",
        figures,
        floors=(
            *(Limit(name, at_most=0) for name in (*zero, "crashes", "lost_vectors")),
            *(Limit(name, at_least=1) for name in ("fenced_writes", "zombies", "vectors_expired", "texts_collected")),
        ),
        notes=tuple([*tally.lines("crash"), *tally.lines("red")][:12]),
    )


assert len(RIVALS) == PROCESSES

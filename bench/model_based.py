"""A Hypothesis state machine against the reference model: source events by the thousand, compared after every sweep.

A rule is a burst of source events, drawn as size and seed, then one sweep of some kind. A shorter burst of the same seed is
the beginning of a longer one, so a failing sequence is made small by leaving out steps and shortening bursts. Two processes
run whole sequences, each on a corpus of its own. What the model knows is in `bench.faults.model`, what is replaced for speed
in `bench.faults.twin`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from bench.faults.machine import Bench, Enough, Sequence, smallest
from bench.faults.suites import Quick
from bench.faults.twin import Twin, furnish, open_lab, quickened
from bench.harness import Limit, Options, Result

SEQUENCES, EVENTS = 200, 5000
QUICK_SECONDS, QUICK_EVENTS = 30.0, 1000
PROCESSES = 2
ROUND = 9  # draws by one Hypothesis seed; from ten on it would begin with near copies of the simplest
SHRINK_SECONDS = 60.0
ENOUGH = 3  # divergences, after which a process stops
MOST_STEPS = 110  # of a sequence: enough for 5,000 events in the smallest bursts


@dataclass
class Report:
    """What one process found."""

    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    divergences: list[str] = field(default_factory=list)


def run(options: Options) -> Result:
    """200 sequences of 5,000 events; `--quick` as many of 1,000 as fit in half a minute."""
    began = time.monotonic()
    reports = _in_processes(options)
    counts = sum((report.counts for report in reports), Counter[str]())
    kinds = sum((report.kinds for report in reports), Counter[str]())
    found = [text for report in reports for text in report.divergences]
    return Result(
        "model_based",
        {
            "divergences": len(found),
            "sequences": counts["sequences"],
            "events": counts["events"],
            "sweeps": counts["sweeps"],
            "documents_compared": counts["documents"],
            "suites": counts["suites"],
            "suites_compared": counts["compared"],
            "skipped": 0,
            "seed": options.seed,
            "seconds": round(time.monotonic() - began),
        },
        floors=(
            Limit("divergences", at_most=0),
            Limit("sequences", at_least=SEQUENCES),
            Limit("events", at_least=SEQUENCES * EVENTS),
        ),
        left_out=("sequences", "events") if options.quick else (),
        notes=(
            f"{PROCESSES} processes, {QUICK_EVENTS if options.quick else EVENTS} events a sequence. The suite files are "
            "evaluated in process, with a sample of the verdicts compared with great-expectations; parse children are kept "
            "warm, stage files lie in memory, pauses before a retry are left out",
            "sweeps by kind: " + ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())),
            *found,
        ),
    )


def _in_processes(options: Options) -> list[Report]:
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    workers = [context.Process(target=_work, args=(options, number, results)) for number in range(PROCESSES)]
    for worker in workers:
        worker.start()
    reports: list[Report] = []
    while len(reports) < PROCESSES:
        try:
            reports.append(results.get(timeout=1))
        except queue.Empty:
            if not any(worker.is_alive() for worker in workers) and results.empty():
                raise RuntimeError("a process of the bench ended without its report; its error is above") from None
    for worker in workers:
        worker.join()
    return reports


def _work(options: Options, number: int, results: Any) -> None:
    report = Report()
    with open_lab() as lab, quickened() as parsers:
        furnish(lab)
        suites = Quick(lab.settings.root / "include/expectations", lab.validator)
        events = QUICK_EVENTS if options.quick else EVENTS
        until, share = time.monotonic() + QUICK_SECONDS, SEQUENCES // PROCESSES

        def enough() -> bool:
            done = report.counts["sequences"]
            return done >= share or (options.quick and done > 0 and time.monotonic() > until)

        def done() -> None:
            _say(number, report)
            if enough():
                raise Enough

        bench = Bench(lambda: Twin(lab, suites, parsers), events, report.counts, report.kinds, done)
        rounds = 0
        while not enough() and len(report.divergences) < ENOUGH:
            rounds += 1
            _explore(bench, report, options.seed * 10_000 + number * 1000 + rounds)
        report.counts.update(suites.asked)
    results.put(report)


def _explore(bench: Bench, report: Report, drawn: int) -> None:
    """Let Hypothesis draw a round of sequences; a divergence is made small and noted."""
    machine = type("Sequence", (Sequence,), {"bench": bench})
    config = settings(
        max_examples=ROUND,
        stateful_step_count=MOST_STEPS,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    with contextlib.suppress(Enough):
        try:
            run_state_machine_as_test(seed(drawn)(machine), settings=config)
        except AssertionError:
            steps, found = smallest(bench, list(bench.failing), SHRINK_SECONDS)
            listed = "\n".join(
                f"  {name}({', '.join(f'{key}={value!r}' for key, value in given.items())})" for name, given in steps
            )
            report.divergences.append(f"DIVERGENCE, hypothesis seed {drawn}, smallest steps found:\n{listed}\n{found}")
            sys.stderr.write(f"{report.divergences[-1]}\n")
            bench.failing.clear()


def _say(number: int, report: Report) -> None:
    done = ", ".join(f"{report.counts[name]} {name}" for name in ("sequences", "events", "sweeps"))
    sys.stderr.write(f"process {number}: {done}, {len(report.divergences)} divergences\n")

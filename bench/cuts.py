"""Connections cut, servers restarted, killed, hung, locked, full and read-only in the middle of a sync.

One case: the corpus as before, one sync with the fault, the fault lifted, one more sync. The first may end well or red with
the error of its class; after the second the corpus must be what a fault-free sync makes, the auditor must find nothing, no
document may be charged an attempt for the outage, and at most one batch of texts may be embedded twice. Pauses between
retries are a tenth of the product's, and the client's patience is 1.5 s where the server hangs.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from bench.faults import outages
from bench.faults.cut_cases import Case, cases, disk_cases
from bench.faults.lab import Lab
from bench.faults.outage_world import LIMITS, Rig, rig
from bench.harness import Limit, Options, Result
from pipelines.embedded.postgres import Postgres
from pipelines.errors import FailRun, Retry
from pipelines.records import Accounting
from pipelines.stages import sync
from pipelines.store import database, watch

SECONDS = 45.0  # no sync with a fault may take longer
QUICK, SMALL_DISK_MB = 22, 220
RUNNING = "SELECT count(*) FROM run WHERE state = 'running'"


@dataclass(slots=True)
class _Tally:
    """What came of the cases so far."""

    wrong: list[str] = field(default_factory=list)
    struck: Counter[str] = field(default_factory=Counter)
    red: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)  # the sync ended before the fault struck
    slowest: float = 0.0
    extra: int = 0


def run(options: Options) -> Result:
    """All cases, or a seeded draw of them."""
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # every cut would be told
    tally, skipped, began = _Tally(), 0, time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(patch.object(sync, "PAUSES", tuple(pause / 10 for pause in sync.PAUSES)))
        lab = stack.enter_context(Lab(limits=LIMITS))
        made = stack.enter_context(rig(lab, options.seed))
        drawn = cases(made, options.seed)[: QUICK if options.quick else None]
        for number, case in enumerate(drawn, start=1):
            _judge(made, case, tally)
            _progress(number, len(drawn), tally, began)
        if not options.quick:
            skipped = _on_a_small_disk(options, tally)
    return _result(options, tally, skipped, time.monotonic() - began)


def _on_a_small_disk(options: Options, tally: _Tally) -> int:
    """The cases of a full disk, on a server of their own; returns how many had to be skipped."""
    drawn = disk_cases()
    lab = Lab(limits=LIMITS)
    with outages.small_disk(lab.folder / "small", SMALL_DISK_MB) as mounted:
        if not mounted:
            return len(drawn)
        lab.postgres = Postgres(lab.folder / "small/pg", durable=False)
        with lab:
            for setting in ("max_wal_size = '48MB'", "min_wal_size = '32MB'", "wal_recycle = off"):
                outages.configure(lab, f"ALTER SYSTEM SET {setting}")
            with rig(lab, options.seed) as made:
                for case in drawn:
                    _judge(made, case, tally)
    return 0


def _judge(made: Rig, case: Case, tally: _Tally) -> None:
    """Run one case and note what is wrong with its outcome."""
    made.reset()
    began = time.monotonic()
    error, problems = _struck(made, case, tally)
    tally.slowest = max(tally.slowest, time.monotonic() - began)
    if error is not None:
        tally.red[case.kind] += 1
        problems += _wrong_class(error, case)
    try:
        made.sync(made.lab.dsn)
    except Exception as next_error:  # whatever it is, it is the finding
        problems.append(f"the next sync ended with {_named(next_error)}")
    now = made.state()
    tally.extra = max(tally.extra, now.embedded - made.truth.embedded)
    problems += [f"differs: {name}" for name in made.truth.differences(now, LIMITS["embed_batch_texts"])]
    problems += [f"audit: {finding.check} {finding.uri}" for finding in made.lab.findings()]
    problems += [f"{count} runs left running" for (count,) in made.lab.query(RUNNING) if count]
    tally.struck[case.kind] += 1
    if problems:
        tally.wrong.append(f"{case.name}: {'; '.join(problems)}")
        print(f"WRONG {tally.wrong[-1]}", file=sys.stderr)


def _struck(made: Rig, case: Case, tally: _Tally) -> tuple[BaseException | None, list[str]]:
    """One sync with the fault: its error, if any, and what is wrong with how it went."""
    made.proxy.arm(case.fault)
    with _impatient(case), ThreadPoolExecutor(1) as thread:
        ended = thread.submit(made.sync, made.proxy.dsn("lab"))
        if case.outage is not None:
            _await_fault(made, ended)
        with case.outage(made.lab) if case.outage is not None else nullcontext():
            if case.outage is not None:
                made.proxy.disarm()
            if case.lasting:
                wait([ended], SECONDS)
        wait([ended], SECONDS)
        late = not ended.done()
        tally.missed[case.kind] += made.proxy.fired == 0
        made.proxy.disarm()
        error = ended.exception()
    problems = ["still running after 45 s"] if late else []
    if error is None and ended.result().counts != made.counts:  # written twice, or its own COMMIT taken for another's
        problems.append(f"counted {ended.result().counts} instead of {made.counts}")
    return error, problems


def _await_fault(made: Rig, ended: Future[Accounting]) -> None:
    while not ended.done() and not made.proxy.fired:
        time.sleep(0.005)


@contextmanager
def _impatient(case: Case) -> Iterator[None]:
    """Short deadlines where a case waits for them."""
    with ExitStack() as stack:
        if case.lasting:
            stack.enter_context(patch.object(database, "POOL_SECONDS", 1.0))
        if case.kind in ("hang", "timeout"):
            stack.enter_context(patch.object(database, "SESSION", database.SESSION.replace("600s", "1s")))
            stack.enter_context(patch.object(database, "GRACE_SECONDS", 0.5))
            stack.enter_context(patch.object(database, "CHECK_SECONDS", 0.5))
            stack.enter_context(patch.object(watch, "EVERY_SECONDS", 0.5))
            stack.enter_context(patch.dict(database.LINK, connect_timeout="2"))
        yield


def _wrong_class(error: BaseException, case: Case) -> list[str]:
    """A sync may end with Retry, or with settle's FailRun for a stage that ended so; a full disk with `disk_full`."""
    first = error.__cause__ if type(error) is FailRun and error.__cause__ is not None else error
    if isinstance(first, Retry):
        return []
    if case.kind == "disk" and type(first) is FailRun and "disk_full" in str(first):
        return []
    return [f"ended with {_named(first)}" + (f", shown as {_named(error)}" if first is not error else "")]


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _progress(number: int, total: int, tally: _Tally, began: float) -> None:
    if number % 10 == 0 or number == total:
        seconds = time.monotonic() - began
        print(f"cuts: {number} of {total}, {len(tally.wrong)} wrong, {seconds:.0f} s", file=sys.stderr)


def _result(options: Options, tally: _Tally, skipped: int, seconds: float) -> Result:
    rows: list[tuple[str, ...]] = [("kind", "cuts", "ended red", "fault not reached")]
    rows += [(kind, str(count), str(tally.red[kind]), str(tally.missed[kind])) for kind, count in tally.struck.items()]
    figures: dict[str, Any] = {
        "wrong_outcomes": len(tally.wrong),
        "cuts": tally.struck.total() - tally.missed.total(),
        "ended_red": tally.red.total(),
        "fault_not_reached": tally.missed.total(),
        "skipped": skipped,
        "texts_embedded_twice_at_most": tally.extra,
        "slowest_seconds": round(tally.slowest, 1),
        "seconds": round(seconds),
        "seed": options.seed,
    }
    left_out = ["cuts"] if options.quick else []
    floors = [Limit("wrong_outcomes", at_most=0), Limit("cuts", at_least=160)]
    return Result("cuts", figures, floors, left_out=left_out, notes=tally.wrong, rows=rows)

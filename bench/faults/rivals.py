"""Processes that sync the same two sources at the same time, each in its own way, and what became of them.

Schedules, backfills of dated days, narrowed and full rescans, the same shard executed twice at once, zombies, collectors.
Each runs in a forked child; `play` forks them and lets zombies go on when everybody else has ended.
"""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from bench.faults.lab import Lab
from bench.faults.shelf import DAYS, PREFIXES, Shelf
from bench.faults.tally import Tally
from bench.faults.zombies import Stopper, random_point
from pipelines.errors import MillraceError
from pipelines.records import ShardRef, SyncRequest
from pipelines.stages import embed, plan, prepare, publish, settle, sync, validate
from pipelines.store import collect, database, deletions, quarantine

PROCESSES = 8
IDLE_SECONDS = 2  # a transaction whose process is stopped is ended by the server after this, instead of two minutes
NAP_SECONDS = 1.0  # half of the zombies within a transaction go on before that
CHANGES = 12

Rival = Callable[[Lab, Shelf, Tally, random.Random], None]


def request(rng: random.Random) -> SyncRequest:
    """A schedule, a backfill of a day, a trigger narrowed to a prefix, or a full rescan."""
    kind = rng.randrange(4)
    if kind == 0:
        return SyncRequest("days", day=rng.choice(DAYS))
    if kind == 1:
        return SyncRequest("docs", prefix=rng.choice(PREFIXES))
    return SyncRequest("docs", full_rescan=kind == 2)


def scheduled(lab: Lab, shelf: Shelf, tally: Tally, rng: random.Random) -> None:
    """Two syncs, one after the other."""
    for _ in range(2):
        time.sleep(rng.random() * 0.3)
        _sync(lab, tally, request(rng))


def zombie(lab: Lab, shelf: Shelf, tally: Tally, rng: random.Random) -> None:
    """A sync that stops between two stages, or before it declares its files."""
    Stopper(random_point(rng, within_transaction=False)).install()
    _sync(lab, tally, request(rng))


def zombie_in_transaction(lab: Lab, shelf: Shelf, tally: Tally, rng: random.Random) -> None:
    """A sync that stops among the statements of a stage that writes."""
    Stopper(random_point(rng, within_transaction=True)).install()
    _sync(lab, tally, request(rng))


def twins(lab: Lab, shelf: Shelf, tally: Tally, rng: random.Random) -> None:
    """One plan whose shards two processes execute at once; the second may stop and go on after the run was settled."""
    with lab.context({}) as ctx:
        planned = plan.run(ctx, request(rng))
    point = random_point(rng, within_transaction=False) if rng.random() < 0.7 else None
    twin = os.fork()
    if twin == 0:
        if point:
            Stopper(point).install()
        leave(lambda: _shards(lab, tally, planned.shards), tally)
    _shards(lab, tally, planned.shards)
    with lab.context({}) as ctx:
        _told(tally, lambda: settle.run(ctx, planned.run_id))
    while not os.WIFEXITED(os.waitpid(twin, os.WUNTRACED)[1]):
        os.kill(twin, signal.SIGCONT)


def collector(lab: Lab, shelf: Shelf, tally: Tally, rng: random.Random) -> None:
    """The collector, again and again."""
    until = time.monotonic() + 4
    with lab.context({}) as ctx:
        while time.monotonic() < until:
            tally.add({"collected": collect.collect(ctx.pool, cache_days=2, slice_rows=5).texts})
            time.sleep(0.05)


def mutator(lab: Lab, shelf: Shelf, tally: Tally, rng: random.Random) -> None:
    """The source changes under everybody's hands."""
    for _ in range(CHANGES):
        shelf.change(rng)
        time.sleep(rng.random() * 0.4)
    tally.add({"changes": CHANGES})


RIVALS: tuple[Rival, ...] = (
    mutator,
    collector,
    twins,
    zombie,
    zombie_in_transaction,
    zombie_in_transaction,
    scheduled,
    scheduled,
)


def play(lab: Lab, shelf: Shelf, tally: Tally, rng: random.Random) -> None:
    """One round: all rivals at once, and the end of each."""
    waiting: dict[int, float] = {}  # pid -> when it may go on at the earliest, should it stop
    for rival in RIVALS:
        seed = rng.randrange(1 << 30)
        nap = NAP_SECONDS if rival is zombie_in_transaction and rng.random() < 0.5 else float("inf")
        pid = os.fork()
        if pid == 0:
            _count_fences(tally)
            database.SESSION = database.SESSION.replace("session_timeout=120s", f"session_timeout={IDLE_SECONDS}s")
            leave(lambda rival=rival, seed=seed: rival(lab, shelf, tally, random.Random(seed)), tally)  # type: ignore[misc]
        waiting[pid] = nap
    _attend(waiting, tally)


def _attend(naps: dict[int, float], tally: Tally) -> None:
    """Wait for every process; stopped ones go on after their nap, or when none but stopped ones are left."""
    running, stopped = set(naps), dict[int, float]()
    while running or stopped:
        pid, status = os.waitpid(-1, os.WUNTRACED | os.WNOHANG)
        if pid and os.WIFSTOPPED(status):
            running.discard(pid)
            stopped[pid] = time.monotonic() + naps[pid]
            tally.add({"zombies": 1})
        elif pid:
            running.discard(pid)
            stopped.pop(pid, None)
        for ready in [pid for pid, until in stopped.items() if not running or time.monotonic() >= until]:
            del stopped[ready]
            running.add(ready)
            os.kill(ready, signal.SIGCONT)
        time.sleep(0.01)


def _sync(lab: Lab, tally: Tally, wanted: SyncRequest) -> None:
    with lab.context({}) as ctx:
        _told(tally, lambda: sync.run(ctx, wanted))


def _shards(lab: Lab, tally: Tally, shards: Sequence[ShardRef]) -> None:
    with lab.context({}) as ctx:
        for shard in shards:
            for stage in (prepare, validate, embed, publish):
                if not _told(tally, lambda stage=stage, shard=shard: stage.run(ctx, shard), "stages"):  # type: ignore[misc]
                    break


def _told(tally: Tally, work: Callable[[], Any], what: str = "runs") -> bool:
    """Do and count; the project's own errors are outcomes, anything else ends the process."""
    try:
        work()
    except MillraceError as error:
        audit = sum(note.strip().startswith("audit:") for note in str(error).split(";"))
        tally.add({what: 1, f"red_{what}": 1, "findings": audit}, red=f"{type(error).__name__}: {error}"[:600])
        return False
    tally.add({what: 1})
    return True


def _count_fences(tally: Tally) -> None:
    """Count what fences refuse in this process."""

    def counted(work: Callable[..., Any], name: str) -> Callable[..., Any]:
        def refused(*given: Any, **named: Any) -> Any:
            outcome = work(*given, **named)
            if outcome.superseded:
                tally.add({name: len(outcome.superseded)})
            return outcome

        return refused

    for module, function, name in (
        (publish, "load", "superseded_documents"),
        (deletions, "delete", "refused_deletions"),
        (quarantine, "record", "refused_quarantines"),
    ):
        setattr(module, function, counted(getattr(module, function), name))


def leave(work: Callable[[], None], tally: Tally) -> None:
    """Work and end this process, never returning into the caller's code."""
    try:
        work()
    except BaseException:
        tally.add({"crashes": 1}, crash=traceback.format_exc()[-1500:])
    finally:
        os._exit(0)

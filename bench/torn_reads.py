"""Readers beside continuous replacement: no answer is made of two versions, or of a part of one.

One process syncs a source whose objects grow, shrink, disappear and return; one publishes, deletes and collects straight
in the store, so that a replacement is nearly always under way. Readers search in every mode, two of them through the HNSW
index whatever the planner thinks of it, and read objects with their attachments beside the ledger. Counted are the reads
during which a replacement was in progress.
"""

from __future__ import annotations

import mmap
import os
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg

from bench.faults.direct import Direct, body, version_name
from bench.faults.lab import Lab
from bench.faults.mutable import Mailbox
from bench.faults.readers import KINDS, Reader, Target
from bench.faults.tally import Tally
from bench.harness import Limit, Options, Result
from pipelines.config import DeleteGuard
from pipelines.errors import MillraceError
from pipelines.stages import publish as publish_stage
from pipelines.store import collect, database, deletions

WANTED = 100_000
READERS = 4
FORCE_INDEX = "options=-c%20enable_seqscan%3Doff%20-c%20enable_sort%3Doff"
SECONDS, QUICK_SECONDS = 900.0, 20.0  # at most: a busy machine takes longer to read as often
WRITERS = 2
STOP = WRITERS  # the board's slot that ends everything
DIRECT_DOCUMENTS = 16


class Board:
    """Numbers that all processes see: a turn per writer, odd while it replaces something, and the sign to stop."""

    def __init__(self) -> None:
        self._slots = memoryview(mmap.mmap(-1, 4096)).cast("q")

    def replacing(self, writer: int, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, with the writer's turn odd while it runs."""

        def shown(*given: Any, **named: Any) -> Any:
            self._slots[writer] += 1
            try:
                return work(*given, **named)
            finally:
                self._slots[writer] += 1

        return shown

    def turns(self) -> tuple[int, ...]:
        """Every writer's turn."""
        return tuple(self._slots[:WRITERS])

    def stop(self) -> None:
        """Ask every process to end."""
        self._slots[STOP] = 1

    @property
    def stopped(self) -> bool:
        """Whether to end."""
        return bool(self._slots[STOP])


def run(options: Options) -> Result:
    """Read until enough reads met a replacement, or until time is up."""
    seconds = QUICK_SECONDS if options.quick else SECONDS
    with Lab(guard=DeleteGuard(max_share=1.0)) as lab:
        board, tally = Board(), Tally(lab.folder / "tally")
        mailbox = Mailbox(random.Random(options.seed))
        targets = [*mailbox.targets(), *_direct_targets()]
        lab.sync(mailbox)
        with lab.context({}) as ctx:
            _Replacer(Direct.open(ctx), random.Random(options.seed)).first()
        lab.query("ANALYZE")  # as autovacuum does within a minute; without it a search takes five times as long
        writers = [
            fork(lambda: _sync_forever(lab, board, tally, mailbox), tally),
            fork(lambda: _replace_forever(lab, board, tally, options.seed), tally),
        ]
        readers = [
            fork(lambda n=n: _read_forever(lab, board, tally, targets, n, options.seed), tally)  # type: ignore[misc]
            for n in range(READERS)
        ]
        _wait(board, tally, seconds, 0 if options.quick else WANTED)
        crashed = sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in writers + readers)
        findings = len(lab.findings())
        scans = lab.query("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'space_1_embedding_idx'")
        return _result(options, tally.totals(), tally.lines("example"), crashed, findings, int(scans[0][0]))


def _result(options: Options, totals: Counter[str], examples: list[str], crashed: int, findings: int, scans: int) -> Result:
    kinds = ("direct", "text", "dense", "hybrid")
    figures: dict[str, Any] = {
        "reads": sum(totals[kind] for kind in kinds),
        "reads_during_replacement": totals["during"],
        **{f"reads_{kind}": totals[kind] for kind in kinds},
        "torn_reads": sum(totals[kind] for kind in KINDS),
        **{kind: totals[kind] for kind in KINDS},
        "reader_errors": totals["reader_error"],
        "crashed_processes": crashed,
        "audit_findings": findings,
        "hnsw_scans": scans,
        "syncs": totals["sync"],
        "documents_replaced": totals["replaced"],
        "documents_deleted": totals["deleted"],
        "texts_collected": totals["collected"],
        "skipped": 0,
        "seed": options.seed,
    }
    return Result(
        "torn_reads",
        figures,
        floors=(
            Limit("torn_reads", at_most=0),
            Limit("reads_during_replacement", at_least=WANTED),
            Limit("reader_errors", at_most=0),
            Limit("crashed_processes", at_most=0),
            Limit("audit_findings", at_most=0),
            Limit("hnsw_scans", at_least=1),
        ),
        left_out=("reads_during_replacement",) if options.quick else (),
        notes=tuple(examples[:10]),
    )


def fork(work: Callable[[], None], tally: Tally) -> int:
    """Run `work` in a child; its pid. What it raises becomes an example of the tally."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        tally.add({}, example=traceback.format_exc()[-1500:])
    finally:
        os._exit(status)


def _wait(board: Board, tally: Tally, seconds: float, wanted: int) -> None:
    began = told = time.monotonic()
    while (now := time.monotonic()) - began < seconds:
        time.sleep(0.5)
        if now - told >= 10:
            told = now
            totals = tally.totals()
            print(f"torn_reads: {totals['during']} reads during {totals['replaced']} replacements", file=sys.stderr)
            if wanted and totals["during"] >= wanted:
                break
    board.stop()


def _sync_forever(lab: Lab, board: Board, tally: Tally, mailbox: Mailbox) -> None:
    """Real syncs of a changing source; each replaces, adds and deletes some of its objects."""
    for module, name in ((publish_stage, "load"), (deletions, "delete")):
        setattr(module, name, board.replacing(0, getattr(module, name)))
    while not board.stopped:
        mailbox.renew()
        began = time.monotonic()
        done = lab.sync(mailbox)
        time.sleep(time.monotonic() - began)  # parsing would take the readers' time; the other writer goes on meanwhile
        tally.add({"sync": 1, "replaced": done.counts["loaded"], "deleted": done.counts["deleted"]})


class _Replacer:
    """Objects of 1 to 10 chunks, every fourth with attachments, every fifth deleted and brought back now and then."""

    def __init__(self, direct: Direct, rng: random.Random) -> None:
        self.direct = direct
        self.rng = rng
        self.version = 0

    def first(self) -> None:
        """Everything in its first version."""
        self.publish(range(DIRECT_DOCUMENTS))

    def publish(self, numbers: Any) -> int:
        """A new version of these objects in one transaction; returns how many documents that were."""
        self.version += 1
        contents = {}
        for number in numbers:
            members = [f"a{i}.txt" for i in range(self.rng.randint(0, 2))] if number % 4 == 0 else []
            for member in ["", *members]:
                contents[_uri(number), member] = self._texts(_name(number))
        self.direct.embed(text for texts in contents.values() for text in texts)
        return len(self.direct.publish(contents, version_name(self.version)).loaded)

    def turn(self) -> dict[str, int]:
        """One random step: mostly a publish, sometimes a deletion or a collection."""
        kind = self.rng.random()
        if kind < 0.05:
            return {"collected": collect.collect(self.direct.ctx.pool, cache_days=2).texts}
        if kind < 0.12:
            gone = self.direct.delete([_uri(5 * self.rng.randrange(3) + 2)])
            return {"deleted": len(gone.deleted) + len(gone.members)}
        return {"replaced": self.publish(self.rng.sample(range(DIRECT_DOCUMENTS), self.rng.randint(1, 6)))}

    def _texts(self, name: str) -> list[str]:
        parts = self.rng.randint(1, 10)
        return [
            body(name, version_name(self.version), part, parts, f"filler {self.rng.randrange(50)} of the store")
            for part in range(1, parts + 1)
        ]


def _replace_forever(lab: Lab, board: Board, tally: Tally, seed: int) -> None:
    with lab.context({}) as ctx:
        replacer = _Replacer(Direct.open(ctx), random.Random(seed + 1))
        rows = lab.query("SELECT doc_id, fence FROM document WHERE source = 'direct'")
        replacer.direct.fences = dict(rows)
        replacer.version = 1
        for name in ("publish", "delete"):
            setattr(Direct, name, board.replacing(1, getattr(Direct, name)))
        while not board.stopped:
            tally.add(replacer.turn())


def _read_forever(lab: Lab, board: Board, tally: Tally, targets: list[Target], number: int, seed: int) -> None:
    dsn = f"{lab.dsn}&{FORCE_INDEX}" if number % 2 else lab.dsn
    plain = psycopg.connect(database.session_conninfo(lab.dsn), autocommit=True)
    plain.isolation_level, plain.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
    with database.open_pool(dsn, 1) as pool, plain:
        reader = Reader(pool, plain, targets, random.Random(seed * 1000 + number))
        seen: Counter[str] = Counter()
        while not board.stopped:
            before = board.turns()
            try:
                seen[reader.read()] += 1
            except MillraceError as error:
                seen["reader_error"] += 1
                reader.examples.append(f"{type(error).__name__}: {error}"[:300])
            seen["during"] += before != board.turns() or any(turn % 2 for turn in before)
            if sum(seen.values()) >= 500:
                tally.add(seen)
                seen.clear()
        tally.add(seen + reader.wrong)
        for example in reader.examples[:5]:
            tally.add({}, example=example)


def _direct_targets() -> list[Target]:
    return [
        Target(_uri(number), _name(number), lasting=number % 5 != 2, counted=number % 4 != 0)
        for number in range(DIRECT_DOCUMENTS)
    ]


def _uri(number: int) -> str:
    return f"direct://{number}"


def _name(number: int) -> str:
    return f"direct{number:02d}"

"""Where and how the bench `cuts` strikes: every case with the protocol message at which it does.

Seeded: the same seed and the same counts of messages, COMMITs and bytes make the same cases in the same order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.faults import outages
from bench.faults.outage_world import NEVER, Rig
from bench.faults.pg_proxy import Fault

# A statement of each kind of transaction that a sync makes, by which the proxy knows it.
TRANSACTIONS = {
    "sign of life": "pg_advisory_lock(hashtextextended('millrace.run'",
    "next fence": "SELECT nextval('fence')",
    "start run": "INSERT INTO run (",
    "record stage": "INSERT INTO run_stage",
    "record validation": "INSERT INTO validation",
    "quarantine": "INSERT INTO quarantine",
    "refresh": "AS same (doc_id, version",
    "embedding cache": "COPY embedding_cache",
    "publish": "COPY chunk (tenant",
    "deletion": "SET state = 'deleted'",
    "collect texts": "DELETE FROM text t",
    "expire cache": "DELETE FROM embedding_cache",
    "finish run": "UPDATE run SET state = $1",
}
FULL = {"copy": 48, "commit": 40, "message": 20}
Side = Literal["before", "after"]
SIDES: tuple[Side, ...] = ("before", "after")
Kind = Literal["copy", "commit", "message", "hang", "restart", "terminate", "timeout", "disk", "connections", "read-only"]


@dataclass(frozen=True, slots=True)
class Case:
    """`fault` strikes the connection; with an `outage` it is the moment (a hang) at which that strikes the server."""

    kind: Kind
    name: str
    fault: Fault
    outage: outages.Outage | None = None
    lasting: bool = False  # until the sync has ended


def cases(made: Rig, seed: int) -> list[Case]:
    """All cases but those of a full disk, in seeded order."""
    chance = random.Random(seed)
    messages, copied = made.count(Fault(kind="any"))
    commits, _ = made.count(Fault(kind="commit"))
    found = [
        *_copies(copied, chance),
        *_commits(commits, chance),
        *_aimed(),
        *_messages(messages, chance),
        *_hangs(messages, chance),
        *_servers(messages, chance),
    ]
    return chance.sample(found, len(found))


def _copies(copied: int, chance: random.Random) -> Iterator[Case]:
    """Cuts at even steps through the bytes of all COPYs, the first inside the header and the last in the trailer."""
    count = FULL["copy"]
    for index in range(count):
        offset = min(index * copied // (count - 1), copied - 1)
        yield Case("copy", f"reset after {offset} of {copied} bytes of COPY", Fault(bytes_into=offset))


def _commits(commits: int, chance: random.Random) -> Iterator[Case]:
    """Every few COMMITs, cut before it arrives or before its reply does."""
    ways = [("before", "reset"), ("after", "reset"), ("after", "drop_reply")]
    for index in range(FULL["commit"]):
        nth = 1 + index * (commits - 1) // (FULL["commit"] - 1)
        side, action = ways[index % len(ways)]
        fault = Fault(nth, "commit", side, action)  # type: ignore[arg-type]
        yield Case("commit", f"{action} {side} COMMIT {nth} of {commits}", fault)


def _aimed() -> Iterator[Case]:
    """Each kind of transaction: cut at its commit, before and after, and after its statement."""
    for name, text in TRANSACTIONS.items():
        ways = [Fault(kind="query", side="after", within=text)]
        if name != "sign of life":  # is in autocommit
            ways += [Fault(kind="commit", side=side, within=text) for side in SIDES]
        for fault in ways:
            kind: Kind = "commit" if fault.kind == "commit" else "message"
            yield Case(kind, f"reset {fault.side} {fault.kind} of: {name}", fault)


def _messages(messages: int, chance: random.Random) -> Iterator[Case]:
    """Any message; four times everything after it, too, until the sync has ended."""
    for index in range(FULL["message"]):
        nth = chance.randrange(1, messages)
        lasting = index % 5 == 4
        name = f"reset at message {nth} of {messages}" + (" and at all later ones" if lasting else "")
        yield Case("message", name, Fault(nth, times=NEVER if lasting else 1), lasting=lasting)


def _hangs(messages: int, chance: random.Random) -> Iterator[Case]:
    """The server neither answers nor closes: for ever, or until the sync has waited for a while."""
    spots = [1, *(chance.randrange(1, messages) for _ in range(5))]
    for nth in spots:
        yield Case("hang", f"hang at message {nth} of {messages}", Fault(nth, action="hang"), lasting=True)
    yield Case("hang", "hang after COMMIT of: publish", _aim("publish", "after"), lasting=True)
    yield Case("hang", "hang before COMMIT of: publish", _aim("publish", "before"), lasting=True)
    at_lock = Fault(kind="query", within="millrace.index", side="after", action="hang")
    yield Case("hang", "hang at the lock of an index's build", at_lock, lasting=True)


def _aim(name: str, side: Side) -> Fault:
    return Fault(kind="commit", side=side, action="hang", within=TRANSACTIONS[name])


def _servers(messages: int, chance: random.Random) -> Iterator[Case]:
    def at(kind: Kind, what: str, outage: outages.Outage, faults: Sequence[Fault], lasting: bool = False) -> Iterator[Case]:
        for fault in faults:
            where = f"message {fault.nth}" if fault.kind == "any" else f"{fault.side} a COMMIT ({fault.within[:24]}…)"
            yield Case(kind, f"{what} at {where}", fault, outage, lasting)

    def spots(count: int) -> list[Fault]:
        return [Fault(chance.randrange(1, messages), action="hang") for _ in range(count)]

    commits = [_aim(name, side) for name in ("publish", "deletion") for side in SIDES]
    yield from at("restart", "stop -m immediate and start", outages.stop_immediate, commits + spots(2))
    yield from at("restart", "kill -9 of a backend", outages.kill_backend, commits[:2] + spots(3))
    yield from at("restart", "kill -9 of the postmaster and start", outages.kill_postmaster, commits[:2] + spots(2))
    yield from at("terminate", "pg_terminate_backend", outages.terminate, commits[:2] + spots(4))
    yield from at("read-only", "read-only server", outages.read_only, spots(4), lasting=True)
    yield from at("connections", "too many connections", outages.too_many_connections, spots(3), lasting=True)
    start = [Fault(1, action="hang")]
    for table in ("chunk", "embedding_cache", "document"):
        yield from at("timeout", f"statement_timeout on {table}", outages.locked(table), start, lasting=True)
    for table in ("chunk", "embedding_cache", "quarantine"):
        yield from at("timeout", f"lock_timeout on {table}", outages.locked(table, "300ms"), start, lasting=True)


def disk_cases() -> list[Case]:
    """Those of a full disk, for a rig on a small one."""
    spots = [Fault(1, action="hang"), *(_aim(name, "before") for name in ("embedding cache", "publish", "quarantine"))]
    names = ("the start", "the first cached vectors", "the first publication", "the quarantine")
    full = [
        Case("disk", f"disk full from {name}", spot, outages.disk_full, True)
        for name, spot in zip(names, spots, strict=True)
    ]
    return full + [Case("disk", "WAL full", spot, outages.wal_full, True) for spot in spots[::2]]

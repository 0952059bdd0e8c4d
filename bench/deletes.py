"""Delete safety: lying listings delete nothing and still add; true deletions leave search at once; approvals are exact.

Three parts. Listings: stores of every kind and of 3, 12 and 60 documents go through faults (`bench.faults.listings`); before
each, one document is added and one changed, and after each the source tells the truth again and all must be well.
Deletions: documents that are really gone are asked for by every way of searching. Approvals: mass deletions are held and
decided about while documents come back, change, and vanish; the deleted ones are compared with the listed ones as sets.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, get_args

from bench.faults.lab import COLLECTION, SOURCE, Lab
from bench.faults.listings import FAULTS, Fault
from bench.faults.worlds import WORLDS, MemoryWorld, World
from bench.harness import Limit, Options, Result
from pipelines.errors import Held, MillraceError
from pipelines.ports import Source
from pipelines.records import SyncRequest
from pipelines.search.hybrid import Query
from pipelines.stages import ask, plan, search, sync
from pipelines.store import deletions, ledger

SIZES = (3, 12, 60)
Mode = Literal["hybrid", "dense", "text"]
FLOORS = (
    Limit("wrongful_deletions", at_most=0),
    Limit("listings", at_least=200),
    Limit("additions_lost", at_most=0),
    Limit("green_lies", at_most=0),
    Limit("not_healed", at_most=0),
    Limit("sweeps_until_gone", at_most=1),
    Limit("approval_mismatches", at_most=0),
)


@dataclass(slots=True)
class Tally:
    """What the faults did, over all worlds."""

    counts: Counter[str] = field(default_factory=Counter)
    by_fault: dict[str, Counter[str]] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)

    def add(self, fault: str, figure: str, count: int, what: object = "") -> None:
        """Count; anything that must not be is also told."""
        self.counts[figure] += count
        self.by_fault.setdefault(fault, Counter())[figure] += count
        if count and figure not in {"listings", "red", "additions"}:
            self.trouble.append(f"{figure}: {fault}: {what}")


def run(options: Options) -> Result:
    """Measure; `--quick` draws fewer faults, deletions and approvals by seed."""
    sync.PAUSES = (0.0, 0.0, 0.0)  # an outage that lasts as long as told need not be waited for
    rng = Random(options.seed)
    listings, gone, approvals = (12, 3, 4) if options.quick else (208, 12, 16)
    tally = Tally()
    with Lab() as lab:
        _lying_listings(lab, listings, rng, tally)
        times, sweeps = _true_deletions(lab, gone, rng)
        mismatches = _approvals(lab, approvals, rng, tally)
    figures: dict[str, Any] = {
        "listings_drawn" if options.quick else "listings": tally.counts["listings"],
        "red": tally.counts["red"],
        "wrongful_deletions": tally.counts["wrongful_deletions"],
        "additions": tally.counts["additions"],
        "additions_lost": tally.counts["additions_lost"],
        "green_lies": tally.counts["green_lies"],
        "not_healed": tally.counts["not_healed"],
        "true_deletions": gone,
        "sweeps_until_gone": max(sweeps),
        "seconds_until_gone_max": round(max(times), 2),
        "mass_deletions": approvals,
        "approval_mismatches": mismatches,
        "skipped": 0,
        "seed": options.seed,
    }
    return Result(
        "deletes",
        figures,
        floors=FLOORS,
        left_out=("listings",) if options.quick else (),
        notes=tuple(tally.trouble[:20]),
        rows=_rows(tally),
    )


def _rows(tally: Tally) -> list[tuple[str, ...]]:
    columns = ("listings", "red", "wrongful_deletions", "additions", "additions_lost")
    return [("fault", *columns)] + [
        (name, *(str(counts[column]) for column in columns)) for name, counts in sorted(tally.by_fault.items())
    ]


def _lying_listings(lab: Lab, count: int, rng: Random, tally: Tally) -> None:
    """The faults in turn, one kind and size of store after another, until `count` listings have lied."""
    stores = [(world, size) for size in SIZES for world in WORLDS]
    rng.shuffle(stores)
    stores = stores[: count // 4]
    for turn, (kind, size) in enumerate(stores):
        lab.reset()
        world = kind(lab.folder / f"{kind.kind}-{size}")
        for index in range(size):
            world.put(f"{'ab'[index % 2]}/{index:03d}.md", _notice(f"first{index}"))
        lab.sync(world.source())
        lab.keep("full")
        usable = [fault for fault in FAULTS if kind.kind in fault.kinds and fault.least <= size]
        rng.shuffle(usable)
        for number in range(count * turn // len(stores), count * (turn + 1) // len(stores)):
            lab.reset("full")
            _one_lie(lab, world, usable[number % len(usable)], rng, tally)
        _say(f"{tally.counts['listings']} of {count} listings")


def _one_lie(lab: Lab, world: World, fault: Fault, rng: Random, tally: Tally) -> None:
    """Add a document and change one, lie, sync, see what it did; then the truth again, a sync, and all must be well."""
    loaded = dict(world.truth)
    number = rng.randrange(10**6)
    changed = {rng.choice(sorted(loaded)): f"changed{number}", f"a/new{number}.md": f"new{number}"}
    for name, word in changed.items():
        world.put(name, _notice(word))
    with fault.lie(world, rng) as source:
        listed = _listed(source, fault.prefix)
        ended = _sync(lab, source, prefix=fault.prefix)
    served = _served(lab)
    lost = sorted(name for name in loaded if world.uri(name) not in served)
    shown = [name for name in changed if world.uri(name) in listed]
    missing = [name for name in shown if changed[name] not in served.get(world.uri(name), "")]
    tally.add(fault.name, "listings", 1)
    tally.add(fault.name, "red", ended is not None)
    unlisted = [name for name in loaded if world.uri(name) not in listed]  # what was never loaded cannot be missed
    tally.add(fault.name, "green_lies", ended is None and bool(unlisted) and not fault.green, unlisted)
    tally.add(fault.name, "wrongful_deletions", len(lost), lost)
    tally.add(fault.name, "additions", len(shown))
    tally.add(fault.name, "additions_lost", len(missing), f"{missing} after {ended}")
    wrong = _heal(lab, world)
    tally.add(fault.name, "not_healed", bool(wrong), wrong)
    world.drop(f"a/new{number}.md")
    for name in changed.keys() & loaded.keys():
        world.put(name, loaded[name])


def _heal(lab: Lab, world: World) -> str:
    """Sync until green, approving what strangers' documents a wrong address brought in; what is wrong then, or nothing."""
    truth = {world.uri(name): text for name, text in world.truth.items()}
    ended = _sync(lab, world.source())
    if isinstance(ended, Held):
        with lab.context({}) as ctx:
            held = deletions.open_holds(ctx.pool, SOURCE)
        if any(hold.uri in truth for hold in held):
            return f"still held: {ended}"
        ended = _sync(lab, world.source(), approve=held[0].run_id)
    served = _served(lab)
    wrong = [
        uri for uri in served.keys() | truth.keys() if served.get(uri, "") != truth.get(uri, "").split("\n\n")[-1].strip()
    ]
    return f"{ended}: {wrong}" if ended or wrong else ""


def _true_deletions(lab: Lab, count: int, rng: Random) -> tuple[list[float], list[int]]:
    """Documents that are gone from the source: seconds and sweeps until no way of searching finds them."""
    lab.reset()
    world = MemoryWorld(lab.folder)
    for index in range(4 * count):
        world.put(f"{index:03d}.md", _notice(f"word{index}"))
    lab.sync(world.source())
    times, sweeps = [], []
    for index in rng.sample(range(4 * count), count):
        name, word = f"{index:03d}.md", f"word{index}"
        if not all(_found(lab, word, world.uri(name)).values()):
            raise RuntimeError(f"{name} is not found before it is deleted: there is nothing to measure")
        world.drop(name)
        started = time.monotonic()
        number = 0
        while number < 3 and any(_found(lab, word, world.uri(name)).values()):
            _sync(lab, world.source())
            number += 1
            times.append(time.monotonic() - started)
        sweeps.append(number)
    _say(f"{count} true deletions")
    return times, sweeps


def _found(lab: Lab, word: str, uri: str) -> dict[str, bool]:
    """Whether each way of searching returns the document."""
    with lab.context({}) as ctx:
        found = {
            mode: any(
                hit.uri == uri
                for hit in search.run(ctx, Query(text=f"{word} notice", collection=COLLECTION, k=50, mode=mode))
            )
            for mode in get_args(Mode)
        }
        asked = ask.run(ctx, f"What does the notice say about {word}?")
        return found | {"ask": any(citation.uri == uri for citation in asked.citations)}


def _approvals(lab: Lab, count: int, rng: Random, tally: Tally) -> int:
    """Mass deletions, decided about in turn in every way: in how many the deleted are not exactly the listed documents."""
    wrong = 0
    lab.reset()
    lab.sync(_sixty(lab).source())
    lab.keep("sixty")
    for number in range(count):
        lab.reset("sixty")
        verdict = _one_approval(lab, DECISIONS[number % len(DECISIONS)], rng)
        if verdict:
            wrong += 1
            tally.trouble.append(f"approval_mismatches: {DECISIONS[number % len(DECISIONS)]}: {verdict}")
    _say(f"{count} mass deletions")
    return wrong


DECISIONS = ("approve", "approve twice", "plan dies after the approval", "reject, then approve")


def _sixty(lab: Lab) -> World:
    world = MemoryWorld(lab.folder)
    for index in range(60):
        world.put(f"{index:03d}.md", _notice(f"first{index}"))
    return world


def _one_approval(lab: Lab, decision: str, rng: Random) -> str:
    world = _sixty(lab)
    texts = dict(world.truth)
    names = sorted(texts)
    gone = set(rng.sample(names, 30))
    for name in gone:
        world.drop(name)
    run_id = _held_run(lab, world)
    back = set(rng.sample(sorted(gone), 6))
    again = set(rng.sample(sorted(back), 2))  # listed for one run, then gone again: what was held about them is over
    for name in back:
        world.put(name, texts[name] if rng.random() < 0.5 else _notice(f"second{name[:3]}"))
    _sync(lab, world.source(), prefix=rng.choice(["", "0"]))
    for name in again:
        world.drop(name)
    later = set(rng.sample(sorted(set(names) - gone), 5))  # beyond what the guard lets pass: held by a run of its own
    for name in later:
        world.drop(name)
    expected = gone - back
    if decision == "reject, then approve":
        kept = _rejected(lab, world, run_id, expected)
        if kept:
            return kept
    _decide(lab, world, run_id, decision)
    deleted = {name for name in names if world.uri(name) not in _served(lab)}
    return "" if deleted == expected else f"not deleted {expected - deleted}, deleted as well {deleted - expected}"


def _decide(lab: Lab, world: World, run_id: int, decision: str) -> None:
    if decision == "plan dies after the approval":
        with lab.context(world.source()) as ctx:
            plan.run(ctx, SyncRequest(SOURCE, approve=run_id, decided_by="bench"))
    _sync(lab, world.source(), approve=run_id, decided_by="bench")
    if decision == "approve twice":
        _sync(lab, world.source(), approve=run_id, decided_by="bench")


def _rejected(lab: Lab, world: World, run_id: int, expected: set[str]) -> str:
    """Reject; everything stays served, and only what other runs hold is still held by the run after it."""
    for request in ({"reject": run_id}, {}):
        _sync(lab, world.source(), **request)
        with lab.context({}) as ctx:
            held = {hold.uri for hold in deletions.open_holds(ctx.pool, SOURCE)}
        uris = {world.uri(name) for name in expected}
        if held & uris or not uris <= _served(lab).keys():
            return f"rejected documents are held ({len(held & uris)}) or deleted ({len(uris - _served(lab).keys())})"
    return ""


def _held_run(lab: Lab, world: World) -> int:
    if not isinstance(_sync(lab, world.source()), Held):
        raise RuntimeError("half of the documents vanished and nothing was held: there is nothing to approve")
    with lab.context({}) as ctx:
        return ledger.runs(ctx.pool, SOURCE)[0].id


def _sync(lab: Lab, source: Source, **request: Any) -> MillraceError | None:
    """One sync; the error that it ended with, if any."""
    try:
        lab.sync(source, **request)
    except MillraceError as error:
        return error
    return None


def _listed(source: Source, prefix: str) -> set[str]:
    """The addresses of a listing; none when it fails."""
    try:
        return {entry.uri for entry in source.list(prefix)}
    except MillraceError:
        return set()


def _served(lab: Lab) -> dict[str, str]:
    """What readers see: the last paragraph of each document, by address."""
    rows = lab.query("SELECT uri, body FROM document JOIN chunk USING (tenant, doc_id) JOIN text USING (tenant, text_sha)")
    return {uri: body.split("\n")[-1] for uri, body in rows}


def _notice(word: str) -> str:
    return f"# {word}\n\nThe notice about {word} says {word} and no more.\n"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

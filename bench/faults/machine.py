"""The rules by which Hypothesis drives `twin`: every kind of sweep after every kind of burst."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bench.faults.living import FOLDERS, burst
from bench.faults.twin import DAMAGE, Ask, Twin
from pipelines.records import Reason

SMALLEST, LARGEST = 50, 500  # events between two sweeps
DENIALS = (Reason.DEPENDENCY_DOWN, Reason.CHECKSUM_MISMATCH, Reason.SOURCE_CHANGED)
Burst = tuple[int, int]  # size, seed
Step = tuple[str, dict[str, Any]]  # a rule and what it was given
BURSTS = st.tuples(st.integers(SMALLEST, LARGEST), st.integers(0, 2**32))


class Enough(BaseException):
    """Ends a round of Hypothesis between two sequences; not an error of any."""


@dataclass(frozen=True)
class Bench:
    """Where sequences of `events` source events run and count: sequences, events, sweeps, documents; sweeps by kind.

    `open` gives an empty corpus, `done` is told of each whole sequence and may raise Enough. `failing` holds the steps of
    the last sequence that diverged.
    """

    open: Callable[[], Twin]
    events: int
    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    done: Callable[[], None] = lambda: None
    failing: list[Step] = field(default_factory=list)


def step(**more: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule that takes a burst and more, possible while events are left, and is recorded."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def recorded(self: Sequence, **drawn: Any) -> None:
            self.steps.append((function.__name__, drawn))
            function(self, **drawn)

        made: Any = rule(drawn=BURSTS, **more)
        as_rule: Callable[..., None] = made(recorded)
        return precondition(lambda self: bool(self.left))(as_rule)

    return decorate


class Sequence(RuleBasedStateMachine):
    """One sequence; a divergence is an AssertionError. Subclass it with a `bench`."""

    bench: ClassVar[Bench]

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.over = False

    @initialize(begins=st.booleans())
    def begin(self, begins: bool) -> None:
        """The simplest draw, one rule over and over, is an empty sequence instead."""
        self.over = not begins

    @functools.cached_property
    def twin(self) -> Twin:
        """Product and model, opened when the first step needs them."""
        return self.bench.open()

    @property
    def left(self) -> int:
        """How many source events are still to come."""
        return 0 if self.over else max(0, self.bench.events - self.twin.events)

    def teardown(self) -> None:
        """Close the corpus; a whole sequence counts."""
        if "twin" not in self.__dict__:
            return
        whole = not self.left and not self.bench.failing
        self.twin.close()
        if whole:
            self.bench.counts["sequences"] += 1
            self.bench.done()

    def go(self, kind: str, drawn: Burst, ask: Callable[[Random], Ask] = lambda rng: Ask()) -> None:
        """The burst, then the sweep that `ask` draws."""
        twin, before = self.twin, self.twin.events
        size, number = drawn
        twin.happen(burst(min(size, self.left), number, len(twin.world.objects)))
        self.agree(kind, twin.sweep(ask(Random(number + 1))))
        self.bench.kinds[kind] += 1
        self.bench.counts.update(sweeps=1, events=twin.events - before, documents=len(twin.model.entries))

    def agree(self, kind: str, differences: list[str]) -> None:
        """Raise AssertionError when there are differences."""
        self.bench.failing[:] = self.steps if differences else ()
        assert not differences, f"{kind}: {len(differences)} differences\n" + "\n".join(differences[:12])

    @step()
    def quiet(self, drawn: Burst) -> None:
        self.go("quiet", drawn)

    @step(more=st.integers(1, 40))
    def changes_while_it_reads(self, drawn: Burst, more: int) -> None:
        live = len(self.twin.world.objects)
        self.go("changing", drawn, lambda rng: Ask(between=burst(min(more, self.left), rng.getrandbits(32), live)))

    @step()
    def listing_fails(self, drawn: Burst) -> None:
        self.go("listing fails", drawn, lambda rng: Ask(listing_fails=True))

    @step(share=st.sampled_from((0.01, 0.05, 0.3, 0.9, 1.0)))
    def listing_lies(self, drawn: Burst, share: float) -> None:
        def ask(rng: Random) -> Ask:
            return Ask(unlisted=frozenset(name for name in self.twin.world.objects if rng.random() < share))

        self.go("listing lies", drawn, ask)

    @step(folder=st.sampled_from(FOLDERS))
    def narrowed(self, drawn: Burst, folder: str) -> None:
        self.go("narrowed", drawn, lambda rng: Ask(prefix=f"{folder}/"))

    @step()
    def full_rescan(self, drawn: Burst) -> None:
        self.go("full rescan", drawn, lambda rng: Ask(full_rescan=True))

    @step()
    def delivered_twice(self, drawn: Burst) -> None:
        self.go("delivered twice", drawn, lambda rng: Ask(twice=True))
        self.agree("again", self.twin.sweep(Ask()))
        self.bench.counts["sweeps"] += 1

    @step(times=st.sampled_from((1, 3, 9)))
    def reading_fails(self, drawn: Burst, times: int) -> None:
        def ask(rng: Random) -> Ask:
            names = sorted(self.twin.world.objects)
            denied = {name: rng.choice(DENIALS) for name in rng.sample(names, min(4, len(names)))}
            return Ask(flaky={rng.choice(names): times} if names else {}, denied=denied)

        self.go("reading fails", drawn, ask)

    @step()
    def nobody_confirms(self, drawn: Burst) -> None:
        self.go("unconfirmed", drawn, lambda rng: Ask(confirm_fails=True))

    @step(approve=st.booleans())
    def a_person_decides(self, drawn: Burst, approve: bool) -> None:
        runs = sorted({hold.run for hold in self.twin.model.standing()})
        run = Random(drawn[1]).choice(runs) if runs else None
        kind = "approved" if approve else "rejected"
        self.go(kind if runs else "quiet", drawn, lambda rng: Ask(approve=run) if approve else Ask(reject=run))

    @step(by_reason=st.booleans())
    def replayed(self, drawn: Burst, by_reason: bool) -> None:
        rng, entries = Random(drawn[1]), self.twin.model.entries
        bad = [(name, one) for name, entry in entries.items() for one in (entry, *entry.members.values()) if one.reason]
        if bad:
            name, entry = rng.choice(bad)
            self.agree("replay", self.twin.replay(entry.reason if by_reason else None, None if by_reason else name))
        self.go("replayed", drawn)

    @step(kind=st.sampled_from(sorted(DAMAGE)))
    def damaged(self, drawn: Burst, kind: str) -> None:
        def ask(rng: Random) -> Ask:
            if kind == "text":
                self.twin.damage(kind, rng)
            return Ask()

        if kind != "text":
            self.twin.damage(kind, Random(drawn[1]))
        self.go(f"damaged {kind}", drawn, ask)

    @step(prefixes=st.sampled_from(((), ("drafts/",), ("drafts/0", "b/1"))))
    def excludes_switched(self, drawn: Burst, prefixes: tuple[str, ...]) -> None:
        self.twin.exclude(prefixes)
        self.go("excludes switched", drawn)

    @step()
    def collected(self, drawn: Burst) -> None:
        self.agree("collector", self.twin.collect())
        self.go("collected", drawn)

    @precondition(lambda self: not self.left)
    @rule()
    def rest(self) -> None:
        """The sequence is over; Hypothesis fills its steps."""


def replay(bench: Bench, steps: list[Step]) -> tuple[list[Step], str]:
    """The steps from an empty corpus up to the first that diverges, and what differs; nothing when none does."""
    quiet = replace(bench, counts=Counter(), kinds=Counter(), done=lambda: None)
    sequence = type("Replay", (Sequence,), {"bench": quiet})()
    try:
        for name, drawn in steps:
            getattr(sequence, name)(**drawn)
    except AssertionError as error:
        return sequence.steps, str(error)
    finally:
        sequence.teardown()
    return [], ""


def smallest(bench: Bench, steps: list[Step], seconds: float) -> tuple[list[Step], str]:
    """Fewer steps and shorter bursts that still diverge, as far as the time allows, and what differs then."""
    best, until = replay(bench, steps), time.monotonic() + seconds
    while best[0]:
        tries = (replay(bench, simpler) for simpler in _simpler(best[0]) if time.monotonic() < until)
        better = next((found for found in tries if found[0]), None)
        if better is None:
            break
        best = better
    return best


def _simpler(steps: list[Step]) -> Iterator[list[Step]]:
    for parts in (2, 4, len(steps)):
        size = max(1, len(steps) // parts)
        yield from (steps[:at] + steps[at + size :] for at in range(0, len(steps), size) if len(steps) > size)
    for at, (name, drawn) in enumerate(steps):
        size, number = drawn["drawn"]
        for less in sorted({1, size // 8, size // 2, size * 7 // 8, size - 1} - {0, size}):
            yield [*steps[:at], (name, {**drawn, "drawn": (less, number)}), *steps[at + 1 :]]

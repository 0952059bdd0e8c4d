"""A source in memory that lives: seeded events change it, versions are independent of content, and it can fail and lie.

Every fault holds for one sweep: set the fields, sweep, `calm`. Changes between listing and reading happen the moment the
listing ends, so that a sweep is the same each time it is replayed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from threading import Lock
from typing import NamedTuple

from bench.faults.contents import EXTENSIONS, Item, healthy, poison
from pipelines.errors import Retry, SkipDocument
from pipelines.records import Content, RawObject, Reason

ROOT = "memory://world/"
FOLDERS = ("a", "b", "drafts")
NAMES = tuple(f"{folder}/{number:02d}.{EXTENSIONS[number % 10]}" for folder in FOLDERS for number in range(60)) + (
    "a/x.bin",
    "b/y.bin",
)
HOT = 0.85  # share of the events that meet a sixth of the names
LIVE = 110  # objects around which the world stays


class Event(NamedTuple):
    """One change of the source; `seed` decides what is drawn while it is applied."""

    kind: str
    name: str
    seed: int


@dataclass(frozen=True, slots=True)
class Object:
    """One object of the source."""

    item: Item
    version: str


@dataclass
class World:
    """Implements ports.Source.

    unlisted: names that the listing leaves out. listing_fails: it raises Retry at its end. between: what happens when it has
    ended. flaky: name -> how many reads raise Retry. denied: name -> why its read is skipped. confirm_fails: nobody can say
    whether an object that was not listed is gone.
    """

    objects: dict[str, Object] = field(default_factory=dict)
    past: dict[str, list[Object]] = field(default_factory=dict)
    unlisted: frozenset[str] = frozenset()
    listing_fails: bool = False
    between: Sequence[Event] = ()
    flaky: dict[str, int] = field(default_factory=dict)
    denied: Mapping[str, Reason] = field(default_factory=dict)
    confirm_fails: bool = False
    name: str = "world"
    format: str | None = None
    _clock: int = 0
    _listed: frozenset[str] = frozenset()
    _lock: Lock = field(default_factory=Lock)

    def root(self, prefix: str = "") -> str:
        """What every address that `list(prefix)` yields starts with."""
        return ROOT + prefix

    def list(self, prefix: str = "") -> Iterator[RawObject]:
        """The objects below `prefix` but the unlisted ones; then what happens between listing and reading."""
        listing = self.listing(prefix)
        self._listed = frozenset(listing)
        for name, found in listing.items():
            yield RawObject(ROOT + name, found.version, len(found.item.data))
        if self.listing_fails:
            raise Retry("world: the listing broke off, as told to; run again")
        events, self.between = self.between, ()
        self.apply(events)

    def listing(self, prefix: str = "") -> dict[str, Object]:
        """What a listing would yield now."""
        return {name: found for name, found in self.objects.items() if name.startswith(prefix) and name not in self.unlisted}

    def read(self, listed: RawObject, max_bytes: int) -> Content:
        """The newest bytes, after the faults set for the object."""
        name = listed.uri.removeprefix(ROOT)
        with self._lock:
            if self.flaky.get(name, 0) > 0:
                self.flaky[name] -= 1
                raise Retry(f"world: {name} cannot be read now, as told to; run again")
        found = self.objects.get(name)
        if found is None:
            raise SkipDocument(Reason.SOURCE_VANISHED, "deleted after it was listed")
        if name in self.denied:
            raise SkipDocument(self.denied[name], "as told to")
        if len(found.item.data) > max_bytes:
            raise SkipDocument(Reason.TOO_LARGE, f"{len(found.item.data)} bytes, limit {max_bytes}")
        return Content(listed.uri, found.version, found.item.data)

    def current_version(self, uri: str) -> str | None:
        """The version as of now, None when the object is gone."""
        name = uri.removeprefix(ROOT)
        found = self.objects.get(name)
        if self.confirm_fails and name not in self._listed:
            raise Retry("world: nobody can say whether it is gone, as told to; run again")
        return found.version if found else None

    def calm(self) -> None:
        """End every fault."""
        self.unlisted, self.listing_fails, self.between, self.confirm_fails = frozenset(), False, (), False
        self.flaky, self.denied = {}, {}

    def apply(self, events: Sequence[Event]) -> None:
        """Let events happen; one about an object that is not there puts it there."""
        for event in events:
            rng = Random(event.seed)
            kind = event.kind if event.name in self.objects else "put"
            getattr(self, f"_{kind}")(event.name, rng)

    def _put(self, name: str, rng: Random) -> None:
        extension = name.rpartition(".")[2]
        self._set(name, healthy("txt" if extension == "bin" else extension, rng))

    def _poison(self, name: str, rng: Random) -> None:
        self._set(name, poison(name.rpartition(".")[2], rng))

    def _touch(self, name: str, rng: Random) -> None:
        self._set(name, self.objects[name].item)

    def _revert(self, name: str, rng: Random) -> None:
        """To earlier bytes, under a new version or, as a digest would have it, under their old one."""
        earlier = rng.choice(self.past[name][-4:])
        if rng.random() < 0.5:
            self.objects[name] = earlier
        else:
            self._set(name, earlier.item)

    def _delete(self, name: str, rng: Random) -> None:
        del self.objects[name]

    def _bounce(self, name: str, rng: Random) -> None:
        """Deleted and back, the same or another."""
        found = self.objects.pop(name)
        self._set(name, found.item if rng.random() < 0.5 else healthy(name.rpartition(".")[2], rng))

    def _rename(self, name: str, rng: Random) -> None:
        """To another folder, so that the title and with it the passages stay the same."""
        to = f"{rng.choice(FOLDERS)}/{name.partition('/')[2]}"
        self._set(to, self.objects.pop(name).item)

    def _set(self, name: str, item: Item) -> None:
        self._clock += 1
        self.objects[name] = Object(item, f"v{self._clock}")
        self.past.setdefault(name, []).append(self.objects[name])


def burst(size: int, seed: int, live: int) -> list[Event]:
    """`size` events; a shorter burst of the same seed is a prefix of a longer one. Few bursts delete much."""
    rng = Random(seed)
    deleting = rng.choice((0.01, 0.03, 0.03, 0.15)) * (2 if live > LIVE else 1)
    kinds = {"put": 0.42, "touch": 0.12, "revert": 0.12, "poison": 0.12, "bounce": 0.06, "rename": 0.04, "delete": deleting}
    hot = rng.sample(NAMES, len(NAMES) // 6)
    drawn = []
    for _ in range(size):
        (kind,) = rng.choices(tuple(kinds), tuple(kinds.values()))
        name = rng.choice(hot if rng.random() < HOT else NAMES)
        drawn.append(Event(kind, name, rng.getrandbits(32)))
    return drawn

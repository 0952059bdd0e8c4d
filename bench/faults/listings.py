"""Listings that lie: pages lost, folders unmounted, tables truncated, buckets mistaken, questions refused.

Each fault is a context on a world: inside, the world's source lies as it says; afterwards it tells the truth again. A fault
does not change a world's `truth`, so whatever of it is deleted meanwhile was deleted wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from bench.faults.worlds import FolderWorld, S3World, TableWorld, World
from pipelines.errors import FixConfiguration, Retry
from pipelines.ports import Source
from pipelines.records import Content, RawObject
from pipelines.sources.folder import Folder
from pipelines.sources.s3 import S3

Lie = Callable[[World, Random], AbstractContextManager[Source]]
KINDS = ("memory", "folder", "s3", "table")
FEW = 3  # what a delete guard lets pass whatever its share: only asking one by one protects these


class Faulty:
    """A source before another one: hides addresses from listings, ends them with an error, refuses to be asked."""

    def __init__(self, behind: Source) -> None:
        self.name = behind.name
        self.format = behind.format
        self.hidden: frozenset[str] = frozenset()  # uris
        self.ends: Exception | None = None
        self.refuses: Exception | None = None
        self._behind = behind

    def root(self, prefix: str = "") -> str:
        """As behind."""
        return self._behind.root(prefix)

    def list(self, prefix: str = "") -> Iterator[RawObject]:
        """What is not hidden, then the error if one is set."""
        yield from (entry for entry in self._behind.list(prefix) if entry.uri not in self.hidden)
        if self.ends:
            raise self.ends

    def read(self, listed: RawObject, max_bytes: int) -> Content:
        """As behind."""
        return self._behind.read(listed, max_bytes)

    def current_version(self, uri: str) -> str | None:
        """As behind, unless it refuses."""
        if self.refuses:
            raise self.refuses
        return self._behind.current_version(uri)


@dataclass(frozen=True, slots=True)
class Fault:
    """`lie(world, rng)` yields the source to sync with; `green` when a run may succeed all the same."""

    name: str
    lie: Lie
    kinds: frozenset[str]
    least: int  # documents that a world must have
    prefix: str  # of the request
    green: bool


def _hiding(share: tuple[int, int] | None, ends: Exception | None = None, refuses: Exception | None = None) -> Lie:
    """A contiguous part of the listing is left out: a share in per cent, or one to FEW objects."""

    @contextmanager
    def lie(world: World, rng: Random) -> Iterator[Source]:
        source = Faulty(world.source())
        uris = sorted(entry.uri for entry in world.source().list())
        count = rng.randint(1, min(FEW, len(uris))) if share is None else max(1, len(uris) * rng.randint(*share) // 100)
        start = rng.randrange(len(uris) - count + 1)
        source.hidden = frozenset(uris[start : start + count])
        source.ends, source.refuses = ends, refuses
        yield source

    return lie


def _losing(keep: float) -> Lie:
    """The store itself has lost objects and denies them one by one too; at most `keep` of them are left."""

    @contextmanager
    def lie(world: World, rng: Random) -> Iterator[Source]:
        names = sorted(world.truth)
        lost = rng.sample(names, len(names) - int(len(names) * keep))
        for name in lost:
            world.remove(name)
        yield world.source()
        for name in lost:
            world.write(name, world.truth[name])

    return lie


@contextmanager
def _as_it_is(world: World, rng: Random) -> Iterator[Source]:
    yield world.source()


@contextmanager
def _unmounted(world: World, rng: Random) -> Iterator[Source]:
    """An empty folder stands where the mount was."""
    assert isinstance(world, FolderWorld)
    away = world.folder.with_name("away")
    world.folder.rename(away)
    world.folder.mkdir()
    yield world.source()
    world.folder.rmdir()
    away.rename(world.folder)


@contextmanager
def _no_folder(world: World, rng: Random) -> Iterator[Source]:
    assert isinstance(world, FolderWorld)
    away = world.folder.with_name("away")
    world.folder.rename(away)
    yield world.source()
    away.rename(world.folder)


@contextmanager
def _subfolder(world: World, rng: Random) -> Iterator[Source]:
    """One of the two subfolders, half of the documents, vanishes."""
    assert isinstance(world, FolderWorld)
    part = rng.choice(sorted(path for path in world.folder.iterdir() if path.is_dir()))
    away = world.folder.with_name("part")
    part.rename(away)
    yield world.source()
    away.rename(part)


@contextmanager
def _other_folder(world: World, rng: Random) -> Iterator[Source]:
    assert isinstance(world, FolderWorld)
    yield Folder("docs", world.other)


def _s3(**lies: Any) -> Lie:
    @contextmanager
    def lie(world: World, rng: Random) -> Iterator[Source]:
        assert isinstance(world, S3World)
        with world.client.lying(**lies):
            yield world.source()

    return lie


def _few_lost_on_s3(**lies: Any) -> Lie:
    """So few that they are asked for one by one, which the server then does not answer."""

    @contextmanager
    def lie(world: World, rng: Random) -> Iterator[Source]:
        assert isinstance(world, S3World)
        with _hiding(None)(world, rng) as source, world.client.lying(**lies):
            yield source

    return lie


def _s3_at(bucket: str, prefix: str) -> Lie:
    """The configuration names another bucket or prefix."""

    @contextmanager
    def lie(world: World, rng: Random) -> Iterator[Source]:
        assert isinstance(world, S3World)
        yield S3("docs", world.client, bucket, prefix)

    return lie


def _table(name: str) -> Lie:
    """The configuration names another table."""

    @contextmanager
    def lie(world: World, rng: Random) -> Iterator[Source]:
        assert isinstance(world, TableWorld)
        yield world.open(name)

    return lie


_DOWN = Retry("the source is down, as told to; run again")
_DENIED = FixConfiguration("403, as told to; allow it")
_MANY = FEW + 2  # documents that more than FEW of can be missing from without all being gone


def _fault(name: str, lie: Lie, *kinds: str, least: int = 1, prefix: str = "", green: bool = False) -> Fault:
    return Fault(name, lie, frozenset(kinds or KINDS), least, prefix, green)


FAULTS = (
    _fault("page lost", _hiding((5, 90))),
    _fault("few lost", _hiding(None)),
    _fault("listing fails midway", _hiding((10, 90), ends=_DOWN)),
    _fault("listing refused midway", _hiding((10, 90), ends=_DENIED)),
    _fault("few lost, questions unanswered", _hiding(None, refuses=_DOWN)),
    _fault("few lost, questions refused", _hiding(None, refuses=_DENIED)),
    _fault("emptied", _losing(0.0)),
    _fault("a tenth left", _losing(0.1)),
    _fault("half gone", _losing(0.5), least=2 * _MANY),
    _fault("prefix mistyped in the request", _as_it_is, prefix="polices/", green=True),
    _fault("folder unmounted", _unmounted, "folder"),
    _fault("folder missing", _no_folder, "folder"),
    _fault("subfolder unmounted", _subfolder, "folder", least=2 * _MANY),
    _fault("path of another folder", _other_folder, "folder"),
    _fault("page without its token", _s3(tokens=False), "s3", least=2 * _MANY),
    _fault("page lost by the server", _s3(lost_page=1), "s3", least=2 * _MANY),
    _fault("bucket denied", _s3(refused={"list": "AccessDenied"}), "s3"),
    _fault("service slows down", _s3(refused={"list": "SlowDown"}), "s3"),
    _fault("few lost, HEAD denied", _few_lost_on_s3(refused={"head": "403"}), "s3"),
    _fault("few lost, HEAD slows down", _few_lost_on_s3(refused={"head": "SlowDown"}), "s3"),
    _fault("no such bucket", _s3_at("nowhere", "kb/"), "s3"),
    _fault("wrong bucket", _s3_at("other", "kb/"), "s3"),
    _fault("prefix mistyped", _s3_at("bucket", "bk/"), "s3"),
    _fault("prefix of other objects", _s3_at("bucket", "other/"), "s3"),
    _fault("no such table", _table("nowhere"), "table"),
    _fault("another table", _table("other"), "table"),
)

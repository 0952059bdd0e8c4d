"""The sync that the outages strike: one that loads, replaces, renames a version, quarantines, heals, deletes and collects.

A `Rig` is a lab with a proxy before its database, the corpus as it was before that sync, and what it must be afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow.parquet as pq

from bench.faults.lab import ROOT, SOURCE, Lab
from bench.faults.pg_proxy import Fault, PgProxy
from pipelines.embed.hashing import Hashing
from pipelines.quality.validator import SuiteResult, Validator
from pipelines.records import Accounting, Content, RawObject, SyncRequest
from pipelines.sources.memory import Memory
from pipelines.stages import sync
from pipelines.text.sandbox import ParsePool

LIMITS = {"embed_batch_texts": 8, "publish_batch_documents": 6}
BEFORE = "before"
NEVER = 10**9
WORDS = (
    "harbour",
    "ledger",
    "copper",
    "window",
    "orchard",
    "signal",
    "paper",
    "engine",
    "river",
    "stone",
    "candle",
    "market",
)


class Versions(Memory):
    """A source whose objects can get a new version with the same bytes: the names in `touched`."""

    touched: frozenset[str] = frozenset()

    def list(self, prefix: str = "") -> Iterator[RawObject]:
        for listed in super().list(prefix):
            yield replace(listed, version=self._version(listed.uri, listed.version))

    def read(self, listed: RawObject, max_bytes: int) -> Content:
        content = super().read(listed, max_bytes)
        return replace(content, version=self._version(content.uri, content.version))

    def current_version(self, uri: str) -> str | None:
        version = super().current_version(uri)
        return None if version is None else self._version(uri, version)

    def _version(self, uri: str, version: str) -> str:
        return f"{version}-touched" if uri.removeprefix(self.root()) in self.touched else version


class Counting(Hashing):
    """Counts the texts that it embeds."""

    embedded = 0

    def embed(self, texts, *, query=False):  # type: ignore[no-untyped-def]
        self.embedded += len(texts)
        return super().embed(texts)


class Remembering(Validator):
    """Answers a question that was asked before as it was answered then: the suites know nothing of the database's faults."""

    def __init__(self, folder: Path) -> None:
        super().__init__(ROOT / "include/expectations", folder)
        self._answers: dict[object, SuiteResult] = {}

    def validate(
        self,
        suite: str,
        table: Path,
        docs: Path | None = None,
        label: str = "",
        parameters: Mapping[str, float | str] | None = None,
    ) -> SuiteResult:
        rows = sorted(map(repr, pq.read_table(table).to_pylist()))  # parsed side by side, they come in any order
        asked = (suite, tuple(rows), repr(parameters))
        if asked not in self._answers:
            self._answers[asked] = super().validate(suite, table, docs, label, parameters)
        return self._answers[asked]


@dataclass(frozen=True, slots=True)
class Truth:
    """What must be the same after fault and recovery as without a fault; `embedded` is how many texts the sync embeds."""

    fingerprint: str
    documents: list[tuple[object, ...]]
    quarantine: list[tuple[object, ...]]
    embedded: int

    def differences(self, other: Truth, extra: int) -> list[str]:
        """In words; `extra` texts may have been embedded twice."""
        found = [name for name in ("fingerprint", "documents", "quarantine") if getattr(self, name) != getattr(other, name)]
        if other.embedded > self.embedded + extra:
            found.append(f"{other.embedded} texts embedded instead of {self.embedded}")
        return found


@dataclass(slots=True)
class Rig:
    """One lab, its proxy, and the seeded change between `before` and `after`."""

    lab: Lab
    proxy: PgProxy
    before: Memory
    after: Memory
    truth: Truth
    embedder: Counting
    parsers: ParsePool
    counts: dict[str, int] = field(default_factory=dict)  # outcomes of the fault-free sync

    def sync(self, dsn: str) -> Accounting:
        """The sync from `before` to `after`, texts counted."""
        with self.lab.context(self.after, dsn) as ctx:
            ctx.models.use("hash", self.embedder)
            ctx.__dict__["parsers"] = self.parsers
            try:
                return sync.run(ctx, SyncRequest(SOURCE))
            finally:
                del ctx.__dict__["parsers"]  # kept warm for the next sync

    def reset(self) -> None:
        """The corpus as before the sync."""
        self.proxy.disarm()
        self.lab.reset(BEFORE)
        self.lab.query("CHECKPOINT")  # sequences of a copied database do not outlive a crash before its first checkpoint
        self.embedder.embedded = 0

    def state(self) -> Truth:
        """The corpus as it is."""
        documents = self.lab.query(
            "SELECT uri, member, state, reason, attempts, source_version, loaded_version, chunk_count"
            " FROM document ORDER BY uri, member"
        )
        entries = self.lab.query("SELECT uri, reason, attempt, resolved_at IS NULL FROM quarantine ORDER BY uri, id")
        return Truth(self.lab.fingerprint(), documents, entries, self.embedder.embedded)

    def count(self, fault: Fault) -> tuple[int, int]:
        """(messages that fit, bytes of CopyData) of one fault-free sync through the proxy; the corpus is reset."""
        self.reset()
        self.proxy.arm(replace(fault, nth=NEVER))
        self.sync(self.proxy.dsn("lab"))
        counts = self.proxy.matches, self.proxy.copied
        self.reset()
        return counts


@contextmanager
def rig(lab: Lab, seed: int) -> Iterator[Rig]:
    """Around a lab that runs: load `before`, keep it, and learn the truth from a fault-free sync."""
    lab.validator.stop()
    lab.validator = Remembering(lab.folder / "validator")
    before, after = _sources(random.Random(seed))
    with PgProxy(lab.postgres.sockets, lab.postgres.port) as proxy, ParsePool(lab.settings.limits) as parsers:
        lab.sync(before)
        lab.keep(BEFORE)
        made = Rig(lab, proxy, before, after, Truth("", [], [], 0), Counting(), parsers)
        made.reset()
        made.counts = made.sync(lab.dsn).counts
        made.truth = made.state()
        made.reset()
        yield made


def _sources(chance: random.Random) -> tuple[Memory, Versions]:
    """16 documents before, of which 5 change, 2 go, 1 is renamed in version and 1 heals; 6 and a broken one come."""

    def text(words: int) -> bytes:
        return (" ".join(chance.choice(WORDS) + str(chance.randrange(500)) for _ in range(words)) + ".\n").encode()

    objects = {f"{index:02d}.txt": text(chance.randrange(40, 700)) for index in range(16)}
    before = Memory({**objects, "heals.md": b"", "stays.md": b""})
    changed = {f"{index:02d}.txt": text(chance.randrange(40, 700)) for index in (*range(5), *range(16, 22))}
    after = Versions({**before.objects, **changed, "heals.md": text(60), "worse.txt": b"\x89PNG\r\n\x1a\n" + bytes(200)})
    for name in ("14.txt", "15.txt"):
        del after.objects[name]
    after.touched = frozenset({"10.txt"})
    return before, after

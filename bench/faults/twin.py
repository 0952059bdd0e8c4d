"""Product and reference model side by side: one living source, swept by both, compared after every sweep.

Four costs that do not concern the ledger are taken out of thousands of sweeps: suites are evaluated in process (`suites`),
the sandboxed parse children stay warm between sweeps, stage files lie in memory, and a stage's pauses before it is tried
again are skipped. Everything else is the product's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.faults.contents import MAX_BYTES, NOT_FINITE, REFUSED, UNSTORABLE
from bench.faults.lab import SOURCE, TEMPLATE, Lab, LabContext
from bench.faults.living import ROOT, Event, World
from bench.faults.model import Ending, Entry, Model, Sight
from bench.faults.suites import Quick
from pipelines.config import DeleteGuard, FolderSource, Limits
from pipelines.embed.hashing import Hashing
from pipelines.errors import MillraceError
from pipelines.objects import Memory
from pipelines.records import Reason, ShardRef, SyncRequest
from pipelines.stages import embed as embedding
from pipelines.stages import plan, prepare, publish, settle, status, sync, validate
from pipelines.store import audit, collect
from pipelines.text.sandbox import ParsePool

SHARD = 64  # objects
GUARD = DeleteGuard(max_documents=60, max_share=0.2, always_allowed=3)
LIMITS = {"max_object_bytes": MAX_BYTES, "shard_documents": SHARD, "shard_bytes": 2**31, "publish_batch_documents": 32}

DOCUMENTS = """
SELECT d.uri, d.member, d.state, d.reason, d.attempts, d.source_version,
       (SELECT string_agg(right(t.body, c.char_end - c.char_start), ' ' ORDER BY c.ordinal)
        FROM chunk c JOIN text t USING (tenant, text_sha)
        WHERE c.doc_id = d.doc_id AND c.chunk_set = d.chunk_set AND d.loaded_version IS NOT NULL),
       EXISTS (SELECT FROM quarantine q WHERE q.doc_id = d.doc_id AND q.resolved_at IS NULL AND q.replay_at IS NOT NULL)
FROM document d
"""
HOLDS = """
SELECT h.uri, h.run_id, coalesce(h.decision, '') FROM held_deletion h
JOIN document d USING (tenant, doc_id) JOIN run r ON r.id = h.run_id
WHERE h.decision IS DISTINCT FROM 'superseded' AND d.state <> 'deleted' AND d.fence <= r.fence
"""
RUN = "SELECT id, state, listed, counts, reasons FROM run ORDER BY id DESC LIMIT 1"
UNUSED_TEXTS = "SELECT count(*) FROM text t WHERE NOT EXISTS (SELECT FROM chunk c WHERE c.text_sha = t.text_sha)"
TEXTS = "SELECT c.text_sha FROM chunk c JOIN document d USING (tenant, doc_id) WHERE d.uri = %(uri)s AND d.member = ''"
DAMAGE = {
    "chunk": "DELETE FROM chunk WHERE doc_id = (SELECT doc_id FROM document WHERE uri = %(uri)s AND member = '')",
    "count": "UPDATE document SET chunk_count = chunk_count + 1 WHERE uri = %(uri)s AND member = ''",
    "text": f"UPDATE text SET body = body || ' altered' WHERE text_sha IN ({TEXTS})",
    "vector": f"DELETE FROM space_1 WHERE text_sha IN ({TEXTS})",
}
# What makes the database refuse a text, as an extension or a later constraint might.
REFUSAL = f"ALTER TABLE text ADD CONSTRAINT refusal CHECK (position('{UNSTORABLE}' in body) = 0)"


class Fussy(Hashing):
    """The deterministic embedder, which refuses one word and computes nonsense for another."""

    def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
        """Raises ValueError for a batch with the refused word; NaN for a text with the other."""
        if any(REFUSED in text for text in texts):
            raise ValueError("a text that this model cannot take")
        matrix = super().embed(texts)
        for row, text in enumerate(texts):
            if NOT_FINITE in text:
                matrix[row] = np.nan
        return matrix


@contextmanager
def quickened() -> Iterator[ParsePool]:
    """Parse children for many sequences, and no pauses, until the end of the block."""
    pauses = sync.PAUSES
    sync.PAUSES = (0.0, 0.0, 0.0)
    pool = ParsePool(Limits(**LIMITS))
    try:
        yield pool
    finally:
        sync.PAUSES = pauses
        pool.close()


@dataclass(frozen=True)
class Ask:
    """One sweep: the request, the source's faults, and whether its later tasks are delivered twice."""

    prefix: str = ""
    full_rescan: bool = False
    approve: int | None = None
    reject: int | None = None
    between: Sequence[Event] = ()
    unlisted: frozenset[str] = frozenset()
    listing_fails: bool = False
    flaky: dict[str, int] = field(default_factory=dict)
    denied: dict[str, Reason] = field(default_factory=dict)
    confirm_fails: bool = False
    twice: bool = False


def open_lab() -> Lab:
    """A lab whose limits, guard and database suit the world; enter it."""
    return Lab(limits=LIMITS, guard=GUARD)


def furnish(lab: Lab) -> None:
    """Let the database of every later sequence refuse the unstorable word."""
    lab.query(REFUSAL)
    lab.keep(TEMPLATE)


class Twin:
    """An empty corpus, its source and its model, in one Context that stays open until `close`."""

    def __init__(self, lab: Lab, suites: Quick, parsers: ParsePool) -> None:
        lab.reset()
        self.lab, self.world, self.model = lab, World(), Model(GUARD, SHARD)
        self.sweeps = self.events = 0
        self.ctx: LabContext = lab.context(self.world, objects=Memory())
        self.ctx.__dict__.update(validator=suites, parsers=parsers)
        self.ctx.models.use("hash", Fussy())

    def close(self) -> None:
        """Let go of the corpus; the parse children are the caller's."""
        del self.ctx.__dict__["parsers"]
        self.ctx.close()

    def happen(self, events: Sequence[Event]) -> None:
        """Let the source change."""
        self.world.apply(events)
        self.events += len(events)

    def exclude(self, prefixes: tuple[str, ...]) -> None:
        """Switch the source's exclude patterns."""
        self.model.excluded = prefixes
        entry = FolderSource(kind="folder", path="/nowhere", delete_guard=GUARD, exclude=tuple(f"{p}*" for p in prefixes))
        self.ctx.settings = self.ctx.settings.model_copy(update={"sources": {SOURCE: entry}})

    def replay(self, reason: Reason | None = None, name: str | None = None) -> list[str]:
        """Ask for another try of quarantined documents, in both; what differs between the counts."""
        asked = status.replay(self.ctx, SOURCE, reason.value if reason else None, ROOT + name if name else None)
        marked = 0
        for at, entry in self.model.entries.items():
            for one in (entry, *entry.members.values()):
                if one.state == "quarantined" and (one.reason == reason if reason else at == name):
                    one.replay, marked = True, marked + 1
        return [] if asked == marked else [f"replay marked {asked}, the model {marked}"]

    def damage(self, kind: str, rng: Random) -> None:
        """Break rows of one served document behind the ledger; a lost vector comes back from the cache by itself."""
        loaded = {name: entry for name, entry in self.model.entries.items() if entry.state == "loaded" and not entry.damaged}
        if kind == "text":  # another document with the same passages would mend it: one that is certainly read again
            now = self.world.objects
            loaded = {
                n: e for n, e in loaded.items() if n in now and now[n].item.data == e.data and not self.model.left_out(n)
            }
        if not loaded:
            return
        name = rng.choice(sorted(loaded))
        with self.ctx.pool.connection() as conn:
            conn.execute(DAMAGE[kind].encode(), {"uri": ROOT + name})
        loaded[name].damaged = kind != "vector"

    def collect(self) -> list[str]:
        """Run the collector on a cache that has aged; what it left behind."""
        self.lab.query("UPDATE embedding_cache SET created_at = created_at - interval '9 days'")
        collect.collect(self.ctx.pool, cache_days=8)
        ((unused,),) = self.lab.query(UNUSED_TEXTS)
        return [f"the collector left {unused} unused texts"] if unused else []

    def sweep(self, ask: Ask) -> list[str]:
        """One sync of both; how they differ, the product first."""
        world = self.world
        world.unlisted, world.listing_fails, world.between = ask.unlisted, ask.listing_fails, ask.between
        world.flaky, world.denied, world.confirm_fails = dict(ask.flaky), ask.denied, ask.confirm_fails
        listing = world.listing(ask.prefix)
        request = SyncRequest(SOURCE, prefix=ask.prefix, full_rescan=ask.full_rescan, approve=ask.approve, reject=ask.reject)
        error = ""
        try:
            (_twice if ask.twice else sync.run)(self.ctx, request)
        except MillraceError as raised:
            error = type(raised).__name__
        self.events += 0 if ask.listing_fails else len(ask.between)
        expected = self.model.sweep(
            Sight(
                None if ask.listing_fails else listing,
                dict(world.objects),
                ask.flaky,
                ask.denied,
                ask.confirm_fails,
                ask.prefix,
                ask.full_rescan,
                ask.approve,
                ask.reject,
            )
        )
        world.calm()
        self.sweeps += 1
        return self._differences(error, expected)

    def _differences(self, error: str, expected: Ending) -> list[str]:
        with self.ctx.pool.connection() as conn:
            rows = conn.execute(DOCUMENTS).fetchall()
            holds = {(uri.removeprefix(ROOT), run, said) for uri, run, said in conn.execute(HOLDS)}
            ran = conn.execute(RUN).fetchone()
        found = {(uri.removeprefix(ROOT), member): _row(*row) for uri, member, *row in rows}
        wanted = {
            (name, path): _as_row(one)
            for name, entry in self.model.entries.items()
            for path, one in (("", entry), *entry.members.items())
        }
        damaged = {(name, "") for name, entry in self.model.entries.items() if entry.damaged}
        run = (error, *(ran or ()))
        ending = (expected.error, self.model.run, expected.state, expected.listed, expected.counts, expected.reasons)
        differ = [f"run: {run}, model {ending}"] if run != ending else []
        for key in sorted((found.keys() | wanted.keys()) - damaged):  # of a damaged one nobody can say what is served
            if found.get(key) != wanted.get(key):
                differ.append(f"{key}: {found.get(key)}, model {wanted.get(key)}")
        waiting = {(hold.name, hold.run, hold.decision) for hold in self.model.standing()}
        if holds != waiting:
            differ.append(f"holds: only found {sorted(holds - waiting)}, only expected {sorted(waiting - holds)}")
        return differ + self._damages(expected)

    def _damages(self, expected: Ending) -> list[str]:
        """The auditor names exactly the documents that are damaged; a green run has already asked it."""
        if expected.state in ("succeeded", "held"):
            return []
        named = {finding.uri.removeprefix(ROOT) for finding in audit.audit(self.ctx.pool, SOURCE)}
        broken = {name for name, entry in self.model.entries.items() if entry.damaged}
        return [] if named == broken else [f"audit: names {sorted(named)}, model {sorted(broken)}"]


def _row(state: str, reason: str | None, attempts: int, version: str, text: str | None, replay: bool) -> tuple[Any, ...]:
    return state, reason, attempts, version if state != "deleted" else "", " ".join(text.split()) if text else None, replay


def _as_row(entry: Entry) -> tuple[Any, ...]:
    reason = entry.reason.value if entry.reason else None
    return entry.state, reason, entry.attempts, entry.version, entry.text, entry.replay


def _twice(ctx: LabContext, request: SyncRequest) -> None:
    """A run whose tasks after reading are delivered twice, the later ones out of order, as a scheduler may."""
    planned = plan.run(ctx, request)
    for shard in planned.shards:
        prepare.run(ctx, shard)
        _repeat(ctx, shard)
    for _ in range(2):
        settle.run(ctx, planned.run_id)


def _repeat(ctx: LabContext, shard: ShardRef) -> None:
    for stage in (validate.run, embedding.run, publish.run, validate.run, embedding.run, publish.run, publish.run):
        stage(ctx, shard)

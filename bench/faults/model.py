"""The reference model: what the corpus must serve and the ledger must say after each sweep, as one function of the source.

It knows the promises, not the product: no fences, stages, files, batches, chunks, vectors or SQL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.faults.contents import MAX_BYTES
from bench.faults.living import Object
from pipelines.config import DeleteGuard
from pipelines.records import MAX_ATTEMPTS, TRANSIENT, Reason

UNCHARGED = {Reason.DEPENDENCY_DOWN, Reason.SOURCE_VANISHED, Reason.SOURCE_CHANGED, Reason.CHECKSUM_MISMATCH}
TRIES = 4  # of a stage whose dependency fails


@dataclass
class Entry:
    """What the ledger says of an object or attachment. `text` is what is served, None when nothing is."""

    state: str = "deleted"
    version: str = ""
    reason: Reason | None = None
    attempts: int = 0
    text: str | None = None
    data: bytes | None = None
    written: int = 0  # the run that wrote it
    replay: bool = False  # a person asked to try it again
    damaged: bool = False  # what it serves was altered behind the ledger
    members: dict[str, Entry] = field(default_factory=dict)

    @property
    def forced(self) -> bool:
        """Whether it must be built again although its bytes are known."""
        return self.damaged or self.replay or any(member.replay for member in self.members.values())


@dataclass
class Hold:
    """A deletion that a run held, and what a person said: "", approved, rejected; superseded when it is moot."""

    name: str
    run: int
    decision: str = ""


@dataclass(frozen=True)
class Sight:
    """What one sweep meets: the listing (None: it failed), the objects as they are read, the faults, the request."""

    listing: Mapping[str, Object] | None
    objects: Mapping[str, Object]
    flaky: Mapping[str, int] = field(default_factory=dict)
    denied: Mapping[str, Reason] = field(default_factory=dict)
    confirm_fails: bool = False
    prefix: str = ""
    full_rescan: bool = False
    approve: int | None = None
    reject: int | None = None


@dataclass(frozen=True)
class Ending:
    """How a run must end: the error it raises ("" for none), its state and counts."""

    error: str
    state: str
    listed: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)


class Model:
    """`entries` by name of the object, `excluded` prefixes of names; `sweep` is one sync."""

    def __init__(self, guard: DeleteGuard, shard: int) -> None:
        self.guard, self.shard, self.run = guard, shard, 0
        self.entries: dict[str, Entry] = {}
        self.holds: list[Hold] = []
        self.excluded: tuple[str, ...] = ()

    def sweep(self, sight: Sight) -> Ending:
        """What the sweep does; returns how it must end."""
        self.run += 1
        for entry in self.entries.values():
            if entry.damaged and entry.state == "quarantined":  # its former version can't be built again
                entry.text, entry.damaged = None, False
        if sight.listing is None:
            return Ending("Retry", "failed")
        counts = Counter(dict.fromkeys(("loaded", "unchanged", "quarantined", "deleted", "excluded"), 0))
        reasons: Counter[str] = Counter()
        planned = {name: self._plan(name, listed, sight) for name, listed in sorted(sight.listing.items())}
        work = [name for name, outcome in planned.items() if outcome is None]
        outcomes = [outcome for outcome in planned.values() if outcome is not None]
        allowed, held = self._guard(sight, len(sight.listing) - sum(map(bool, map(self.left_out, sight.listing))))
        gaps = 0
        for shard in (work[at : at + self.shard] for at in range(0, len(work), self.shard)):
            if any(sight.flaky.get(name, 0) >= TRIES for name in shard):
                gaps += 1
            else:
                outcomes += [self._load(name, sight) for name in shard]
        self.holds += [Hold(name, self.run) for name in held if not any(hold.name == name for hold in self.standing())]
        for state, reason in outcomes:
            counts[state] += 1
            reasons.update([reason.value] if reason else [])
        asked = [name for name in allowed if not self.left_out(name)]
        if asked and sight.confirm_fails:
            return Ending("Retry", "running")
        kept = [name for name in asked if name in sight.objects]
        gaps += len(kept)  # the listing was incomplete, or they came back
        for name in set(allowed) - set(kept):
            self.entries[name] = Entry(members={path: Entry() for path in self.entries[name].members})
            counts["deleted"] += 1
        red = gaps or any(entry.damaged for entry in self.entries.values())
        error, state = ("FailRun", "failed") if red else ("Held", "held") if held else ("", "succeeded")
        return Ending(error, state, len(sight.listing), dict(counts), dict(reasons))

    def left_out(self, name: str) -> Reason | None:
        """Why an address does not belong in the corpus."""
        if any(name.startswith(prefix) for prefix in self.excluded):
            return Reason.EXCLUDED_PATTERN
        return Reason.TYPE_UNSUPPORTED if name.endswith(".bin") else None

    def standing(self) -> list[Hold]:
        """Holds of documents that are there and that nobody has written since."""
        there = [hold for hold in self.holds if hold.decision != "superseded" and self.entries[hold.name].state != "deleted"]
        return [hold for hold in there if self.entries[hold.name].written < hold.run]

    def _plan(self, name: str, listed: Object, sight: Sight) -> tuple[str, Reason | None] | None:
        """The outcome of an object that need not be read, None for the others."""
        entry, why = self.entries.get(name, Entry()), self.left_out(name)
        if why:
            return "excluded", why
        again = entry.forced or sight.full_rescan or (entry.reason in TRANSIENT and entry.attempts < MAX_ATTEMPTS)
        if entry.state == "deleted" or entry.version != listed.version or again:
            return None
        return "quarantined" if entry.reason else "unchanged", entry.reason

    def _guard(self, sight: Sight, wanted: int) -> tuple[list[str], list[str]]:
        """The deletions that may go ahead and those that wait for a person; what persons said is noted."""
        known = [name for name, entry in self.entries.items() if entry.state != "deleted" and name.startswith(sight.prefix)]
        missing = [name for name in known if name not in (sight.listing or {}) or self.left_out(name)]
        for hold in self.standing():
            hold.decision = {sight.approve: "approved", sight.reject: "rejected"}.get(hold.run, hold.decision)
            if hold.name.startswith(sight.prefix) and hold.name not in missing:
                hold.decision = "superseded"
        said = {hold.name: hold.decision for hold in self.standing() if hold.decision}
        rest = [name for name in missing if name not in said]
        base, guard = len(known) - (len(missing) - len(rest)), self.guard
        much = not sight.listing or wanted * 10 <= base or len(rest) > guard.max_documents
        much |= len(rest) > guard.always_allowed and len(rest) > guard.max_share * base
        sure = [name for name in missing if said.get(name) == "approved"]
        return (sure, rest) if much and rest else (sure + rest, [])

    def _load(self, name: str, sight: Sight) -> tuple[str, Reason | None]:
        """Read an object and serve it or say why not."""
        entry, found = self.entries.setdefault(name, Entry()), sight.objects.get(name)
        listed = (sight.listing or {})[name].version
        if found is None or name in sight.denied:
            return self._quarantine(entry, sight.denied[name] if found else Reason.SOURCE_VANISHED, listed)
        item, version = found.item, found.version
        if len(item.data) > MAX_BYTES:
            return self._quarantine(entry, Reason.TOO_LARGE, listed)
        if entry.state == "loaded" and entry.data == item.data and not entry.forced:
            entry.version, entry.written = version, self.run
            return "unchanged", None
        if item.reason is not None:
            return self._quarantine(entry, item.reason, version)
        present = dict(item.members)
        for path, member in item.members:
            if member.reason is None:
                entry.members[path] = Entry("loaded", version, text=member.text)
            else:
                self._quarantine(entry.members.setdefault(path, Entry()), member.reason, version)
        members = {path: member if path in present else Entry() for path, member in entry.members.items()}
        self.entries[name] = Entry("loaded", version, text=item.text, data=item.data, written=self.run, members=members)
        return "loaded", None

    def _quarantine(self, entry: Entry, reason: Reason, version: str) -> tuple[str, Reason]:
        """What was served before is still served; attempts count per version."""
        before = entry.attempts if entry.version == version else 0
        entry.state, entry.version, entry.reason, entry.replay = "quarantined", version, reason, False
        entry.attempts, entry.written = before + (reason not in UNCHARGED), self.run
        return "quarantined", reason

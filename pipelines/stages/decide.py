"""What a sync must do about each listed object and each document no longer listed. Pure: no I/O, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.config import DeleteGuard, Limits
from pipelines.records import MAX_ATTEMPTS, TRANSIENT, RawObject, Reason

if TYPE_CHECKING:
    from pipelines.store.ledger import Known


SHRUNKEN = 10  # a listing that many times smaller than what is known deletes nothing, whatever the source's limits say
MAX_SHARDS = 200  # mapped task instances that Airflow's scheduler takes easily; it refuses more than 1024


@dataclass(frozen=True, slots=True)
class Work:
    """One object to read."""

    listed: RawObject
    format: str
    known_fence: int | None  # the ledger's fence as planned against; None for a new document
    known_sha: bytes | None  # equal bytes mean unchanged; None when the document must be rebuilt whatever its bytes


@dataclass(slots=True)
class Decisions:
    """The outcome of one comparison of a listing with the ledger."""

    work: list[Work] = field(default_factory=list)
    added: int = 0
    updated: int = 0
    repaired: int = 0
    unchanged: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)  # carried over: same version, same settings, same reason
    excluded: Counter[str] = field(default_factory=Counter)
    deletions: list[Known] = field(default_factory=list)
    leftovers: list[Known] = field(default_factory=list)  # deleted before, but an attachment is still there: deleted again
    listed: int = 0

    @property
    def wanted(self) -> int:
        """The listed objects that belong in the corpus."""
        return self.listed - self.excluded.total()


@dataclass(frozen=True, slots=True)
class Policy:
    """What decides besides versions."""

    fingerprint: str  # of parser, cleaner and chunk settings
    excluded: Callable[[RawObject], bool]
    format_of: Callable[[RawObject], str | None]
    full_rescan: bool = False
    replay: Collection[str] = frozenset()  # uris that a person asked to try again
    broken: Collection[str] = frozenset()  # uris whose chunks or vectors the auditor found wrong


def compare(listing: Iterable[RawObject], known: Mapping[str, Known], policy: Policy) -> Decisions:
    """Split a complete listing into work, unchanged, carried quarantine, excluded, and deletions."""
    result = Decisions()
    seen: set[str] = set()
    for listed in listing:
        result.listed += 1
        entry = known.get(listed.uri)
        reason, fmt = _exclusion(listed, policy)
        if reason is not None:
            result.excluded[reason.value] += 1
            continue  # not `seen`: a document that is excluded by now leaves the corpus, through the guard
        seen.add(listed.uri)
        _decide(listed, fmt, entry, policy, result)
    for uri, entry in known.items():
        if uri in seen:
            continue
        if entry.state != "deleted":
            result.deletions.append(entry)
        elif uri in policy.broken:
            result.leftovers.append(entry)
    return result


def _exclusion(listed: RawObject, policy: Policy) -> tuple[Reason | None, str]:
    if policy.excluded(listed):
        return Reason.EXCLUDED_PATTERN, ""
    fmt = policy.format_of(listed)
    if fmt is None:
        return Reason.TYPE_UNSUPPORTED, ""
    return None, fmt


def _decide(listed: RawObject, fmt: str, entry: Known | None, policy: Policy, result: Decisions) -> None:
    if entry is None or entry.state == "deleted":
        result.added += 1
        result.work.append(Work(listed, fmt, entry.fence if entry else None, None))
        return
    same = entry.source_version == listed.version and entry.pipeline_fingerprint == policy.fingerprint
    if entry.uri in policy.broken:
        result.repaired += 1
        result.work.append(Work(listed, fmt, entry.fence, None))
    elif entry.state == "quarantined" and same and not _retriable(entry, policy):
        result.quarantined[str(entry.reason)] += 1
    elif same and entry.state == "loaded" and not policy.full_rescan and entry.uri not in policy.replay:
        result.unchanged += 1
    else:  # a loaded object that is to be tried again has an attachment in quarantine
        asked = entry.uri in policy.replay
        comparable = entry.state == "loaded" and entry.pipeline_fingerprint == policy.fingerprint and not asked
        result.updated += 1
        result.work.append(Work(listed, fmt, entry.fence, entry.content_sha if comparable else None))


def _retriable(entry: Known, policy: Policy) -> bool:
    if entry.uri in policy.replay or policy.full_rescan:
        return True
    return Reason(str(entry.reason)) in TRANSIENT and entry.attempts < MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class Said:
    """What persons said about single deletions: doc_ids to delete, and doc_ids to keep."""

    approved: frozenset[bytes] = frozenset()
    rejected: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class DeletionVerdict:
    """Which deletions may go ahead, which are held and why, which a person refused.

    `outside` counts the allowed and held documents that lie outside the source's root, because its address changed.
    """

    allowed: tuple[Known, ...]
    held: tuple[Known, ...]
    why: str = ""
    kept: tuple[Known, ...] = ()
    outside: int = 0


def guard_deletions(decisions: Decisions, known: int, guard: DeleteGuard, said: Said, root: str = "") -> DeletionVerdict:
    """Apply the delete breaker; `known` counts the documents that the listing answers for, deleted ones not.

    Deletions that a person approved are not counted against the limits and go ahead, those that a person refused are not
    made; what was deleted before is deleted again.
    """
    sure = list(decisions.leftovers)
    kept: list[Known] = []
    open_: list[Known] = []
    for entry in decisions.deletions:
        decided = sure if entry.doc_id in said.approved else kept if entry.doc_id in said.rejected else open_
        decided.append(entry)
    outside = sum(not entry.uri.startswith(root) for entry in open_)
    undecided = known - len(kept) - (len(sure) - len(decisions.leftovers))
    why = _out_of_proportion(len(open_), outside, undecided, decisions, guard)
    if why and outside:
        why += f"; {outside} of them lie outside the source's present root {root}"
    allowed = sure if why else sure + open_
    return DeletionVerdict(tuple(allowed), tuple(open_) if why else (), why, tuple(kept), outside)


def _out_of_proportion(count: int, outside: int, known: int, decisions: Decisions, guard: DeleteGuard) -> str:
    """Why so many deletions must wait, or nothing."""
    share = count / max(known, 1)
    if not count:
        return ""
    if not decisions.listed:
        return f"the listing is empty where {known} documents are known"
    if SHRUNKEN * decisions.wanted <= known:
        return f"the listing holds {decisions.wanted} objects to serve where {known} documents are known"
    if count > guard.max_documents:
        return f"{count} deletions exceed the limit of {guard.max_documents} documents"
    # A document outside the root is not gone: the source's address was changed, perhaps by mistake. None of those is few.
    if share > guard.max_share and (outside or count > guard.always_allowed):
        return f"{count} of {known} documents ({share:.0%}) exceed the limit of {guard.max_share:.0%}"
    return ""


def shards(work: list[Work], limits: Limits) -> list[list[Work]]:
    """Cut the work into shards by bytes and count, in uri order; at least one, possibly empty, at most MAX_SHARDS.

    A plan too large for that gets larger shards, not more.
    """
    ordered = [(item, _weight(item, limits)) for item in sorted(work, key=lambda item: item.listed.uri)]
    cut = _pack(ordered, limits.shard_bytes, limits.shard_documents)
    if len(cut) <= MAX_SHARDS:
        return cut
    # Two neighbours together exceed a limit, so these limits give at most half of MAX_SHARDS by bytes and half by count.
    total = sum(weight for _, weight in ordered)
    return _pack(ordered, 4 * total // MAX_SHARDS + 1, 2 * len(work) // MAX_SHARDS + 1)


def _weight(item: Work, limits: Limits) -> int:
    """The bytes that will be read of it: none of an object that is over the limit."""
    return item.listed.size if item.listed.size <= limits.max_object_bytes else 0


def _pack(ordered: list[tuple[Work, int]], most_bytes: int, most_documents: int) -> list[list[Work]]:
    cut: list[list[Work]] = [[]]
    size = 0
    for item, weight in ordered:
        if cut[-1] and (size + weight > most_bytes or len(cut[-1]) >= most_documents):
            cut.append([])
            size = 0
        cut[-1].append(item)
        size += weight
    return cut

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
    listed: int = 0


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
    result.deletions = [entry for uri, entry in known.items() if uri not in seen and entry.state != "deleted"]
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
    elif same and entry.state == "loaded" and not policy.full_rescan:
        result.unchanged += 1
    else:
        comparable = entry.state == "loaded" and entry.pipeline_fingerprint == policy.fingerprint
        result.updated += 1
        result.work.append(Work(listed, fmt, entry.fence, entry.content_sha if comparable else None))


def _retriable(entry: Known, policy: Policy) -> bool:
    if entry.uri in policy.replay or policy.full_rescan:
        return True
    return Reason(str(entry.reason)) in TRANSIENT and entry.attempts < MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class DeletionVerdict:
    """Which deletions may go ahead, which are held, and why."""

    allowed: tuple[Known, ...]
    held: tuple[Known, ...]
    why: str = ""


def guard_deletions(
    deletions: list[Known], known: int, listed: int, guard: DeleteGuard, approved: Collection[bytes]
) -> DeletionVerdict:
    """Apply the delete breaker; `known` counts the documents in scope that are not deleted, `listed` the objects seen.

    Deletions that a person approved are not counted against the limits and go ahead.
    """
    pre_approved = tuple(entry for entry in deletions if entry.doc_id in approved)
    rest = tuple(entry for entry in deletions if entry.doc_id not in approved)
    if not rest:
        return DeletionVerdict(pre_approved, ())
    share = len(rest) / max(known, 1)
    why = ""
    if listed == 0:
        why = f"the listing is empty where {known} documents are known"
    elif len(rest) > guard.max_documents:
        why = f"{len(rest)} deletions exceed the limit of {guard.max_documents} documents"
    elif len(rest) > guard.always_allowed and share > guard.max_share:
        why = f"{len(rest)} of {known} documents ({share:.0%}) exceed the limit of {guard.max_share:.0%}"
    return DeletionVerdict(pre_approved, rest, why) if why else DeletionVerdict(pre_approved + rest, ())


def shards(work: list[Work], limits: Limits) -> list[list[Work]]:
    """Cut the work into shards by bytes and count, in uri order; at least one, possibly empty, at most MAX_SHARDS.

    A plan too large for that gets larger shards, not more.
    """
    ordered = sorted(work, key=lambda item: item.listed.uri)
    cut = _pack(ordered, limits.shard_bytes, limits.shard_documents)
    if len(cut) <= MAX_SHARDS:
        return cut
    # Two neighbours together exceed a limit, so these limits give at most half of MAX_SHARDS by bytes and half by count.
    total = sum(item.listed.size for item in work)
    return _pack(ordered, 4 * total // MAX_SHARDS + 1, 2 * len(work) // MAX_SHARDS + 1)


def _pack(ordered: list[Work], most_bytes: int, most_documents: int) -> list[list[Work]]:
    cut: list[list[Work]] = [[]]
    size = 0
    for item in ordered:
        if cut[-1] and (size + item.listed.size > most_bytes or len(cut[-1]) >= most_documents):
            cut.append([])
            size = 0
        cut[-1].append(item)
        size += item.listed.size
    return cut

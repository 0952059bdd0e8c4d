"""What must hold of a corpus while its object store misbehaves, and once it no longer does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from bench.faults.lab import Lab
from bench.faults.s3_bucket import LabBucket, version
from bench.faults.s3_kinds import Kind
from pipelines.sources import relative

SHOWN = 3


@dataclass(slots=True)
class Verdict:
    """How one kind went; `unaccounted` counts the objects of which something does not hold."""

    kind: str
    end: str
    fired: int
    objects: int = 0
    quarantined: int = 0
    wrong_deletions: int = 0
    wrong_bytes: int = 0
    charged: int = 0
    problems: list[str] = field(default_factory=list)
    _bad: set[str] = field(default_factory=set)
    _all: bool = False

    @property
    def unaccounted(self) -> int:
        """Every object when the run as a whole went wrong, else those with a problem of their own."""
        return self.objects if self._all else len(self._bad)

    def object(self, problem: str, keys: set[str]) -> int:
        """Single objects of which something does not hold; returns how many."""
        if keys:
            self._bad |= keys
            self.problems.append(f"{problem}: {len(keys)}, such as {sorted(keys)[:SHOWN]}")
        return len(keys)

    def run(self, problem: str) -> None:
        """The whole run went wrong."""
        self._all = True
        self.problems.append(problem)


@dataclass(frozen=True, slots=True)
class Row:
    """What the ledger says of one object, and the texts it serves."""

    state: str
    source_version: str
    loaded_version: str | None
    content_sha: bytes | None
    attempts: int
    served: tuple[str, ...]


class Ledger:
    """The corpus's rows by key, as of now."""

    def __init__(self, lab: Lab, root: str) -> None:
        found = lab.query(
            "SELECT d.uri, d.state, d.source_version, d.loaded_version, d.content_sha, d.attempts, "
            "array_remove(array_agg(t.body ORDER BY c.ordinal), NULL) FROM document d "
            "LEFT JOIN chunk c ON c.tenant = d.tenant AND c.doc_id = d.doc_id "
            "LEFT JOIN text t ON t.tenant = c.tenant AND t.text_sha = c.text_sha GROUP BY d.tenant, d.doc_id"
        )
        self.rows: dict[str, Row] = {}
        for uri, state, version_, loaded, sha, attempts, served in found:
            self.rows[relative(root, uri)] = Row(state, version_, loaded, sha, attempts, tuple(served))
        self.findings = [f"{finding.check} {finding.uri}" for finding in lab.findings()]


def during(
    verdict: Verdict,
    kind: Kind,
    before: frozenset[tuple[str, bytes]],
    ledger: Ledger,
    bucket: LabBucket,
    counts: dict[str, int] | None,
) -> None:
    """Check the corpus after the sync under the fault; `before` is what the bucket held when it began."""
    verdict.objects = len(dict(before))
    if verdict.end not in kind.ends:
        verdict.run(f"ended {verdict.end}, expected {' or '.join(sorted(kind.ends))}")
    if counts is not None and not kind.blind:
        _accounted(verdict, dict(before), ledger, bucket, counts)
    verdict.quarantined = sum(row.state == "quarantined" for row in ledger.rows.values())
    _never(verdict, ledger, bucket)


def after(verdict: Verdict, end: str, ledger: Ledger, bucket: LabBucket, same: bool) -> None:
    """Check the corpus after the next sync, without the fault."""
    if end != "succeeded":
        verdict.run(f"the sync after the fault ended {end}")
    loaded = {key for key, row in ledger.rows.items() if row.state == "loaded" and row.loaded_version == row.source_version}
    current = {key for key, data in bucket.now.items() if key in loaded and ledger.rows[key].loaded_version == version(data)}
    verdict.object("not loaded at its version after the fault", bucket.now.keys() - current)
    alive = {key for key, row in ledger.rows.items() if row.state != "deleted"}
    verdict.object("not deleted after the fault", alive - bucket.now.keys())
    _never(verdict, ledger, bucket)
    if not same:
        verdict.run("the fingerprint after the fault is not that of a fault-free run")


def _accounted(
    verdict: Verdict, before: dict[str, bytes], ledger: Ledger, bucket: LabBucket, counts: dict[str, int]
) -> None:
    outcomes = sum(counts[state] for state in ("loaded", "unchanged", "quarantined", "excluded"))
    if outcomes != counts["listed"]:
        verdict.run(f"{counts['listed']} listed, {outcomes} outcomes")
    open_ = {key for key, data in before.items() if not _has_outcome(ledger.rows.get(key), _since(bucket, key, data))}
    verdict.object("green, and neither loaded nor quarantined", open_)
    gone = {key for key, row in ledger.rows.items() if key not in before and row.state != "deleted"}
    verdict.object("green, and a deletion not followed", gone - bucket.now.keys())


def _since(bucket: LabBucket, key: str, began: bytes) -> set[str]:
    """The versions that the key had from the sync's begin on."""
    over = {bucket.first[key]} if key in bucket.first and bucket.first[key] != began else set()
    return {version(data) for data in bucket.held[key] - over}


def _has_outcome(row: Row | None, versions: set[str]) -> bool:
    return row is not None and (row.state == "quarantined" or (row.state == "loaded" and row.loaded_version in versions))


def _never(verdict: Verdict, ledger: Ledger, bucket: LabBucket) -> None:
    """What may not happen whatever the store does."""
    deleted = {key for key, row in ledger.rows.items() if row.state == "deleted"}
    verdict.wrong_deletions += verdict.object("deleted, and alive", deleted & bucket.now.keys())
    verdict.wrong_bytes += verdict.object("bytes that the object never had", _wrong(ledger, bucket))
    verdict.charged += verdict.object("charged with an attempt", {key for key, row in ledger.rows.items() if row.attempts})
    if ledger.findings:
        verdict.run(f"audit: {ledger.findings[:SHOWN]}")


def _wrong(ledger: Ledger, bucket: LabBucket) -> set[str]:
    """Keys whose digest, version or served text is of no content that the object had."""
    wrong = set()
    for key, row in ledger.rows.items():
        contents = bucket.held.get(key, set())
        digests = {hashlib.sha256(data).digest() for data in contents}
        named = {version(data): hashlib.sha256(data).digest() for data in contents}
        texts = {" ".join(data.decode().split()) for data in contents}
        bad = row.state == "loaded" and (row.content_sha not in digests or named.get(row.source_version) != row.content_sha)
        served = " ".join(body.rpartition("\n\n")[2] for body in row.served)  # without the title
        if bad or (row.served and served not in texts):
            wrong.add(key)
    return wrong

"""The records that flow: RawObject -> Document -> Chunk -> Vector, and the Summary each stage returns.

Frozen dataclasses without behaviour beyond identity. Imports the standard library only, so that every room, the DAG files
and the parse child can use it.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Literal

PUBLIC_TENANT = "public"


class State(StrEnum):
    """How every listed object of a run ends; the counts of a run sum to its listing."""

    LOADED = "loaded"
    UNCHANGED = "unchanged"
    QUARANTINED = "quarantined"
    DELETED = "deleted"
    EXCLUDED = "excluded"


class Reason(StrEnum):
    """Why a document was not loaded. The closed list: a new reason is added here, to the docs and nowhere else."""

    # before parsing
    EXCLUDED_PATTERN = "excluded_pattern"  # the source's own exclude pattern
    TYPE_UNSUPPORTED = "type_unsupported"
    TYPE_MISMATCH = "type_mismatch"
    TOO_LARGE = "too_large"
    CONTAINER_BOMB = "container_bomb"
    CONTAINER_DEPTH = "container_depth"
    XML_DTD = "xml_dtd"
    SOURCE_VANISHED = "source_vanished"
    SOURCE_CHANGED = "source_changed"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    # parsing
    MALFORMED = "malformed"
    PDF_MALFORMED = "pdf_malformed"
    NEEDS_PASSWORD = "needs_password"
    NEEDS_OCR = "needs_ocr"
    EMPTY_TEXT = "empty_text"
    TOO_DEEP = "too_deep"
    ENCODING_LOSS = "encoding_loss"
    HIDDEN_TEXT = "hidden_text"
    PARSE_TIMEOUT = "parse_timeout"
    PARSE_OOM = "parse_oom"
    PARSE_CRASH = "parse_crash"
    OUTPUT_LIMIT = "output_limit"
    # after parsing
    VALIDATION_FAILED = "validation_failed"
    EMBED_NAN = "embed_nan"
    EMBED_DIM = "embed_dim"
    EMBED_FAILED = "embed_failed"  # the embedder refuses this very text
    DB_REJECTED = "db_rejected"
    DEPENDENCY_DOWN = "dependency_down"  # never charged to the document: its attempts do not grow


# Reasons that a later attempt on the very same bytes may overturn; the others wait for new bytes, new settings or `replay`.
TRANSIENT = frozenset(
    {
        Reason.SOURCE_VANISHED,
        Reason.SOURCE_CHANGED,
        Reason.CHECKSUM_MISMATCH,
        Reason.PARSE_TIMEOUT,
        Reason.PARSE_OOM,
        Reason.PARSE_CRASH,
        Reason.DB_REJECTED,
        Reason.DEPENDENCY_DOWN,
    }
)
MAX_ATTEMPTS = 3


def sha256(*parts: str | bytes) -> bytes:
    """32-byte digest of the parts; each is length-prefixed, so ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.digest()


def document_id(source: str, uri: str, member: str = "") -> bytes:
    """The 32-byte identity of a document: its source, its address and, for an attachment, its path inside the object."""
    return sha256(source, uri, member)


@dataclass(frozen=True, slots=True)
class RawObject:
    """One object as a source lists it."""

    uri: str  # canonical address, unique inside its source: s3://bucket/key, file:///path, sql://connection/table/key
    version: str  # opaque change token; equal tokens mean equal bytes
    size: int  # bytes; 0 when the source cannot say before reading
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of one object, pinned to one version."""

    uri: str
    version: str  # the change token of exactly these bytes (may be newer than the listed one)
    data: bytes
    version_id: str | None = None  # the source's own version pin, where it has one
    metadata: dict[str, Any] = field(default_factory=dict)  # JSON values that the source knows (a table's other columns)


@dataclass(frozen=True, slots=True)
class Section:
    """A run of text below one heading. Offsets are code points into `Document.text`, end exclusive."""

    heading_path: tuple[str, ...]
    start: int
    end: int
    kind: str = "prose"  # prose | table | list | code | record


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed and cleaned document, or attachment (`member` is its path inside the object)."""

    uri: str
    text: str
    sections: tuple[Section, ...]
    title: str = ""
    member: str = ""
    media_type: str = "text/plain"
    lang: str = ""  # ISO 639-1, "" when unknown
    metadata: dict[str, Any] = field(default_factory=dict)  # JSON values
    warnings: tuple[str, ...] = ()  # such as nul_removed, encoding_guess


@dataclass(frozen=True, slots=True)
class Rejected:
    """A document or attachment that cannot be loaded, and why."""

    uri: str
    reason: Reason
    detail: str = ""
    member: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One passage. `text` is exactly what the embedder reads: heading prefix, blank line, then the passage."""

    ordinal: int  # 0..n-1 inside its document
    text: str
    char_start: int  # the passage (without the prefix) is Document.text[char_start:char_end]
    char_end: int
    heading_path: tuple[str, ...]
    tokens: int  # of `text`, special tokens included; never more than the embedder's limit
    lang: str = ""
    kind: str = "prose"

    @property
    def text_sha(self) -> bytes:
        """Identity of the embedder's input, 32 bytes."""
        return sha256(self.text)


@dataclass(frozen=True, slots=True)
class Summary:
    """What one stage did: counts only, small enough for XCom. `counts` keys are stable names, `seconds` is wall time."""

    stage: str
    run_id: str
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """What a door asks of one sync."""

    source: str
    door: Literal["cli", "airflow"] = "cli"
    external_id: str = ""  # Airflow's run id
    day: date | None = None  # the interval of a dated source
    prefix: str = ""  # narrow the listing to uris that start with root + prefix
    full_rescan: bool = False  # read and compare every object, whatever its version says
    approve: int | None = None  # the run whose held deletions are approved
    reject: int | None = None  # the run whose held deletions are refused
    decided_by: str = ""  # the person who approves or rejects

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, for the run record."""
        return {**asdict(self), "day": self.day.isoformat() if self.day else None}


@dataclass(frozen=True, slots=True)
class ShardRef:
    """A shard of a planned run, small enough for XCom; the documents are in the stage files."""

    run_id: int
    source: str
    shard: str  # "0001"; stage files live under its name
    label: str  # what the Airflow grid shows: "0001 · 35 documents · 210 kB"
    documents: int
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Accounting:
    """How a run ended. The counts sum to `listed` + deletions; `reasons` splits quarantined and excluded."""

    run_id: int
    source: str
    state: Literal["succeeded", "held", "failed"]
    listed: int
    counts: dict[str, int]
    reasons: dict[str, int]
    stats: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the corpus that readers see differs from before the run."""
        return bool(self.counts.get(State.LOADED, 0) or self.counts.get(State.DELETED, 0))

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Budget:
    """What one re-embedding may use; None is no limit. It stops cleanly at the first limit reached and can go on later."""

    texts: int | None = None  # embedded, not counting cached ones
    tokens: int | None = None
    seconds: float | None = None  # of wall time, from the plan on
    cost: float | None = None  # in the currency of prices.yaml

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ReembedRequest:
    """What a door asks of one re-embedding: a space of `model` (empty: the configured one) beside the one that serves."""

    collection: str
    model: str = ""
    budget: Budget = Budget()
    switch: bool = False  # let the new space serve once it is verified
    keep_days: int | None = None  # retire spaces that stopped serving longer ago
    door: Literal["cli", "airflow"] = "cli"
    external_id: str = ""
    decided_by: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, for the run record."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SpanRef:
    """A part of a re-embedding, small enough for XCom: a range of document ids and of text hashes, with its share of the
    budget."""

    run_id: int
    space: int
    shard: str  # "0001"
    label: str
    after: str  # hex, exclusive; "" for the first
    last: str  # hex, inclusive
    texts: int | None = None  # embeddings that it may compute
    tokens: int | None = None
    seconds: float | None = None  # of its own work
    until: float | None = None  # seconds of the epoch at which all spans stop

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Hidden:
    """A stretch of a document that a question was made from, as offsets into its cleaned text: it answers nothing."""

    document: str  # as judgments name it
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a benchmark. `relevant` are (document, relevance); without any the corpus does not answer it."""

    id: str
    text: str
    relevant: tuple[tuple[str, int], ...]
    cluster: str = ""  # the document or topic that it shares with others; "" for its own
    origin: str = "import"  # or the builder's name
    overlap: float | None = None  # the share of its words that the answering passage has, where that is known
    hidden: Hidden | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A question that a builder proposes; `evidence` is the answering passage without title and headings."""

    text: str
    documents: tuple[str, ...]  # the one that it was made from, and its near-duplicates
    cluster: str
    builder: str
    evidence: str
    overlap: float
    hidden: Hidden | None = None


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """A question with a passage that answers it, and passages that look as if they did but do not."""

    question: str
    positive: str  # exactly what the embedder reads, like `Chunk.text`
    document: str  # the passage's, as judgments name it
    negatives: tuple[str, ...] = ()
    origin: str = "judged"  # judged, feedback, or the name of the builder that made it
    source: str = ""  # where it is from: a benchmark's label and question, numbers of events, a document
    weight: float = 1.0  # how much it is believed, above 0 and at most 1

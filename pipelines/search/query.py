"""What is asked of the corpus and what comes back, and the checks that a question passes before it costs anything.

Imports records and errors only. Retrieval is in `hybrid.py`, answers in `answer.py`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from pipelines.errors import FixConfiguration
from pipelines.records import PUBLIC_TENANT

Mode = Literal["hybrid", "dense", "text"]
MAX_K = 200
MAX_CHARS = 4000
MAX_FILTER_VALUES = 100
MAX_FILTER_CHARS = 2000
MAX_PRINCIPALS = 1000  # a directory may put one person into hundreds of groups
# Control characters and lone surrogates: Postgres refuses NUL, UTF-8 refuses surrogates, and none of them is ever meant.
UNSAYABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]+")


@dataclass(frozen=True, slots=True)
class Filters:
    """What a hit's document must satisfy; None keeps everything, an empty tuple keeps nothing."""

    sources: tuple[str, ...] | None = None
    uri_prefix: str | None = None
    lang: str | None = None  # ISO 639-1 of the passage, or of its document where the passage has none
    since: datetime | None = None  # the source's modification time, inclusive; documents without one are left out
    until: datetime | None = None  # exclusive
    media_types: tuple[str, ...] | None = None
    metadata: Mapping[str, Any] | None = None  # JSON that the document's metadata must contain
    principals: tuple[str, ...] | None = None  # who reads: the groups to compare with access lists; None may see everything
    open_sources: tuple[str, ...] = ()  # whose documents everybody may see that carry no list (`access: open`)

    @property
    def any(self) -> bool:
        """Whether anything is filtered."""
        return self != Filters()


@dataclass(frozen=True, slots=True)
class Query:
    """One question to one collection. `k` is the most hits wanted."""

    text: str
    collection: str
    tenant: str = PUBLIC_TENANT
    k: int = 10
    mode: Mode = "hybrid"
    filters: Filters = field(default_factory=Filters)
    as_of: int | datetime | None = None  # a run's number or a moment; answered by `as_of.py` from what was served then
    by_user: bool = False  # somebody wants to know, no test or benchmark: kept where the collection keeps questions


@dataclass(frozen=True, slots=True)
class Place:
    """Another document that holds the same passage."""

    uri: str
    member: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a passage, [start, end) into it; `score` is the mean of three cosines to the question (`rerank.py`)."""

    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage: the slice [char_start, char_end) of the document's cleaned text, in code points."""

    doc_id: bytes
    ordinal: int
    source: str
    uri: str
    member: str
    title: str
    heading_path: tuple[str, ...]
    char_start: int
    char_end: int
    passage: str
    lang: str
    media_type: str
    source_version: str  # the version that is served, which for a quarantined document is its last good one
    modified: datetime | None
    metadata: Mapping[str, Any]
    superseded: bool  # the document's opening says that it was superseded
    score: float  # fused; comparable inside one result only
    similarity: float | None  # cosine of question and passage; None without a question vector
    dense_rank: int | None  # 1-based place in the dense leg, None when not found by it
    text_rank: int | None
    reranked: float | None = None  # what reranking ordered by; comparable inside one result only, None beyond its depth
    also: tuple[Place, ...] = ()
    sentences: tuple[Sentence, ...] = ()  # of the best passages after reranking; what an answer is chosen from

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: the document id in hex, times in ISO 8601, without the sentences' scores."""
        fields = asdict(self)
        del fields["sentences"]
        return {**fields, "doc_id": self.doc_id.hex(), "modified": self.modified.isoformat() if self.modified else None}


def clean_text(text: str) -> str:
    """The question as it can be stored and compared: NFC, without control characters, NULs and lone surrogates."""
    return " ".join(unicodedata.normalize("NFC", UNSAYABLE.sub(" ", text)).split())


def check(query: Query) -> None:
    """Raises FixConfiguration, in one line, for what cannot be searched."""
    if query.mode not in get_args(Mode):
        raise FixConfiguration(f"mode {query.mode!r} is unknown; use one of {', '.join(get_args(Mode))}")
    if isinstance(query.k, bool) or not isinstance(query.k, int) or not 1 <= query.k <= MAX_K:
        raise FixConfiguration(f"k is {query.k!r}; use a whole number from 1 to {MAX_K}")
    if len(query.text) > MAX_CHARS:
        raise FixConfiguration(f"the question has {len(query.text):,} characters, more than {MAX_CHARS:,}; shorten it")
    if not clean_text(query.text):
        raise FixConfiguration("the question is empty; write at least one word")
    if isinstance(query.as_of, datetime) and query.as_of.tzinfo is None:
        raise FixConfiguration(f"as-of {query.as_of.isoformat()} has no time zone; add one, such as Z")
    _check_filters(query.filters)


def _check_filters(filters: Filters) -> None:
    for name in ("sources", "media_types"):
        values = getattr(filters, name)
        if values is not None and len(values) > MAX_FILTER_VALUES:
            raise FixConfiguration(f"filter {name} has {len(values)} values, more than {MAX_FILTER_VALUES}; narrow it")
        for value in values or ():
            _check_word(name, value)
    _check_principals(filters.principals or ())
    for name in ("uri_prefix", "lang"):
        _check_word(name, getattr(filters, name) or "")
    for name in ("since", "until"):
        moment = getattr(filters, name)
        if moment is not None and moment.tzinfo is None:
            raise FixConfiguration(f"filter {name} {moment.isoformat()} has no time zone; add one, such as Z")
    if filters.since and filters.until and filters.since >= filters.until:
        raise FixConfiguration(
            f"filter since {filters.since.isoformat()} is not before until {filters.until.isoformat()}; swap them"
        )
    _check_json(filters.metadata)


def _check_principals(principals: tuple[str, ...]) -> None:
    if len(principals) > MAX_PRINCIPALS:
        raise FixConfiguration(f"{len(principals)} principals are named, more than {MAX_PRINCIPALS}; name fewer groups")
    for principal in principals:
        _check_word("principals", principal)
        if not principal.strip() or "," in principal:
            raise FixConfiguration(f"principal {principal!r} is empty or has a comma; name one group each")


def _check_word(name: str, value: str) -> None:
    if len(value) > MAX_FILTER_CHARS:
        raise FixConfiguration(f"filter {name} has {len(value):,} characters, more than {MAX_FILTER_CHARS:,}; shorten it")
    if UNSAYABLE.search(value):
        raise FixConfiguration(f"filter {name} {value!r} holds control characters; remove them")


def _check_json(metadata: Mapping[str, Any] | None, depth: int = 3) -> None:
    """Metadata filters are shallow JSON: strings, numbers, booleans, null, lists and objects, three levels deep."""
    for key, value in (metadata or {}).items():
        _check_word("metadata", key)
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, Mapping) and depth > 1:
                _check_json(entry, depth - 1)
            elif isinstance(entry, str):
                _check_word("metadata", entry)
            elif not (entry is None or isinstance(entry, (bool, int, float))):
                raise FixConfiguration(f"filter metadata {key!r} is nested too deep or no JSON value; use plain values")

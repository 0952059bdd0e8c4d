"""The windows that drift is told from, and the reports of earlier ones.

A window is read from the passages' validity, so a day looked at later gives what it gave then. Vectors of replaced passages
are in the embedding cache only, until they expire; their texts are kept. Large windows are sampled by hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from psycopg.types.json import Jsonb

from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.spaces import Space
from pipelines.store.sql import load
from pipelines.store.vectors import decode

DOCUMENTS = 1000  # of a window: as many as are compared
PASSAGES = 64  # of a document: one giant does not fill the memory
SEED = 1


class Row(NamedTuple):
    """One passage of a window."""

    doc_id: bytes
    source: str
    address: str
    title: str
    lang: str
    tokens: int
    valid_from: datetime
    text: str


class Lost(NamedTuple):
    """A passage whose vector has expired, with what the embedder was given."""

    row: Row
    text_sha: bytes
    body: str


@dataclass(frozen=True, slots=True)
class Sample:
    """The passages drawn of a window that have a vector; `vectors` is (len(rows), dim)."""

    rows: Sequence[Row]
    vectors: npt.NDArray[np.float32]
    documents: int  # in the window, drawn or not
    passages: int
    lost: Sequence[Lost] = ()  # drawn too, without a vector


class Past(NamedTuple):
    """The tests of an earlier window."""

    since: datetime
    until: datetime
    state: str
    tests: Mapping[str, Mapping[str, Any]]


def became_current(pool: Pool, space: Space, source: str, since: datetime, until: datetime) -> Sample:
    """What readers got in [since, until) that their documents did not have before; `source` "" means all."""
    return _window(pool, space, source, since, until, new=True)


def served_before(pool: Pool, space: Space, source: str, since: datetime, span: timedelta) -> Sample:
    """What was served at some time of the span that ends at `since`."""
    return _window(pool, space, source, since - span, since, new=False)


def _window(pool: Pool, space: Space, source: str, since: datetime, until: datetime, *, new: bool) -> Sample:
    values = {
        "tenant": space.tenant,
        "collection": space.collection,
        "chunk_set": space.chunk_set,
        "fingerprint": space.embedder_fingerprint,
        "source": source,
        "since": since,
        "until": until,
        "new": new,
        "seed": SEED,
        "documents": DOCUMENTS,
        "passages": PASSAGES,
    }
    with connection(pool) as conn, conn.cursor(binary=True) as cursor:
        found = cursor.execute(space.fill(load("drift")["window"]), values).fetchall()
    kept = [row for row in found if row[10] is not None]
    lost = [Lost(Row._make(row[:8]), row[8], row[9]) for row in found if row[10] is None]
    documents, passages = found[0][11:13] if found else (0, 0)
    return Sample(
        [Row._make(row[:8]) for row in kept], decode([row[10] for row in kept], space.dim), documents, passages, lost
    )


def history(pool: Pool, space: Space, source: str, since: datetime, until: datetime, limit: int) -> list[Past]:
    """Earlier windows as long as this one that were compared in the same space, the newest first."""
    values = {
        "tenant": space.tenant,
        "collection": space.collection,
        "source": source,
        "space": space.id,
        "since": since,
        "until": until,
        "limit": limit,
    }
    with connection(pool) as conn:
        return [Past._make(row) for row in conn.execute(load("drift")["history"], values)]


def write(
    pool: Pool,
    space: Space,
    source: str,
    since: datetime,
    until: datetime,
    *,
    door: str,
    external_id: str,
    state: str,
    sentence: str,
    notes: Sequence[str],
    tests: Mapping[str, Any],
    found: Mapping[str, Any],
    tenant: str = PUBLIC_TENANT,
) -> int:
    """Store what was found of a window, in place of what was found of it before; returns its number."""
    values = {
        "tenant": tenant,
        "collection": space.collection,
        "source": source,
        "since": since,
        "until": until,
        "space": space.id,
        "door": door,
        "external_id": external_id,
        "state": state,
        "sentence": sentence,
        "notes": list(notes),
        "tests": Jsonb(dict(tests)),
        "found": Jsonb(dict(found)),
    }
    with connection(pool) as conn:
        row = conn.execute(load("drift")["write"], values).fetchone()
    assert row is not None
    return int(row[0])


def set_report(pool: Pool, number: int, path: str) -> None:
    """Remember where the page of a report is, once it is written."""
    with connection(pool) as conn:
        conn.execute(load("drift")["report"], {"number": number, "report": path})

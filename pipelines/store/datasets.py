"""Data sets that models were taught with: written once, under the hash of their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipelines.errors import FixConfiguration
from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.spaces import Space
from pipelines.store.sql import load
from pipelines.store.vectors import decode

Matrix = npt.NDArray[np.float32]


class Passage(NamedTuple):
    """A served passage of a document, at [start, end) of its cleaned text; `body` is what the embedder read."""

    document: str
    title: str
    headings: list[str]
    start: int
    end: int
    text: str
    lang: str
    body: str


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """One data set; `files` are `{path, sha256, bytes}` below `artifact` in the object store."""

    id: int
    collection: str
    version: int
    sha: str
    artifact: str
    files: list[dict[str, Any]]
    pairs: int
    lineage: dict[str, Any]
    created_by: str
    created_at: datetime

    @property
    def name(self) -> str:
        """Such as `knowledge@2`."""
        return f"{self.collection}@{self.version}"


def add(
    pool: Pool,
    collection: str,
    *,
    sha: str,
    artifact: str,
    files: Sequence[Mapping[str, Any]],
    pairs: int,
    lineage: Mapping[str, Any],
    by: str = "",
    tenant: str = PUBLIC_TENANT,
) -> DatasetVersion:
    """Number files that are in the object store. The same files are the data set that they were."""
    values = {"tenant": tenant, "collection": collection, "sha": sha, "artifact": artifact, "pairs": pairs, "by": by}
    values |= {"files": Jsonb([dict(file) for file in files]), "lineage": Jsonb(dict(lineage))}
    with connection(pool) as conn:
        conn.execute(load("datasets")["add"], values)
    return next(found for found in versions(pool, collection, tenant=tenant) if found.sha == sha)


def versions(pool: Pool, collection: str | None = None, *, tenant: str = PUBLIC_TENANT) -> list[DatasetVersion]:
    """Of one collection or of all, the newest first."""
    with connection(pool) as conn, conn.cursor(row_factory=class_row(DatasetVersion)) as cursor:
        return cursor.execute(load("datasets")["versions"], {"tenant": tenant, "collection": collection}).fetchall()


def passages(pool: Pool, space: Space, *, documents: int, seed: int) -> tuple[list[Passage], Matrix]:
    """The passages of at most so many served documents, drawn by the seed, and their (n, dim) vectors in `space`."""
    values = {"tenant": space.tenant, "collection": space.collection, "chunk_set": space.chunk_set}
    with connection(pool) as conn, conn.cursor(binary=True) as cursor:
        rows = cursor.execute(
            space.fill(load("datasets")["passages"]), {**values, "documents": documents, "seed": seed}
        ).fetchall()
    return [Passage._make(row[:8]) for row in rows], decode([row[8] for row in rows], space.dim)


def get(pool: Pool, name: str, *, tenant: str = PUBLIC_TENANT) -> DatasetVersion:
    """`knowledge@2`, or the newest of a collection. Raises FixConfiguration naming those there are."""
    collection, _, number = name.partition("@")
    found = [one for one in versions(pool, collection, tenant=tenant) if number in {"", str(one.version)}]
    if not found:
        known = ", ".join(one.name for one in versions(pool, tenant=tenant)[:20]) or "none"
        raise FixConfiguration(f"no data set {name!r}; known: {known}; `millrace train data {collection}` builds one")
    return found[0]

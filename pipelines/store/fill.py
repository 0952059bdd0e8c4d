"""What a space lacks, and filling it from the embedding cache: resumable with no state beyond the tables.

A span is a range of text hashes (or document ids), which are spread evenly, so that equal ranges are equal work. Embedding
is the caller's; vectors come here through the cache, and only texts that passages of the space's chunk set use get one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg

from pipelines.errors import FailRun
from pipelines.store.database import Pool, connection
from pipelines.store.spaces import Space
from pipelines.store.sql import load
from pipelines.store.vectors import decode

FIRST, LAST = b"", b"\xff" * 32  # the span of everything


class Text(NamedTuple):
    """A text to embed; `tokens` by the chunk set's tokenizer."""

    text_sha: bytes
    body: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Missing:
    """What a space lacks: served documents without passages in its chunk set, passages' texts without a vector."""

    documents: int
    document_bytes: int
    texts: int
    tokens: int

    def __bool__(self) -> bool:
        return bool(self.documents or self.texts)


def missing(pool: Pool, space: Space) -> Missing:
    """What the space lacks now."""
    with connection(pool) as conn:
        return missing_in(conn, space)


def missing_in(conn: psycopg.Connection[Any], space: Space) -> Missing:
    """As `missing`, as the connection's transaction sees it."""
    documents = conn.execute(load("fill")["missing_documents"], _names(space)).fetchone()
    texts = conn.execute(space.fill(load("fill")["missing_texts"]), _names(space)).fetchone()
    assert documents is not None
    assert texts is not None
    return Missing(*documents, *texts)


def require_complete(pool: Pool, space: Space) -> None:
    """Raise FailRun, with counts and remedy, while the space lacks anything."""
    with connection(pool) as conn:
        require_complete_in(conn, space)


def require_complete_in(conn: psycopg.Connection[Any], space: Space) -> None:
    """As `require_complete`, as the connection's transaction sees it."""
    lacking = missing_in(conn, space)
    if lacking:
        raise FailRun(
            f"space {space.id} of collection {space.collection!r} is not complete: {lacking.documents} documents have no "
            f"passages in chunk set {space.chunk_set}, {lacking.texts} texts no vector; nothing was switched; "
            f"`millrace reembed {space.collection}` or the next sync of the collection's sources completes it"
        )


def texts(pool: Pool, space: Space) -> int:
    """How many distinct texts the space has to hold."""
    with connection(pool) as conn:
        row = conn.execute(load("fill")["all_texts"], _names(space)).fetchone()
        return int(row[0]) if row else 0


def pages(
    pool: Pool, space: Space, size: int, *, after: bytes = FIRST, last: bytes = LAST, run_id: int | None = None
) -> Iterator[list[Text]]:
    """The texts of a span without a vector, `size` at a time; with `run_id` only those of documents that this run wrote."""
    statement = space.fill(load("fill")["next_texts"])
    while True:
        values = {**_names(space), "after": after, "last": last, "limit": size, "run_id": run_id}
        with connection(pool) as conn, conn.cursor(binary=True, row_factory=lambda _: Text._make) as cursor:
            page = cursor.execute(statement, values).fetchall()
        if not page:
            return
        yield page
        after = page[-1].text_sha


def fill(pool: Pool, space: Space, shas: Sequence[bytes]) -> int:
    """Bring cached vectors of texts into the space; returns how many were new. Raises FailRun when it is retired by now."""
    values = {**_names(space), "shas": list(shas), "space_id": space.id, "fingerprint": space.embedder_fingerprint}
    with connection(pool) as conn:
        conn.execute(load("fill")["share_collection"], values)
        state = conn.execute(load("fill")["state"], values).fetchone()
        if state is None or state[0] == "retired":
            raise FailRun(f"space {space.id} was retired while it was filled; begin anew with `millrace reembed`")
        return conn.execute(space.fill(load("fill")["fill_vectors"]), values).rowcount


def sample(pool: Pool, space: Space, count: int, seed: int) -> npt.NDArray[np.float32]:
    """(at most `count`, dim) float32 of stored vectors of searched texts, drawn by the seed."""
    values = {**_names(space), "count": count, "seed": seed}
    with connection(pool) as conn, conn.cursor(binary=True) as cursor:
        return decode([sent for _, sent in cursor.execute(space.fill(load("fill")["sample"]), values)], space.dim)


def nearest(pool: Pool, space: Space, vectors: npt.NDArray[np.float32], k: int, ef_search: int | None) -> list[list[float]]:
    """Per vector the inner products of its `k` nearest, best first: by the index with `ef_search`, exactly with None."""
    exact = ef_search is None
    statement = space.fill(load("fill")["nearest_exactly" if exact else "nearest"])
    found = []
    with connection(pool) as conn:
        settings = {"ef_search": str(ef_search or 40), "seqscan": "on" if exact else "off", "sort": "on" if exact else "off"}
        conn.execute(load("fill")["probe_settings"], settings)
        for row in vectors:
            literal = "[" + ",".join(f"{value:.8g}" for value in row) + "]"
            values = {**_names(space), "vector": literal, "k": k}
            found.append([-float(distance) for (distance,) in conn.execute(statement, values)])
    return found


def _names(space: Space) -> dict[str, Any]:
    return {"tenant": space.tenant, "collection": space.collection, "chunk_set": space.chunk_set}

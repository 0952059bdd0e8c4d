"""Vectors by text: which are missing, remembering new ones in the embedding cache, keeping those at hand, reading them back.

The cache is written per embedded batch and committed at once, so a killed run repeats one batch. Vectors reach a space's own
table by `publish` only, and from the cache only: `keep` therefore comes before a run relies on vectors it did not compute.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import Cursor, errors

from pipelines.errors import Retry
from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.spaces import Space
from pipelines.store.sql import load

SLICE = 20_000  # hashes per question
BLOCK_ROWS = 512  # about 800 kB of 384 dimensions per COPY message
HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"
NORM_TOLERANCE = 0.01


def missing(pool: Pool, space: Space, shas: Sequence[bytes]) -> set[bytes]:
    """Those of the text hashes whose vector is neither in the space nor in the cache."""
    statement = space.fill(load("vectors")["missing"])
    found: set[bytes] = set()
    with connection(pool) as conn, conn.cursor(binary=True) as cursor:
        for part in _slices(shas):
            values = {"tenant": space.tenant, "fingerprint": space.embedder_fingerprint, "shas": part}
            found.update(sha for (sha,) in cursor.execute(statement, values))
    return found


def keep(pool: Pool, space: Space, shas: Sequence[bytes]) -> set[bytes]:
    """Make sure that stored vectors of the text hashes outlast this run; returns the hashes that have none.

    Afterwards each of the others has a cache row younger than a day, so that neither the collector (which takes a text with
    its vector from the space) nor the expiry leaves `publish` without it. Costs nothing where the rows are young already.
    """
    statement, not_cached = space.fill(load("vectors")["keep"]), load("vectors")["not_cached"]
    absent: set[bytes] = set()
    for part in _slices(shas):
        values = {"tenant": space.tenant, "fingerprint": space.embedder_fingerprint, "shas": part}
        with connection(pool) as conn, conn.cursor(binary=True) as cursor:
            cursor.execute(statement, values)
            absent.update(sha for (sha,) in cursor.execute(not_cached, values))
    return absent


def remember(
    pool: Pool, fingerprint: str, shas: Sequence[bytes], matrix: npt.NDArray[np.float32], *, tenant: str = PUBLIC_TENANT
) -> int:
    """Commit vectors to the cache; returns how many were new.

    `matrix` is (len(shas), dim) float32 with unit rows; anything else is a mistake of the caller (ValueError).
    """
    _check(shas, matrix)
    if not shas:
        return 0
    order = sorted(range(len(shas)), key=shas.__getitem__)  # one order for every writer, so that none waits for another
    shas, matrix = [shas[row] for row in order], matrix[order]
    try:
        with connection(pool) as conn, conn.cursor() as cursor:
            _copy(cursor, load("vectors")["copy"], shas, matrix, (tenant, fingerprint))
            return len(shas)
    except errors.UniqueViolation:  # some are there, or among these twice
        return _remember_new(pool, fingerprint, shas, matrix, tenant)


def _remember_new(pool: Pool, fingerprint: str, shas: Sequence[bytes], matrix: npt.NDArray[np.float32], tenant: str) -> int:
    queries = load("vectors")
    with connection(pool) as conn, conn.cursor() as cursor:
        cursor.execute(queries["stage"])
        _copy(cursor, queries["copy_staged"], shas, matrix)
        cursor.execute(queries["remember"], {"tenant": tenant, "fingerprint": fingerprint})
        return cursor.rowcount


def load_vectors(pool: Pool, space: Space, shas: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """(len(shas), dim) float32 in the order of `shas`, from the space or else the cache.

    Raises Retry naming how many are in neither: they have to be embedded first.
    """
    statement = space.fill(load("vectors")["load"])
    rows: dict[bytes, bytes] = {}
    with connection(pool) as conn, conn.cursor(binary=True) as cursor:
        for part in _slices(shas):
            values = {"tenant": space.tenant, "fingerprint": space.embedder_fingerprint, "shas": part}
            rows.update((sha, sent) for sha, sent in cursor.execute(statement, values) if sent is not None)
    absent = sum(sha not in rows for sha in shas)
    if absent:
        raise Retry(f"{absent} of {len(shas)} vectors of space {space.id} are not stored; embed the shard again")
    return decode([rows[sha] for sha in shas], space.dim)


def decode(sent: Sequence[bytes], dim: int) -> npt.NDArray[np.float32]:
    """(len(sent), dim) float32 of pgvector's binary form: int16 dim, int16 unused, float32 big-endian values."""
    raw = np.frombuffer(b"".join(sent), dtype=[("dim", ">i2"), ("unused", ">i2"), ("v", ">f4", (dim,))])
    return raw["v"].astype(np.float32)


def _slices(shas: Sequence[bytes]) -> Iterator[list[bytes]]:
    distinct = sorted(set(shas))
    for start in range(0, len(distinct), SLICE):
        yield distinct[start : start + SLICE]


def _check(shas: Sequence[bytes], matrix: npt.NDArray[np.float32]) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != len(shas) or matrix.dtype != np.float32:
        raise ValueError(f"expected a float32 matrix of {len(shas)} rows, got {matrix.dtype} {matrix.shape}")
    norms = np.linalg.norm(matrix, axis=1)
    bad = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))  # NaN is bad too
    if bad.size:
        raise ValueError(f"{bad.size} of {len(shas)} vectors are not of length 1, first row {bad[0]}: {norms[bad[0]]}")


def _copy(
    cursor: Cursor[Any],
    statement: str,
    shas: Sequence[bytes],
    matrix: npt.NDArray[np.float32],
    texts: Sequence[str] = (),
) -> None:
    """COPY of (…texts, text_sha, vector), the texts being the same in every row."""
    with cursor.copy(statement) as copy:
        for block in _copy_blocks(shas, matrix, texts):
            copy.write(block)


def _copy_blocks(shas: Sequence[bytes], matrix: npt.NDArray[np.float32], texts: Sequence[str] = ()) -> Iterator[bytes]:
    """Binary COPY of (…text, bytea(32), vector) made in blocks by numpy; a dumper in Python would cost more than that."""
    dim = matrix.shape[1]
    head = struct.pack(">h", 2 + len(texts))
    for text in texts:
        head += struct.pack(">i", len(text.encode())) + text.encode()
    layout = np.dtype(
        [
            ("head", f"V{len(head)}"),
            ("sha_length", ">i4"),
            ("sha", "V32"),
            ("length", ">i4"),
            ("dim", ">i2"),
            ("unused", ">i2"),
            ("v", ">f4", (dim,)),
        ]
    )
    yield HEADER
    for start in range(0, len(shas), BLOCK_ROWS):
        part = shas[start : start + BLOCK_ROWS]
        block = np.zeros(len(part), dtype=layout)
        block["head"] = np.frombuffer(head, dtype=f"V{len(head)}")
        block["sha_length"], block["length"], block["dim"] = 32, 4 + 4 * dim, dim
        block["sha"] = np.frombuffer(b"".join(part), dtype="V32")
        block["v"] = matrix[start : start + BLOCK_ROWS]
        yield block.tobytes()
    yield TRAILER

"""The vectors that an embedder gave the canary texts first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.sql import load
from pipelines.store.vectors import decode


def known(
    pool: Pool, fingerprint: str, shas: Sequence[bytes], dim: int, *, tenant: str = PUBLIC_TENANT
) -> npt.NDArray[np.float32] | None:
    """(len(shas), dim) float32 in the order of `shas`; None unless all are stored."""
    values = {"tenant": tenant, "fingerprint": fingerprint, "shas": list(shas)}
    with connection(pool) as conn, conn.cursor(binary=True) as cursor:
        rows: dict[bytes, bytes] = dict(cursor.execute(load("canary")["load"], values).fetchall())
    return decode([rows[sha] for sha in shas], dim) if all(sha in rows for sha in shas) else None


def remember(
    pool: Pool, fingerprint: str, shas: Sequence[bytes], matrix: npt.NDArray[np.float32], *, tenant: str = PUBLIC_TENANT
) -> None:
    """Store vectors where there are none yet; `matrix` is (len(shas), dim) float32 with unit rows."""
    sent = [f"[{','.join(map(repr, row))}]" for row in matrix.astype(np.float64).tolist()]  # read back bit for bit
    values = {"tenant": tenant, "fingerprint": fingerprint, "shas": list(shas), "vectors": sent}
    with connection(pool) as conn:
        conn.execute(load("canary")["remember"], values)

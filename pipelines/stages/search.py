"""Search one collection: embed the question, run the hybrid query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipelines.search import hybrid

if TYPE_CHECKING:
    from pipelines.context import Context


def run(ctx: Context, query: hybrid.Query) -> list[hybrid.Hit]:
    """The best passages, best first. Raises FixConfiguration for a bad query or an unknown collection."""
    if query.mode == "text":
        return hybrid.search(ctx.pool, query, np.zeros(0, dtype=np.float32))
    vector = ctx.embedder(query.collection).embed([query.text])[0]
    return hybrid.search(ctx.pool, query, vector)

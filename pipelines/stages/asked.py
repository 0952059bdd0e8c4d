"""What users ask, where the collection keeps its questions: keep it, list it, forget it.

Keeping is never the reason for a search to fail.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from pipelines.errors import FixConfiguration, MillraceError
from pipelines.search.query import clean_text
from pipelines.store import questions, spaces

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.search.query import Query
    from pipelines.stages.search import Found

log = logging.getLogger(__name__)


def keep(ctx: Context, query: Query, found: Found) -> None:
    """Keep the question with the space that answered and how near the nearest passage was.

    Not for a question about an earlier moment, nor where `keep_questions_days` is 0. A database that refuses (a role that
    may only read, say) is said in the log once a process.
    """
    settings = ctx.settings.collections.get(query.collection)
    if settings is None or not settings.keep_questions_days or query.as_of is not None:
        return
    near = [hit.similarity for hit in found.hits if hit.similarity is not None]
    try:
        questions.keep(
            ctx.pool,
            query.collection,
            clean_text(query.text),
            found.reading.space.id if found.reading is not None else None,
            max(near) if near and found.reading is not None else None,
            len(found.hits),
            tenant=query.tenant,
        )
    except MillraceError as error:
        _warn_once(str(error))


def listing(
    ctx: Context, collection: str, *, days: int = 28, order: Literal["farthest", "most"] = "farthest", limit: int = 20
) -> list[questions.Listed]:
    """The different questions of so many days: first those that the corpus holds least of, or those asked most often.

    Raises FixConfiguration for a collection that keeps none or serves nothing.
    """
    _must_keep(ctx, collection)
    space = spaces.active(ctx.pool, collection)
    if space is None:
        raise FixConfiguration(f"collection {collection!r} serves nothing, so nothing was asked of it; sync a source of it")
    return questions.listed(ctx.pool, space, datetime.now(UTC) - timedelta(days=days), order, limit)


def forget(ctx: Context, collection: str, question: str) -> int:
    """Remove a question; returns how often it was there. Raises FixConfiguration for one that is not kept."""
    _must_keep(ctx, collection)
    removed = questions.forget(ctx.pool, collection, clean_text(question))
    if not removed:
        raise FixConfiguration(
            f"no such question is kept of collection {collection!r}; give it word for word as `millrace questions` prints it"
        )
    return removed


def _must_keep(ctx: Context, collection: str) -> None:
    settings = ctx.settings.collections.get(collection)
    if settings is None:
        known = ", ".join(sorted(ctx.settings.collections))
        raise FixConfiguration(f"there is no collection {collection!r} (known: {known}); see models.yaml")
    if not settings.keep_questions_days:
        raise FixConfiguration(
            f"collection {collection!r} keeps no questions; say for how many days in models.yaml (keep_questions_days)"
        )


def _warn_once(reason: str) -> None:
    if reason not in _WARNED:
        _WARNED.add(reason)
        log.warning("questions are not kept: %s", reason)


_WARNED: set[str] = set()

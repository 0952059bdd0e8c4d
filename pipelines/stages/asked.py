"""Keep what a user asked, where the collection keeps its questions. Never the reason for a search to fail."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pipelines.errors import MillraceError
from pipelines.search.query import clean_text
from pipelines.store import questions

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


def _warn_once(reason: str) -> None:
    if reason not in _WARNED:
        _WARNED.add(reason)
        log.warning("questions are not kept: %s", reason)


_WARNED: set[str] = set()

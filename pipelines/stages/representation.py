"""How much of the served passages, and of the questions that users ask now, the benchmark still represents.

The vectors are those of the space that serves; the figure itself is `pipelines/evaluate/freshness.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from pipelines.errors import FixConfiguration
from pipelines.evaluate import freshness
from pipelines.evaluate.sets import MAX_QUESTION
from pipelines.search.lengths import fitting
from pipelines.search.query import clean_text
from pipelines.stages import search
from pipelines.store import benchmarks, questions, vectors

if TYPE_CHECKING:
    from pipelines.config import Settings
    from pipelines.context import Context
    from pipelines.evaluate.freshness import Freshness
    from pipelines.stages.scoring import Slice
    from pipelines.store.spaces import Space

SAMPLED = 2_000  # documents that stand for the corpus
RECENT = 28  # days whose questions are the present ones


def measure(ctx: Context, serving: Space, parts: Sequence[Slice]) -> tuple[tuple[Freshness, ...], tuple[str, ...]]:
    """What was measured, and notes of what was not. Raises FixConfiguration for a missing file of questions."""
    found = _of_passages(ctx, serving, parts)
    asked = present_questions(ctx.settings)
    if asked is None:
        asked, why = _recorded_questions(ctx, serving)
        if why:
            return (found,), (f"freshness of questions: not measured, {why}",)
    return (found, _of_questions(ctx, serving, parts, asked)), ()


def present_questions(settings: Settings) -> list[str] | None:
    """The configured file of questions that users ask now; None without one.

    Raises FixConfiguration when it is missing, or a line is longer than search takes.
    """
    if settings.evaluation.present_questions is None:
        return None
    path = settings.root / settings.evaluation.present_questions
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FixConfiguration(
            f"include/config/evaluation.yaml: present_questions: {path} cannot be read ({error}); correct the path"
        ) from None
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_QUESTION:
            raise FixConfiguration(
                f"{path}:{number}: the question has {len(line):,} characters, search takes {MAX_QUESTION:,}; "
                "shorten or remove it"
            )
    return list(dict.fromkeys(text for line in lines if (text := clean_text(line))))


def _recorded_questions(ctx: Context, serving: Space) -> tuple[list[str], str]:
    """The different questions of the last RECENT days, drawn where they are many; or why they cannot be measured yet."""
    settings = ctx.settings.collections.get(serving.collection)
    if settings is None or not settings.keep_questions_days:
        return [], f"collection {serving.collection!r} keeps none (keep_questions_days), and present_questions names no file"
    now = datetime.now(UTC)
    found = questions.asked(ctx.pool, serving, now - timedelta(days=RECENT), now)
    if found.different < freshness.LEAST:
        few = f"{found.different} different questions were asked in {RECENT} days, {freshness.LEAST} are needed"
        return [], few
    return list(found.questions), ""


def _of_passages(ctx: Context, serving: Space, parts: Sequence[Slice]) -> Freshness:
    """The share of served passages that are far from every judged document's."""
    judged = sorted({document for part in parts for question in part.scored for document, _ in question.relevant})
    sample = benchmarks.passages(ctx.pool, serving, documents=SAMPLED, seed=1)
    sampled = {row.document for row in sample}
    rows = [(row.document, row.text_sha) for row in sample]
    rows += [row for row in benchmarks.texts_of(ctx.pool, serving, judged) if row[0] not in sampled]
    stored = vectors.load_vectors(ctx.pool, serving, [sha for _, sha in rows])
    alarm = ctx.settings.evaluation.stale_share
    return freshness.unrepresented(stored, [name for name, _ in rows], judged, sorted(sampled), alarm=alarm)


def _of_questions(ctx: Context, serving: Space, parts: Sequence[Slice], asked: Sequence[str]) -> Freshness:
    """The share of present questions that are far from every question of the benchmark."""
    read = search.reading(ctx, serving)
    known = [clean_text(question.text) for part in parts for question in part.scored]
    present, own = (_embedded(texts, read) for texts in (asked, known))
    return freshness.unrepresented_questions(present, own, alarm=ctx.settings.evaluation.stale_share)


def _embedded(texts: Sequence[str], read: search.Reading) -> freshness.Vectors:
    if not texts:
        return np.zeros((0, read.embedder.dim), dtype=np.float32)
    return read.embedder.embed(fitting(texts, read.tokenizer), query=True)

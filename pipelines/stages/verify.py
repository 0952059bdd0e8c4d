"""Stage verify: whether a space that does not serve yet could. Count, recall of its index, golden questions.

It compares the index's answers with exact ones on vectors drawn from the space, and the golden questions of the collection
with those of the space that serves now, through the whole search path. What was measured is stored with the space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipelines.search import golden, hybrid
from pipelines.stages import search
from pipelines.store import fill, lexicon, space_states, spaces

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.store.spaces import Space

SAMPLED = 100  # vectors asked for their neighbours
NEIGHBOURS = 10
LEAST_RECALL = 0.95
TOLERANCE = 0.02  # of nDCG@10 below the space that serves; on forty questions, less than one question is worth
TIE = 1e-6  # inner products this near are the same place


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured; None where nothing could be: no texts, no golden questions. `failures` say what is not enough."""

    texts: int
    missing_documents: int
    missing_texts: int
    sampled: int
    recall_at_10: float | None
    questions: int
    ndcg_at_10: float | None
    ndcg_at_10_serving: float | None
    failures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the space may serve."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "passed": self.passed}

    def text(self) -> str:
        """One line for a person."""
        recall = "not measured" if self.recall_at_10 is None else f"{self.recall_at_10:.3f} on {self.sampled} texts"
        found = "no golden questions"
        if self.ndcg_at_10 is not None and self.ndcg_at_10_serving is not None:
            both = f"nDCG@10 {self.ndcg_at_10:.3f}, the serving space {self.ndcg_at_10_serving:.3f}"
            found = f"{both} ({self.questions} questions)"
        return f"{self.texts} texts, recall@10 {recall}, {found}"


def run(ctx: Context, space: Space, *, seed: int = 1, by: str = "") -> Report:
    """Measure and store; a building space that passes becomes a shadow. Raises FixConfiguration for a bad golden file."""
    lexicon.fold(ctx.pool)
    lacking = fill.missing(ctx.pool, space)
    texts = fill.texts(ctx.pool, space)
    sampled, recall = recall_at_10(ctx, space, seed)
    questions, own, serving = _golden(ctx, space)
    measured = Report(texts, lacking.documents, lacking.texts, sampled, recall, questions, own, serving)
    report = Report(**{**asdict(measured), "failures": tuple(_failures(measured))})
    space_states.verified(ctx.pool, space, report.as_dict(), passed=report.passed, by=by)
    return report


def recall_at_10(ctx: Context, space: Space, seed: int) -> tuple[int, float | None]:
    """How many vectors were asked, and the share of their true neighbours that the index finds."""
    drawn = fill.sample(ctx.pool, space, SAMPLED, seed)
    if not len(drawn):
        return 0, None
    exact = fill.nearest(ctx.pool, space, drawn, NEIGHBOURS, None)
    by_index = fill.nearest(ctx.pool, space, drawn, NEIGHBOURS, 2 * hybrid.MIN_CANDIDATES)
    shares = [_share(found, true) for found, true in zip(by_index, exact, strict=True)]
    return len(drawn), round(sum(shares) / len(shares), 4)


def _share(found: Sequence[float], true: Sequence[float]) -> float:
    """Neighbours at least as near as the last true one: which of equally near ones are found says nothing."""
    return sum(value >= true[-1] - TIE for value in found) / len(true)


def _golden(ctx: Context, space: Space) -> tuple[int, float | None, float | None]:
    """Number of questions, nDCG@10 of this space and of the one that serves."""
    entry = ctx.settings.collections.get(space.collection)
    serving = spaces.active(ctx.pool, space.collection)
    if entry is None or entry.golden is None or serving is None:
        return 0, None, None
    questions = golden.read(ctx.settings.root / entry.golden)
    own, other = (_ndcg(ctx, one, questions) for one in (space, serving))
    return len(questions), own, other


def _ndcg(ctx: Context, space: Space, questions: Sequence[golden.Golden]) -> float:
    read = search.reading(ctx, space)
    scores = []
    for question in questions:
        query = hybrid.Query(question.question, space.collection, tenant=space.tenant, k=30)
        vector = search.embedded(query, read)
        hits = search.ranked(hybrid.search_beside(ctx.pool, search.wide(query), vector, space), vector, read, query)
        scores.append(golden.ndcg([hit.uri for hit in hits], question.paths))
    return round(sum(scores) / len(scores), 4)


def _failures(report: Report) -> list[str]:
    found = []
    if report.missing_documents or report.missing_texts:
        found.append(f"{report.missing_documents} documents have no passages, {report.missing_texts} texts no vector")
    if report.texts and (report.recall_at_10 is None or report.recall_at_10 < LEAST_RECALL):
        found.append(f"recall@10 is {report.recall_at_10}, at least {LEAST_RECALL} is needed")
    if report.ndcg_at_10 is not None and report.ndcg_at_10_serving is not None:
        least = report.ndcg_at_10_serving - TOLERANCE
        if report.ndcg_at_10 < least:
            found.append(f"nDCG@10 of the golden questions is {report.ndcg_at_10}, at least {least:.4f} is needed")
    return found

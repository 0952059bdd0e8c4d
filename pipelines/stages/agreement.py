"""Do two benchmarks rank ways of searching alike? Nine ways are scored on both, and Kendall's tau compares the rankings.

The ways differ as much as choices that people make: words or vectors alone, both without and with reranking, and the served
vectors cut to a part of their dimensions or rounded. Those are compared exactly, with every served passage.
Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import FailRun, FixConfiguration
from pipelines.evaluate import agreement
from pipelines.search import hybrid
from pipelines.search.query import MAX_K
from pipelines.stages import scoring, search
from pipelines.stages.scoring import Limits, Slice, System
from pipelines.store import benchmarks, spaces, vectors

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.records import Question
    from pipelines.store.benchmarks import Served
    from pipelines.store.spaces import Space

DOCUMENTS = 10_000  # whose vectors fit into memory beside their cut forms
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Compared:
    """Two slice versions with every retriever's mean on both; `tau` is None where nothing can be told."""

    collection: str
    first: str
    second: str
    measure: str
    means: Mapping[str, tuple[float, float]]
    tau: float | None
    alike: bool
    swapped: tuple[tuple[str, str], ...]
    reason: str

    def text(self) -> str:
        """Some lines for a person."""
        said = f"cannot tell: {self.reason}"
        if self.tau is not None:
            verdict = "the same ranking" if self.alike else f"not the same ranking, which takes {agreement.ALIKE:g}"
            said = f"Kendall's tau {self.tau:.2f} over {len(self.means)} retrievers: {verdict}"
        lines = [f"{self.first} and {self.second} of {self.collection}, {self.measure}: {said}"]
        lines += [f"  {one:.3f}  {other:.3f}  {name}" for name, (one, other) in self.means.items()]
        return "\n".join([*lines, *(f"  {self.second} prefers {worse} to {better}" for better, worse in self.swapped)])


def run(ctx: Context, collection: str, first: str, second: str) -> Compared:
    """Score every retriever on the newest versions of two slices, named such as main/frozen.

    Raises FixConfiguration for a slice that is not there, a collection that serves nothing or one of more than DOCUMENTS
    documents, and what search raises.
    """
    serving = spaces.active(ctx.pool, collection)
    if serving is None:
        raise FixConfiguration(f"collection {collection!r} serves nothing to compare by; sync a source of it first")
    served = benchmarks.addresses(ctx.pool, collection)
    if len(served) > DOCUMENTS:
        raise FixConfiguration(
            f"collection {collection!r} serves {len(served):,} documents, more than the {DOCUMENTS:,} that vectors are cut "
            "and rounded for; compare the benchmarks on a smaller collection"
        )
    settings = ctx.settings.evaluation
    limits, name = Limits(settings.questions, settings.lost_share), settings.measures[0]
    parts = [scoring.split(ctx, _slice(ctx, collection, label), set(served), limits) for label in (first, second)]
    labels = (parts[0].benchmark.label, parts[1].benchmark.label)
    unusable = [f"{part.benchmark.label}: {part.reason}" for part in parts if part.reason]
    if unusable:
        return Compared(collection, *labels, name, {}, None, False, (), unusable[0])
    means: dict[str, tuple[float, float]] = {}
    for system in _systems(ctx, serving, _questions(parts)):
        one, other = (scoring.measure(part, system, [name]) for part in parts)
        if one.reason or other.reason:
            reason = f"{system.name}: {one.reason or other.reason}"
            return Compared(collection, *labels, name, means, None, False, (), reason)
        means[system.name] = (one.measures[name]["mean"], other.measures[name]["mean"])
    found = agreement.agreement(*({key: pair[side] for key, pair in means.items()} for side in (0, 1)))
    return Compared(collection, *labels, name, means, found.tau, found.alike, found.swapped, found.reason)


def require(compared: Compared) -> None:
    """Raise FailRun where nothing can be told."""
    if compared.tau is None:
        raise FailRun(f"{compared.first} and {compared.second} of {compared.collection}: cannot tell: {compared.reason}")


def _slice(ctx: Context, collection: str, label: str) -> benchmarks.Benchmark:
    found = {f"{entry.name}/{entry.slice}": entry for entry in benchmarks.current(ctx.pool, collection)}
    if label not in found:
        raise FixConfiguration(f"collection {collection!r} has no slice {label!r} (known: {', '.join(found) or 'none'})")
    return found[label]


def _questions(parts: list[Slice]) -> dict[str, Question]:
    return {question.text: question for part in parts for question in part.scored}


def _systems(ctx: Context, space: Space, questions: Mapping[str, Question]) -> Iterator[System]:
    """One after the other, so that only one form of the vectors is in memory beside the stored ones."""
    yield scoring.served(ctx, space)
    yield scoring.text(ctx, space.collection)
    read = search.reading(ctx, space)
    queries = {text: scoring.query_of(question, space.collection) for text, question in questions.items()}
    asked = {text: search.embedded(query, read) for text, query in queries.items()}
    for mode in ("dense", "hybrid"):
        yield System(f"{mode}, not reranked", space.id, _plain(ctx, space, mode, asked))
    passages = benchmarks.passages(ctx.pool, space, documents=DOCUMENTS, seed=1)
    stored = vectors.load_vectors(ctx.pool, space, [passage.text_sha for passage in passages])
    for name, form in FORMS.items():
        yield System(f"dense, {name}", space.id, _exact(passages, _unit(form(stored)), asked, form))


def _plain(ctx: Context, space: Space, mode: Any, asked: Mapping[str, Matrix]) -> scoring.Ranking:
    def rank(question: Question) -> list[str]:
        query = replace(scoring.query_of(question, space.collection), mode=mode)
        return scoring.documents(hybrid.search(ctx.pool, query, asked[question.text], space), question)

    return rank


def _exact(
    passages: list[Served], stored: Matrix, asked: Mapping[str, Matrix], form: Callable[[Matrix], Matrix]
) -> scoring.Ranking:
    """Every passage by its cosine to the question, both in the same form."""

    def rank(question: Question) -> list[str]:
        cosines = stored @ _unit(form(asked[question.text][None, :]))[0]
        best = [passages[row] for row in np.argsort(-cosines, kind="stable")[: 2 * MAX_K]]
        names = (entry.document for entry in best if not scoring.hides(question, entry.document, entry.start, entry.end))
        return list(dict.fromkeys(names))

    return rank


def _first(part: int) -> Callable[[Matrix], Matrix]:
    return lambda values: values[:, : max(1, values.shape[1] // part)]


def _int8(values: Matrix) -> Matrix:
    """Each row in 255 steps of its greatest value."""
    greatest = np.maximum(np.abs(values).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    rounded: Matrix = np.round(values / greatest * 127).astype(np.float32)
    return rounded


def _signs(values: Matrix) -> Matrix:
    return np.where(values >= 0, np.float32(1), np.float32(-1))


FORMS: dict[str, Callable[[Matrix], Matrix]] = {
    "half of the dimensions": _first(2),
    "a quarter of the dimensions": _first(4),
    "an eighth of the dimensions": _first(8),
    "in int8": _int8,
    "signs only": _signs,
}


def _unit(values: Matrix) -> Matrix:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit: Matrix = values / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit

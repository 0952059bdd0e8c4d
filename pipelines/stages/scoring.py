"""Run a system over the questions of a slice version and score its rankings.

A system is a way of searching: what is served, plain full text beside it, or a space that does not serve yet. What cannot be
scored is counted with its reason: questions whose documents are all gone, that no search takes, or that nothing answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipelines.errors import FailRun, Retry
from pipelines.evaluate import metrics, sets, significance
from pipelines.records import Question, sha256
from pipelines.search import hybrid, query
from pipelines.stages import search
from pipelines.store import benchmarks, evaluations
from pipelines.store.evaluations import Result

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.store.benchmarks import Benchmark
    from pipelines.store.spaces import Space

SERVED, TEXT = "served", "text"
LOW_OVERLAP = 0.5
Ranking = Callable[[Question], list[str]]


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice version split into what can be scored now and what cannot."""

    benchmark: Benchmark
    scored: tuple[Question, ...]  # with judgments of served documents only
    unanswerable: tuple[Question, ...]
    lost: int  # none of their documents is served any more
    unusable: int  # too long or empty for search
    left_out: int = 0  # beyond the configured number
    reason: str = ""  # why nothing can be told; empty where it can

    @property
    def qrels(self) -> dict[str, dict[str, int]]:
        """Judgments by question."""
        return {question.id: dict(question.relevant) for question in self.scored}

    @property
    def clusters(self) -> dict[str, str]:
        """Cluster by question; a question without one is its own."""
        return {question.id: question.cluster or question.id for question in self.scored}


@dataclass(frozen=True, slots=True)
class Limits:
    """How many questions at most, and which share may be lost."""

    questions: int
    lost_share: float


@dataclass(frozen=True, slots=True)
class System:
    """A way of searching, with the space that it reads."""

    name: str
    space: int | None
    ranking: Ranking


def split(ctx: Context, benchmark: Benchmark, served: set[str], limits: Limits) -> Slice:
    """The questions of a slice version as far as the present corpus can answer them."""
    return sort_out(benchmark, benchmarks.questions(ctx.pool, benchmark.id), served, limits)


def sort_out(benchmark: Benchmark, questions: Sequence[Question], served: set[str], limits: Limits) -> Slice:
    """As `split`, from the questions themselves."""
    usable = [entry for entry in questions if len(entry.text) <= sets.MAX_QUESTION and query.clean_text(entry.text)]
    unanswerable = [entry for entry in usable if not any(relevance > 0 for _, relevance in entry.relevant)]
    answerable = [entry for entry in usable if any(relevance > 0 for _, relevance in entry.relevant)]
    alive = [_alive(entry, served) for entry in answerable]
    kept = [entry for entry in alive if any(relevance > 0 for _, relevance in entry.relevant)]
    lost, unusable = len(alive) - len(kept), len(questions) - len(usable)
    drawn = sorted(kept, key=lambda entry: sha256("drawn", entry.id))[: limits.questions]  # the same ones every time
    reason = _reason(len(questions), len(kept), lost, unusable, limits.lost_share)
    return Slice(benchmark, tuple(drawn), tuple(unanswerable), lost, unusable, len(kept) - len(drawn), reason)


def _alive(question: Question, served: set[str]) -> Question:
    return replace(question, relevant=tuple(pair for pair in question.relevant if pair[0] in served))


def _reason(total: int, kept: int, lost: int, unusable: int, allowed: float) -> str:
    if not total:
        return "it has no questions; import or release a version with some"
    if not kept and unusable == total:
        return f"search takes none of its {total} questions: they are empty or longer than {sets.MAX_QUESTION} characters"
    if lost and lost > allowed * (lost + kept):
        return (
            f"{lost} of {lost + kept} questions have lost all their documents, more than {allowed:.0%}; release a new "
            "version from the present corpus"
        )
    if not kept:
        return f"none of its {total} questions has a judged document ({unusable} are empty or too long)"
    if unusable:
        return (
            f"{unusable} of {total} questions are empty or longer than {sets.MAX_QUESTION} characters; release them shorter"
        )
    return ""


def served(ctx: Context, space: Space) -> System:
    """What users get. Ranking raises Retry when another space serves meanwhile."""

    def rank(question: Question) -> list[str]:
        found = search.found(ctx, query_of(question, space.collection))
        if found.reading is None or found.reading.space.id != space.id:
            raise Retry(f"collection {space.collection!r} was switched during its evaluation; evaluate again")
        return documents(found.hits, question)

    return System(SERVED, space.id, rank)


def text(ctx: Context, collection: str) -> System:
    """Full text alone: what the model has to beat."""
    return System(
        TEXT,
        None,
        lambda question: documents(search.run(ctx, replace(query_of(question, collection), mode="text")), question),
    )


def beside(ctx: Context, space: Space) -> System:
    """A space that need not serve, searched in the way of `served`."""
    read = search.reading(ctx, space)

    def rank(question: Question) -> list[str]:
        asked = query_of(question, space.collection)
        vector = search.embedded(asked, read)
        hits = hybrid.search_beside(ctx.pool, search.wide(asked), vector, space)
        return documents(search.ranked(hits, vector, read, asked), question)

    return System(f"space {space.id}", space.id, rank)


def query_of(question: Question, collection: str) -> hybrid.Query:
    """A question as it is asked for scoring: for as many passages as a search gives."""
    return hybrid.Query(text=question.text, collection=collection, k=query.MAX_K)


def documents(hits: Sequence[hybrid.Hit], question: Question) -> list[str]:
    """The documents in the order of their best passages, without the passage that the question was made from."""
    found: list[str] = []
    for hit in hits:
        places = [(hit.uri, hit.member), *((place.uri, place.member) for place in hit.also)]
        found += [name for name in (sets.address(*place) for place in places) if not _hidden(question, name, hit)]
    return list(dict.fromkeys(found))


def hides(question: Question, document: str, start: int, end: int) -> bool:
    """Whether the question was made from this part of the document, so that finding it proves nothing."""
    hidden = question.hidden
    return hidden is not None and document == hidden.document and start < hidden.end and hidden.start < end


def _hidden(question: Question, document: str, hit: hybrid.Hit) -> bool:
    """As `hides`, of a hit's own document; in its other places the same passage may stand anywhere."""
    if document == sets.address(hit.uri, hit.member):
        return hides(question, document, hit.char_start, hit.char_end)
    return question.hidden is not None and document == question.hidden.document


def measure(part: Slice, system: System, names: Sequence[str]) -> Result:
    """Score a system on a slice version; a value that is no finite number is "cannot tell", with its place."""
    base = Result(
        part.benchmark.id,
        part.benchmark.label,
        part.benchmark.slice,
        system.name,
        system.space,
        len(part.scored),
        part.reason,
    )
    if part.reason:
        return replace(base, questions=0)
    run: dict[str, dict[str, float]] = {}
    for question in part.scored:
        try:
            run[question.id] = metrics.ranked(system.ranking(question))
        except FailRun as error:  # such as a reranker's score that is no number
            return replace(base, questions=0, reason=f"question {question.id!r}: {error}")
    try:
        scores = metrics.score(part.qrels, run, names)
    except ValueError as error:
        return replace(base, questions=0, reason=str(error))
    measures = {name: summary(values, part.clusters) for name, values in scores.items()}
    return replace(base, measures=measures, scores=scores, buckets=_buckets(part.scored, scores[names[0]]))


def summary(values: Mapping[str, float], clusters: Mapping[str, str]) -> dict[str, float]:
    """Mean, 95 % interval by clusters, and the smallest change that a comparison on these questions could see."""
    pairs = significance.paired(values, clusters)
    low, high = significance.interval(pairs)
    found = {"mean": pairs.mean, "clusters": float(pairs.clusters)}
    if math.isfinite(low):
        found |= {"low": max(0.0, low), "high": min(1.0, high)}
    return found


def compared(
    result: Result, former: evaluations.Former, scores: evaluations.Scores, clusters: Mapping[str, str], corpus_sha: bytes
) -> Result:
    """The result with its paired difference to an earlier one on the questions that both have, by measure."""
    found: dict[str, dict[str, Any]] = {}
    for name, values in result.scores.items():
        differences = significance.differences(values, scores.get(name, {}))
        if not differences:
            continue
        pairs = significance.paired(differences, clusters)
        low, high = significance.interval(pairs)
        finite = math.isfinite(low)
        found[name] = {
            "with": former.evaluation,
            "same_corpus": bytes(former.corpus_sha) == corpus_sha,
            "questions": pairs.questions,
            "difference": pairs.mean,
            "low": low if finite else None,
            "high": high if finite else None,
            "p": significance.permutation(pairs),
            "detectable": significance.detectable(pairs.error) if finite else None,
        }
    return replace(result, compared=found)


def _buckets(questions: Sequence[Question], values: Mapping[str, float]) -> dict[str, float]:
    """The mean by origin, and of the questions whose passage lacks most of their words."""
    groups: dict[str, list[float]] = {}
    for question in questions:
        groups.setdefault(f"from {question.origin}", []).append(values[question.id])
        if question.overlap is not None and question.overlap < LOW_OVERLAP:
            groups.setdefault("low lexical overlap", []).append(values[question.id])
    return {f"{name} ({len(found)})": math.fsum(found) / len(found) for name, found in sorted(groups.items())}

"""Stage evaluate: how good is what a collection serves, is it worse than before, and does the benchmark still say so?

Every slice version is scored by what is served and by full text alone; the served scores are compared, question by question,
with the last evaluation of the very same version. Spaces that wait to serve are scored on the same corpus at the same moment
and pass the gate or not. Answers are checked, and the benchmark itself: which share of the corpus it no longer represents.

The verdict is `good` only when everything could be told: `worse` after a significant loss beyond the margin, `cannot tell`
when a slice or the freshness cannot be judged, `stale` above the freshness alarm. All of it is stored, with a page that
shows it; the verdict is for `require` to enforce.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pipelines.errors import FailRun, FixConfiguration
from pipelines.evaluate import gate, page, significance
from pipelines.generate.chat import open_chat
from pipelines.records import Question
from pipelines.stages import answering, representation, scoring
from pipelines.stages.scoring import SERVED, Limits, Slice
from pipelines.store import benchmarks, evaluations, space_states, spaces

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.evaluate.freshness import Freshness
    from pipelines.store.evaluations import Result
    from pipelines.store.spaces import Space

Verdict = Literal["good", "worse", "stale", "cannot tell"]
PATH = "evaluate/{}/{}/index.html"  # below data-docs/


@dataclass(frozen=True, slots=True)
class Report:
    """One evaluation; `number` is None when there was nothing to measure at all."""

    collection: str
    number: int | None
    verdict: Verdict
    notes: tuple[str, ...]
    results: tuple[Result, ...] = ()
    freshness: tuple[Freshness, ...] = ()
    answers: answering.Answers | None = None
    gates: Mapping[str, gate.Decision] | None = None
    page: str = ""  # below data-docs/ in the object store
    uri: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, without the values of single questions."""
        return {
            "collection": self.collection,
            "evaluation": self.number,
            "verdict": self.verdict,
            "notes": list(self.notes),
            "results": [
                {
                    "slice": result.label,
                    "system": result.system,
                    "questions": result.questions,
                    "reason": result.reason,
                    "measures": {name: dict(values) for name, values in result.measures.items()},
                    "compared": {name: dict(values) for name, values in result.compared.items()},
                }
                for result in self.results
            ],
            "freshness": [entry.as_dict() for entry in self.freshness],
            "answers": None if self.answers is None else self.answers.as_dict(),
            "gates": {name: decision.as_dict() for name, decision in (self.gates or {}).items()},
            "report": self.page,
            "uri": self.uri,
        }

    def text(self) -> str:
        """Some lines for a person."""
        number = "" if self.number is None else f" {self.number}"
        lines = [f"evaluation{number} of {self.collection}: {self.verdict}", *(f"  {note}" for note in self.notes)]
        for result in self.results:
            means = ", ".join(f"{name} {values['mean']:.3f}" for name, values in result.measures.items())
            lines.append(f"  {result.label}, {result.system}: {means or f'cannot tell, {result.reason}'}")
        lines += [f"  {entry.text()}" for entry in self.freshness]
        lines += [f"  {name}: {decision.verdict}, {decision.reason}" for name, decision in (self.gates or {}).items()]
        return "\n".join([*lines, f"  page: {self.uri}"] if self.uri else lines)


def run(
    ctx: Context,
    collection: str,
    *,
    space: int | None = None,
    door: Literal["cli", "airflow"] = "cli",
    external_id: str = "",
) -> Report:
    """Evaluate, store and write the page. `space` is gated beside those in state shadow.

    Raises FixConfiguration for a collection that serves nothing and for an unknown space, and what search raises.
    """
    serving = spaces.active(ctx.pool, collection)
    if serving is None:
        raise FixConfiguration(f"collection {collection!r} serves nothing to evaluate; sync a source of it first")
    found = benchmarks.current(ctx.pool, collection)
    if not found:
        note = (
            f"there is no benchmark; `millrace benchmark import {collection} FOLDER` or `millrace benchmark build` makes one"
        )
        return Report(collection, None, "cannot tell", (note,))
    settings = ctx.settings.evaluation
    corpus = benchmarks.corpus(ctx.pool, collection)
    served = set(benchmarks.addresses(ctx.pool, collection))
    limits = Limits(settings.questions, settings.lost_share)
    parts = [scoring.split(ctx, benchmark, served, limits) for benchmark in found]
    waiting = _waiting(ctx, serving, space)
    results = _measured(ctx, serving, waiting, parts, corpus.sha)
    gates = _gates(results, parts, waiting, settings.margin, settings.alpha)
    usable = {part.benchmark.id for part in parts if not part.reason}
    broken = any(result.reason for result in results if result.system == SERVED and result.benchmark in usable)
    answers = _answers(ctx, collection, [] if broken else parts)  # a search that breaks gives none to check
    fresh, unmeasured = representation.measure(ctx, serving, parts)
    verdict, notes = judge(results, parts, fresh, margin=settings.margin, alpha=settings.alpha)
    notes += unmeasured
    number = evaluations.add(
        ctx.pool,
        collection,
        space=serving.id,
        door=door,
        external_id=external_id,
        corpus=corpus,
        verdict=verdict,
        notes=notes,
        freshness=[entry.as_dict() for entry in fresh],
        answers=answers.as_dict(),
        gates={name: decision.as_dict() for name, decision in gates.items()},
        results=results,
    )
    report = Report(collection, number, verdict, notes, tuple(results), fresh, answers, gates)
    return _with_page(ctx, report, serving, settings.measures[0])


def require(report: Report) -> None:
    """Raise FailRun unless the verdict is good; the message says why and where the page is."""
    if report.verdict != "good":
        where = f"; page: {report.uri}" if report.uri else ""
        raise FailRun(f"evaluation of {report.collection}: {report.verdict}: {'; '.join(report.notes)}{where}")


def judge(
    results: Sequence[Result], parts: Sequence[Slice], fresh: Sequence[Freshness], *, margin: float, alpha: float
) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict with everything that speaks against "good". What was left out is noted too."""
    mine = [result for result in results if result.system == SERVED]
    worse = [note for result in mine for note in _losses(result, margin, alpha)]
    unknown = [f"{result.label}: {result.reason}" for result in mine if result.reason]
    unknown += [f"freshness of {entry.what}: {entry.reason}" for entry in fresh if entry.share is None]
    stale = [entry.text() for entry in fresh if entry.alarm]
    notes = [f"cannot tell: {note}" for note in unknown]
    for part in parts:
        label = part.benchmark.label
        notes += [f"{label}: {part.lost} questions lost their documents and are not scored"] if part.lost else []
        notes += [f"{label}: {part.left_out} questions are beyond the configured number"] if part.left_out else []
    verdict: Verdict = "worse" if worse else "cannot tell" if unknown else "stale" if stale else "good"
    return verdict, (*worse, *notes, *stale)


def _losses(result: Result, margin: float, alpha: float) -> list[str]:
    """The first measure fell by more than the margin and more than chance explains."""
    name = next(iter(result.compared), "")
    if not name or result.compared[name]["holm"] >= alpha or result.compared[name]["difference"] > -margin:
        return []
    entry = result.compared[name]
    corpus = "on the same corpus" if entry["same_corpus"] else "on another corpus"
    return [
        f"{result.label}: {name} fell by {-entry['difference']:.3f} since evaluation {entry['with']} {corpus} "
        f"(adjusted p {entry['holm']:.4f})"
    ]


def _waiting(ctx: Context, serving: Space, asked: int | None) -> list[Space]:
    """The spaces to gate: those in state shadow and the one asked for."""
    numbers = {entry.id for entry in space_states.overview(ctx.pool, serving.collection) if entry.state == "shadow"}
    found = [spaces.get(ctx.pool, number) for number in sorted(numbers | ({asked} if asked is not None else set()))]
    for entry in found:
        if entry.collection != serving.collection or entry.state in {"active", "retired"}:
            raise FixConfiguration(
                f"space {entry.id} of {entry.collection!r} is {entry.state}; name one of {serving.collection!r} beside "
                "the one that serves"
            )
    return found


def _measured(
    ctx: Context, serving: Space, waiting: Sequence[Space], parts: Sequence[Slice], corpus_sha: bytes
) -> list[Result]:
    systems = [scoring.served(ctx, serving), scoring.text(ctx, serving.collection)]
    systems += [scoring.beside(ctx, space) for space in waiting]
    names = ctx.settings.evaluation.measures
    results = [scoring.measure(part, system, names) for part in parts for system in systems]
    clusters = {part.benchmark.id: part.clusters for part in parts}
    return adjusted([_compared(ctx, result, clusters[result.benchmark], corpus_sha) for result in results])


def _compared(ctx: Context, result: Result, clusters: Mapping[str, str], corpus_sha: bytes) -> Result:
    former = None if result.reason else evaluations.former(ctx.pool, result.benchmark, result.system)
    if former is None:
        return result
    return scoring.compared(result, former, evaluations.scores(ctx.pool, former.id), clusters, corpus_sha)


def adjusted(results: Sequence[Result]) -> list[Result]:
    """The results with Holm's p over every measure and slice of what is served."""
    values = {
        f"{place} {name}": entry["p"]
        for place, result in enumerate(results)
        if result.system == SERVED
        for name, entry in result.compared.items()
    }
    held = significance.holm(values)
    return [
        replace(
            result,
            compared={
                name: {**entry, "holm": held.get(f"{place} {name}", entry["p"])} for name, entry in result.compared.items()
            },
        )
        for place, result in enumerate(results)
    ]


def _gates(
    results: Sequence[Result], parts: Sequence[Slice], waiting: Sequence[Space], margin: float, alpha: float
) -> dict[str, gate.Decision]:
    """For each waiting space whether it may serve, by the first measure on every slice."""
    clusters = {part.benchmark.id: part.clusters for part in parts}
    found = {(result.benchmark, result.system): result for result in results}
    gates = {}
    for space in waiting:
        sides = {}
        for part in parts:
            champion = found[part.benchmark.id, SERVED]
            challenger = found[part.benchmark.id, f"space {space.id}"]
            name = next(iter(champion.scores), "")
            sides[part.benchmark.label] = gate.Side(
                champion.scores.get(name, {}), challenger.scores.get(name, {}), clusters[part.benchmark.id]
            )
        gates[f"space {space.id}"] = gate.decide(sides, margin=margin, alpha=alpha)
    return gates


def _answers(ctx: Context, collection: str, parts: Sequence[Slice]) -> answering.Answers:
    """Half of the budget at most goes to questions without an answer; every slice has its turn."""
    budget = ctx.settings.evaluation.answers
    silent = _in_turns([part.unanswerable for part in parts])[: budget // 2]
    asked = _in_turns([part.scored for part in parts])[: budget - len(silent)]
    server = ctx.settings.evaluation.judge
    judge = open_chat(server, ctx.connections) if server is not None else None
    return answering.run(ctx, collection, [*silent, *asked], judge, server.model if server is not None else "")


def _in_turns(groups: Sequence[Sequence[Question]]) -> list[Question]:
    longest = max((len(group) for group in groups), default=0)
    return [group[place] for place in range(longest) for group in groups if place < len(group)]


def _with_page(ctx: Context, report: Report, serving: Space, headline: str) -> Report:
    assert report.number is not None
    points = evaluations.history(ctx.pool, report.collection, SERVED, headline)
    content = page.render(
        page.Content(
            collection=report.collection,
            number=report.number,
            verdict=report.verdict,
            notes=report.notes,
            model=f"space {serving.id}, {serving.model}",
            headline=headline,
            margin=ctx.settings.evaluation.margin,
            results=report.results,
            history=points,
            freshness=report.freshness,
            answers=report.answers.as_dict() if report.answers else {},
            gates=report.gates or {},
        )
    )
    path = PATH.format(report.collection, report.number)
    uri = ctx.objects.put(f"data-docs/{path}", content.encode())
    evaluations.set_report(ctx.pool, report.number, path)
    return replace(report, page=path, uri=uri)

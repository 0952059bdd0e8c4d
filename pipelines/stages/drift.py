"""Stage drift: does what readers got, and asked, in a window differ from before, by more than chance and than usual?

A window is a number of days that ends at midnight UTC; its passages are those that became current in it. They are compared
with what was served in the days before, document by document (`drift_tests.py`); so are the questions that were asked in
it, where they are kept (`drift_questions.py`). What effect is usual is told by the earlier
windows that are stored, so history is looked at in its order, oldest first. The report of a window replaces that of an
earlier look at it.

`nothing new` and `cannot tell` are verdicts of their own, never `no drift`; `require` enforces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.drift import effect, page
from pipelines.drift.verdict import State, Verdict, verdict
from pipelines.errors import FailRun, FixConfiguration
from pipelines.stages import canary, drift_questions, drift_tests, drift_windows
from pipelines.store import drift as store
from pipelines.store import spaces

if TYPE_CHECKING:
    from pipelines.config import Drift as DriftSettings
    from pipelines.context import Context
    from pipelines.drift.engine import Outcome
    from pipelines.store.spaces import Space

PATH = "drift/{}/{}/index.html"  # below data-docs/
PIPELINE = "pipeline"
CORPUS = "corpus"
QUESTIONS = "questions"
LONGEST_DAYS = 3660  # of history in one call


@dataclass(frozen=True, slots=True)
class Report:
    """What was found of one window."""

    collection: str
    source: str
    since: datetime
    until: datetime
    state: State
    sentence: str
    notes: tuple[str, ...] = ()
    tests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)
    page: str = ""  # below data-docs/ in the object store
    uri: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which drifts were found: `corpus`, `pipeline`, `questions`."""
        return tuple(sorted({_kind(name) for name, test in self.tests.items() if test["alarm"]}))

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "collection": self.collection,
            "source": self.source,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "state": str(self.state),
            "sentence": self.sentence,
            "kinds": list(self.kinds),
            "notes": list(self.notes),
            "tests": {name: dict(test) for name, test in self.tests.items()},
            "found": dict(self.found),
            "page": self.uri,
        }

    def text(self) -> str:
        """One line with the verdict, then the notes and where the page is."""
        last = (self.until - timedelta(days=1)).date()
        days = f"{last}" if self.until - self.since == timedelta(days=1) else f"{self.since.date()} to {last}"
        scope = f"{self.collection}, source {self.source}" if self.source else self.collection
        lines = [f"{scope}, {days}: {self.sentence}", *(f"  {note}" for note in self.notes)]
        return "\n".join([*lines, f"  page: {self.uri}"] if self.uri else lines)


def days(first: date | None, last: date | None) -> list[date]:
    """The days from `first` to `last`, both included; yesterday, the last whole day, where neither is given.

    Raises FixConfiguration for days that have not ended, an empty span and one beyond LONGEST_DAYS.
    """
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    last = last or (yesterday if first is None or first <= yesterday else first)
    first = first or last
    if last > yesterday:
        raise FixConfiguration(f"{last} has not ended in UTC; the last day that can be looked at is {yesterday}")
    if first > last:
        raise FixConfiguration(f"the first day {first} is after the last day {last}; turn them round")
    if (last - first).days >= LONGEST_DAYS:
        raise FixConfiguration(f"{(last - first).days + 1} days at once, at most {LONGEST_DAYS}; give a later first day")
    return [first + timedelta(days=place) for place in range((last - first).days + 1)]


def history(ctx: Context, collection: str, first: date | None, last: date | None, *, source: str = "") -> Iterator[Report]:
    """The reports of the windows that end with each of the days, oldest first, as `run` makes them."""
    wanted = days(first, last)
    for day in wanted:
        yield run(ctx, collection, day, source=source)


def run(
    ctx: Context,
    collection: str,
    day: date,
    *,
    source: str = "",
    embedder: bool = False,
    door: str = "cli",
    external_id: str = "",
) -> Report:
    """Look at the window that ends with `day`, store what was found and write its page.

    With `embedder` also asks whether it still gives the canary texts their first vectors, which loads the model. Raises
    FixConfiguration for a collection that serves nothing and for an unknown source, and what `drift_windows.read` raises.
    """
    space = _serving(ctx, collection, source)
    settings = ctx.settings.drift
    until = datetime.combine(day + timedelta(days=1), time(), UTC)
    since = until - timedelta(days=settings.window_days)
    before, now = drift_windows.read(ctx, space, source, since, until)
    asking = drift_questions.read(ctx, space, since, until) if not source else None
    beside = len(drift_questions.TESTS) if asking is not None and asking.enough else 0
    tested = drift_tests.run(before, now, settings.unit, settings.run_length_days, ctx.tokenizer(collection), beside=beside)
    told = drift_questions.Told()
    if asking is not None:
        passages = np.concatenate([before.vectors, now.vectors])
        told = drift_questions.run(ctx, space, asking, passages, tested.permutations)
    outcomes = {**tested.outcomes, **told.outcomes}
    past = store.history(ctx.pool, space, source, since, until, settings.history)
    floors = {name: effect.floor(_effects(past, name)) for name in outcomes}
    judged = verdict(outcomes, floors, settings.run_length_days, tested.permutations)
    found, notes = _found(before, now, tested, judged, settings)
    if told.found:
        found["questions"] = dict(told.found)
    notes += [*told.notes, *_floorless(outcomes, floors, past)]
    report = Report(
        collection, source, since, until, judged.state, judged.sentence, tuple(notes),
        _tests(outcomes, judged, floors), found,
    )  # fmt: skip
    if embedder:
        report = _with_embedder(ctx, report)
    return _kept(ctx, space, report, past, door, external_id)


def require(report: Report) -> None:
    """Raise FailRun for drift and where nothing can be told; the message says why and where the page is."""
    if report.state in {State.DRIFT, State.CANNOT_TELL}:
        raise FailRun(" ".join(report.text().split()))


def require_all(reports: Sequence[Report]) -> None:
    """As `require` for the days of a history: any drift counts, and the last day must be told."""
    drifted = [report for report in reports if report.state is State.DRIFT]
    if len(reports) > 1 and drifted:
        found = ", ".join(f"{(report.until - timedelta(days=1)).date()}" for report in drifted)
        raise FailRun(f"drift in {reports[0].collection} on {len(drifted)} of {len(reports)} days: {found}")
    require(reports[-1])


def _found(
    before: store.Sample, now: store.Sample, tested: drift_tests.Tested, judged: Verdict, settings: DriftSettings
) -> tuple[dict[str, Any], list[str]]:
    """What is told of the passages, and notes: what was left out and, where they alarm, what confirms it."""
    found: dict[str, Any] = {"documents": [before.documents, now.documents], "passages": [before.passages, now.passages]}
    notes = list(tested.notes)
    alarms = [name for name in judged.alarms if name in tested.outcomes]
    if not alarms:
        return found, notes
    leading = drift_tests.PASSAGES if drift_tests.PASSAGES in alarms else alarms[0]
    found |= drift_tests.explained(before, now, settings.unit, tested.outcomes[leading]) | {"test": leading}
    if len({row.source for row in now.rows}) > 1 and found["sources"]:
        level = effect.alpha(settings.run_length_days, 1)
        top = found["sources"][0][0]
        notes.insert(0, drift_tests.confirmed(before, now, settings.unit, top, level, tested.permutations))
    return found, notes


def _kind(test: str) -> str:
    return PIPELINE if test == PIPELINE else QUESTIONS if test in drift_questions.TESTS else CORPUS


def _serving(ctx: Context, collection: str, source: str) -> Space:
    if source and ctx.settings.source(source).collection != collection:
        fits = ctx.settings.source(source).collection
        raise FixConfiguration(f"source {source} belongs to collection {fits!r}, not {collection!r}; name that")
    space = spaces.active(ctx.pool, collection)
    if space is None:
        raise FixConfiguration(f"collection {collection!r} serves nothing to look at; sync a source of it first")
    return space


def _effects(past: list[store.Past], name: str) -> list[float]:
    found = [entry.tests[name]["effect"] for entry in past if name in entry.tests]
    return [value for value in found if value is not None]


def _floorless(outcomes: Mapping[str, Outcome], floors: Mapping[str, float | None], past: list[store.Past]) -> list[str]:
    """A line on the tests whose p alone decides."""
    names = [name for name, outcome in outcomes.items() if outcome.p is not None and floors[name] is None]
    if not names:
        return []
    known = f"{min(len(_effects(past, name)) for name in names)} of {effect.LEAST_HISTORY} earlier windows"
    return [f"which effect is usual is not known yet ({known}), p alone decides: {', '.join(names)}"]


def _tests(
    outcomes: Mapping[str, Outcome], judged: Verdict, floors: Mapping[str, float | None]
) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "p": outcome.p,
            "adjusted": judged.adjusted.get(name),
            "effect": outcome.effect,
            "floor": floors[name],
            "alarm": name in judged.alarms,
            "units": list(outcome.units),
            "reason": outcome.reason,
            "statistics": {entry.name: entry.p for entry in outcome.statistics},
        }
        for name, outcome in outcomes.items()
    }


def _with_embedder(ctx: Context, report: Report) -> Report:
    """The report with the canary's verdict: a changed embedder is drift, whatever the passages say."""
    try:
        canary.check(ctx.pool, ctx.embedder(report.collection))
    except FailRun as error:
        entry: dict[str, Any] = {
            "p": None,
            "adjusted": None,
            "effect": None,
            "floor": None,
            "alarm": True,
            "units": [],
            "reason": str(error),
        }
        return replace(
            report,
            state=State.DRIFT,
            sentence=f"The embedder has changed. {report.sentence}",
            notes=(str(error), *report.notes),
            tests={**report.tests, PIPELINE: entry},
        )
    return report


def _kept(ctx: Context, space: Space, report: Report, past: list[store.Past], door: str, external_id: str) -> Report:
    number = store.write(
        ctx.pool,
        space,
        report.source,
        report.since,
        report.until,
        door=door,
        external_id=external_id,
        state=str(report.state),
        sentence=report.sentence,
        notes=report.notes,
        tests=report.tests,
        found=report.found,
    )
    points = [page.Point(entry.until, entry.tests) for entry in reversed(past)]
    points.append(page.Point(report.until, report.tests))
    content = page.render(
        page.Content(
            collection=report.collection,
            source=report.source,
            since=report.since,
            until=report.until,
            state=str(report.state),
            sentence=report.sentence,
            notes=report.notes,
            tests=report.tests,
            found=report.found,
            history=points,
            level=effect.alpha(ctx.settings.drift.run_length_days, 1),
            model=f"space {space.id}, {space.model}",
        )
    )
    path = PATH.format(report.collection, number)
    uri = ctx.objects.put(f"data-docs/{path}", content.encode())
    store.set_report(ctx.pool, number, path)
    return replace(report, page=path, uri=uri)

"""The page of one evaluation: what a person sees in a minute. One HTML file with drawings in it, nothing to load, no script.

Whatever comes from the corpus or from a model is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any, Protocol

from pipelines.evaluate import plots
from pipelines.evaluate.freshness import Freshness
from pipelines.evaluate.gate import Decision

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1c2430}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse}
td,th{padding:.25rem .7rem;text-align:left;border-bottom:1px solid #d9dee6}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.good{color:#17693a}.worse{color:#b3261e}.stale,.cannot{color:#8a5a00}p.verdict{font-size:1.25rem;font-weight:600}
svg{max-width:100%;height:auto}small{color:#5a6472}
"""


class Scored(Protocol):
    """What the page shows of one system on one slice version."""

    @property
    def label(self) -> str: ...
    @property
    def system(self) -> str: ...
    @property
    def questions(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def measures(self) -> Mapping[str, Mapping[str, float]]: ...
    @property
    def compared(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def buckets(self) -> Mapping[str, float]: ...


class Past(Protocol):
    """One earlier mean of a slice version."""

    @property
    def name(self) -> str: ...
    @property
    def slice(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def evaluation(self) -> int: ...
    @property
    def at(self) -> datetime: ...
    @property
    def mean(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Content:
    """Everything on the page."""

    collection: str
    number: int
    verdict: str
    notes: Sequence[str]
    model: str
    headline: str
    margin: float
    results: Sequence[Scored]
    history: Sequence[Past]
    freshness: Sequence[Freshness]
    answers: Mapping[str, Any]
    gates: Mapping[str, Decision]


def render(content: Content) -> str:
    """The whole page."""
    title = f"Evaluation {content.number} of {escape(content.collection)}"
    notes = "".join(f"<li>{escape(note)}</li>" for note in content.notes)
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="verdict {content.verdict.split()[0]}">{escape(content.verdict)}</p>',
        f"<ul>{notes}</ul>" if notes else "",
        f"<p><small>{escape(content.model)}; {escape(content.headline)} decides, a loss of more than {content.margin:g} "
        "is not accepted</small></p>",
        *_scores(content),
        *_changes(content),
        *_gates(content),
        *_past(content),
        *_freshness(content),
        *_answers(content),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>\n'
        + "\n".join(part for part in parts if part)
        + "</html>\n"
    )


def _scores(content: Content) -> list[str]:
    names = list(dict.fromkeys(name for result in content.results for name in result.measures))
    bars, rows = [], [headings("slice", "system", "questions", *names)]
    for result in content.results:
        entry = result.measures.get(content.headline)
        if entry:
            bars.append(plots.Span(f"{result.label}, {result.system}", entry["mean"], entry.get("low"), entry.get("high")))
        means = [result.measures.get(name, {}).get("mean") for name in names]
        told = [f"cannot tell: {result.reason}"] if result.reason else means
        rows.append(cells(result.label, result.system, result.questions, *told))
    kinds = [
        cells(result.label, name, value)
        for result in content.results
        if result.system == "served"
        for name, value in result.buckets.items()
    ]
    buckets = f"<h2>By kind of question, {escape(content.headline)}</h2>{table(kinds)}" if kinds else ""
    return [f"<h2>{escape(content.headline)} with 95 % intervals</h2>", plots.spans(bars, 0.0, 1.0), table(rows), buckets]


def _changes(content: Content) -> list[str]:
    spans, rows = [], []
    for result in content.results:
        entry = result.compared.get(content.headline)
        if not entry:
            continue
        label = f"{result.label}, {result.system}"
        spans.append(plots.Span(label, entry["difference"], entry["low"], entry["high"]))
        figures = (entry["difference"], entry["p"], entry["holm"], entry["detectable"], entry["questions"])
        rows.append(cells(label, *figures, entry["with"], "the same" if entry["same_corpus"] else "another"))
    if not rows:
        return ["<h2>Change</h2><p>No earlier evaluation of these versions to compare with.</p>"]
    head = headings("slice", "difference", "p", "adjusted p", "seen with 80 % power", "questions", "evaluation", "corpus")
    drawing = plots.spans(spans, *plots.around_zero(spans, content.margin), lines=(0.0, -content.margin))
    return [f"<h2>Change of {escape(content.headline)}</h2>", drawing, table([head, *rows])]


def _gates(content: Content) -> list[str]:
    found = []
    head = headings("slice", "verdict", "difference", "lower bound", "certifiable margin", "questions", "needed")
    for name, decision in content.gates.items():
        rows = [
            cells(
                entry.slice, entry.verdict, entry.difference, entry.bound, entry.certifiable, entry.questions, entry.needed
            )
            for entry in decision.slices
        ]
        found.append(f"<h2>May {escape(name)} serve?</h2><p>{decision.verdict}: {escape(decision.reason)}</p>")
        found.append(table([head, *rows]))
    return found


def _past(content: Content) -> list[str]:
    lines: dict[str, list[tuple[int, float]]] = {}
    for point in content.history:
        lines.setdefault(f"{point.name}/{point.slice} v{point.version}", []).append((point.evaluation, point.mean))
    return [f"<h2>{escape(content.headline)} of what was served, by evaluation</h2>", plots.lines(lines)]


def _freshness(content: Content) -> list[str]:
    rows = "".join(f"<li>{escape(entry.text())}</li>" for entry in content.freshness)
    bars = [plots.Span(entry.what, entry.share, None, None) for entry in content.freshness if entry.share is not None]
    return ["<h2>What the benchmark no longer represents</h2>", plots.spans(bars, 0.0, 1.0), f"<ul>{rows}</ul>"]


def _answers(content: Content) -> list[str]:
    rows = [
        cells(name.replace("_", " "), "not measured" if value is None else value)
        for name, value in content.answers.items()
        if name != "examples"
    ]
    examples = "".join(f"<li>{escape(text)}</li>" for text in content.answers.get("examples", ()))
    return ["<h2>Answers</h2>", table(rows), f"<p>Not supported:</p><ul>{examples}</ul>" if examples else ""]


def table(rows: Sequence[str]) -> str:
    """Rows as `headings` and `cells` make them."""
    return f"<table>{''.join(rows)}</table>"


def headings(*names: str) -> str:
    """The first row of a table."""
    return "<tr>" + "".join(f"<th>{escape(name)}</th>" for name in names) + "</tr>"


def cells(*values: object) -> str:
    """A row of a table; numbers to the right, None as an empty cell."""
    return "<tr>" + "".join(map(_cell, values)) + "</tr>"


def _cell(value: object) -> str:
    if isinstance(value, str):
        return f"<td>{escape(value)}</td>"
    return f'<td class="n">{"" if value is None else f"{value:.3f}" if isinstance(value, float) else value}</td>'

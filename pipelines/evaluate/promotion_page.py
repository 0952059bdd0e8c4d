"""The page of one proposal: may this challenger serve, and why not. One HTML file with drawings in it, no script.

Whatever comes from a model or a benchmark is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from pipelines.evaluate import plots
from pipelines.evaluate.page import STYLE, cells, headings, table
from pipelines.evaluate.promotion import Check, Judgement

COLOURS = {"promote": "good", "refuse": "worse", "cannot tell": "cannot"}


class Tries(NamedTuple):
    """How often a slice version has judged: challengers, those of them that it did not let pass, evaluations."""

    slice: str
    challengers: int
    failed: int
    evaluations: int


@dataclass(frozen=True, slots=True)
class Content:
    """Everything on the page."""

    collection: str
    number: int
    challenger: str
    champion: str
    evaluation: int | None
    judgement: Judgement
    tries: Sequence[Tries]


def render(content: Content) -> str:
    """The whole page."""
    title = f"Proposal {content.number}: {escape(content.challenger)} for {escape(content.collection)}"
    judgement = content.judgement
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in judgement.reasons)
    judged = "not evaluated" if content.evaluation is None else f"evaluation {content.evaluation}"
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="verdict {COLOURS[judgement.verdict]}">{judgement.verdict}</p>',
        f"<ul>{reasons}</ul>" if reasons else "",
        f"<p><small>instead of {escape(content.champion)}; {judged}</small></p>",
        _slices(judgement.checks),
        _ratios(judgement.checks),
        _checks(judgement.checks),
        _tries(content.tries),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>\n'
        + "\n".join(part for part in parts if part)
        + "</html>\n"
    )


def _slices(checks: Sequence[Check]) -> str:
    found = [check for check in checks if check.bound is not None and check.value is not None]
    spans = [plots.Span(check.name, check.value or 0.0, check.bound, check.value) for check in found]
    margin = -min((check.limit or 0.0 for check in found), default=0.0)
    drawing = (
        plots.spans(spans, *plots.around_zero(spans, margin), lines=(0.0, -margin)) if spans else "<p>Not measured.</p>"
    )
    return (
        "<h2>Difference to the champion by slice</h2><p><small>Each line reaches down to the lower bound. Dashed: "
        f"zero, and the loss that is not accepted.</small></p>{drawing}"
    )


def _ratios(checks: Sequence[Check]) -> str:
    spans = [
        plots.Span(check.name, check.value / check.limit, None, None)
        for check in checks
        if check.bound is None and check.value is not None and check.limit is not None and check.limit > 0
    ]
    most = 1.15 * max([1.0, *(span.value for span in spans)])
    drawing = plots.spans(spans, 0.0, most, lines=(1.0,)) or "<p>No limit is set, or nothing was measured.</p>"
    legend = "The ratio to the champion as a share of the accepted one; dashed: all of it."
    return f"<h2>Limits</h2><p><small>{legend}</small></p>{drawing}"


def _checks(checks: Sequence[Check]) -> str:
    rows = [cells(check.name, check.verdict, check.reason, check.value, check.bound, check.limit) for check in checks]
    return f"<h2>Checks</h2>{table([headings('check', 'verdict', 'why', 'value', 'lower bound', 'limit'), *rows])}"


def _tries(tries: Sequence[Tries]) -> str:
    if not tries:
        return ""
    rows = [cells(*entry) for entry in tries]
    return (
        "<h2>How often each slice has judged</h2><p><small>Challengers that are tried again and again until one passes "
        "fit the slice by chance. A slice that has refused many says less each time: release a new one.</small></p>"
        + table([headings("slice", "challengers", "not passed", "evaluations"), *rows])
    )

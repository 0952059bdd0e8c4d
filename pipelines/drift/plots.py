"""Drawings of a drift report as SVG text. Labels are escaped; widths are of the view box, so they shrink with the page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 26
ROW = 56
BLUE, RED, GREY = "#1f5fa8", "#b3261e", "#8a94a3"


class Mark(NamedTuple):
    """One window on the timeline; an alarm is red, an unknown effect has no point."""

    at: datetime
    effect: float | None
    floor: float | None
    alarm: bool


def timeline(marks: Sequence[Mark]) -> str:
    """Effects over time with the floor of each window dashed; "" without any effect."""
    told = [mark for mark in marks if mark.effect is not None]
    if not told:
        return ""
    values = [value for mark in told for value in (mark.effect, mark.floor) if value is not None]
    least, most = min(0.0, *values), max(1.0, *values) * 1.1
    first, last = marks[0].at.timestamp(), marks[-1].at.timestamp()

    def x(mark: Mark) -> float:
        share = (mark.at.timestamp() - first) / (last - first) if last > first else 1.0
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(TOP + (most - value) / (most - least) * (HEIGHT - TOP - BOTTOM), 1)

    parts = [_level(value, y(value)) for value in (0.0, most / 2, most / 1.1)]
    floors = [mark for mark in told if mark.floor is not None]
    parts.append(_path([(x(mark), y(mark.floor or 0.0)) for mark in floors], GREY, ' stroke-dasharray="5 4"'))
    parts.append(_path([(x(mark), y(mark.effect or 0.0)) for mark in told], BLUE, ""))
    for mark in told:
        colour, size = (RED, 5) if mark.alarm else (BLUE, 3)
        parts.append(f'<circle cx="{x(mark)}" cy="{y(mark.effect or 0.0)}" r="{size}" fill="{colour}"/>')
    ends = [(LEFT, "start", marks[0])] if last > first else []
    for at, anchor, mark in [*ends, (WIDTH - RIGHT, "end", marks[-1])]:
        parts.append(_text(at, HEIGHT - 6, mark.at.date().isoformat(), anchor))
    return _drawing(HEIGHT, "effect of each window over time", parts)


def bars(entries: Sequence[tuple[str, float]]) -> str:
    """One bar below each label with its share of 1; a negative share has no bar, only its figure. "" without entries."""
    parts = []
    for place, (label, share) in enumerate(entries):
        y = ROW * place + 24
        shown = label if len(label) <= 50 else label[:49] + "…"
        width = round(max(0.0, min(1.0, share)) * (WIDTH - 80), 1)
        parts.append(_text(0, y, shown, "start"))
        parts.append(f'<rect x="0" y="{y + 8}" width="{width}" height="16" fill="{BLUE}"/>')
        parts.append(_text(width + 6, y + 22, f"{share:.0%}", "start"))
    return _drawing(ROW * len(entries) + 4, "shares of the difference", parts) if parts else ""


def _level(value: float, y: float) -> str:
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#e3e7ed"/>'
    return line + _text(LEFT - 6, y + 5, f"{value:.1f}", "end")


def _path(points: Sequence[tuple[float, float]], colour: str, more: str) -> str:
    joined = " ".join(f"{x},{y}" for x, y in points)
    return f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"{more}/>' if points else ""


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _drawing(height: int, label: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'

"""Drawings as SVG text: values with their intervals on one axis, and lines over evaluations. Labels are escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, ROW = 860, 300, 24
COLOURS = ("#1f5fa8", "#b3261e", "#17693a", "#8a5a00", "#6a3fa0", "#0f7b83")


@dataclass(frozen=True, slots=True)
class Span:
    """A value and, where known, its interval."""

    label: str
    value: float
    low: float | None
    high: float | None


def spans(entries: Sequence[Span], least: float, most: float, *, lines: Sequence[float] = ()) -> str:
    """One row an entry; `lines` are values drawn through all of them. "" without entries."""
    if not entries:
        return ""
    height = ROW * len(entries) + 30
    parts = [_axis(least, most, height)]
    parts += [f'<line x1="{_x(v, least, most)}" x2="{_x(v, least, most)}" y1="4" y2="{height - 22}" stroke="#888" '
              f'stroke-dasharray="4 3"/>' for v in lines]  # fmt: skip
    for place, entry in enumerate(entries):
        y = ROW * place + 16
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end" font-size="12">{escape(entry.label)}</text>')
        if entry.low is not None and entry.high is not None:
            low, high = _x(entry.low, least, most), _x(entry.high, least, most)
            parts.append(f'<line x1="{low}" x2="{high}" y1="{y}" y2="{y}" stroke="{COLOURS[0]}" stroke-width="2"/>')
        parts.append(f'<circle cx="{_x(entry.value, least, most)}" cy="{y}" r="4" fill="{COLOURS[0]}"/>')
        parts.append(f'<text x="{WIDTH - 4}" y="{y + 4}" text-anchor="end" font-size="12">{entry.value:.3f}</text>')
    return _drawing(height, parts)


def around_zero(entries: Sequence[Span], margin: float) -> tuple[float, float]:
    """An axis with zero in the middle that holds every interval."""
    values = [abs(v) for entry in entries for v in (entry.value, entry.low, entry.high) if v is not None]
    reach = 1.15 * max([margin, *values])
    return -reach, reach


def lines(series: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Values from 0 to 1 over evaluation numbers, one line a series. "" without points."""
    places = sorted({number for points in series.values() for number, _ in points})
    if not places:
        return ""
    height = 240
    step = (WIDTH - LEFT - 60) / max(1, len(places) - 1)
    at = {number: LEFT + place * step for place, number in enumerate(places)}
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(share, height)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 50}" y1="{y}" y2="{y}" stroke="#e3e7ed"/>')
        parts.append(f'<text x="{WIDTH - 44}" y="{y + 4}" font-size="11">{share:.2f}</text>')
    for place, (name, points) in enumerate(series.items()):
        colour = COLOURS[place % len(COLOURS)]
        path = " ".join(f"{at[number]:.1f},{_y(value, height)}" for number, value in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{at[n]:.1f}" cy="{_y(v, height)}" r="3" fill="{colour}"/>' for n, v in points]
        parts.append(f'<text x="4" y="{24 + 18 * place}" font-size="12" fill="{colour}">{escape(name)}</text>')
    shown = {places[0], places[-1]}
    parts += [
        f'<text x="{at[n]:.1f}" y="{height - 4}" text-anchor="middle" font-size="11">{n}</text>' for n in sorted(shown)
    ]
    return _drawing(height, parts)


def _axis(least: float, most: float, height: int) -> str:
    ticks = [least + (most - least) * share for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return "".join(
        f'<line x1="{_x(tick, least, most)}" x2="{_x(tick, least, most)}" y1="4" y2="{height - 22}" stroke="#e3e7ed"/>'
        f'<text x="{_x(tick, least, most)}" y="{height - 6}" text-anchor="middle" font-size="11">{tick:.2f}</text>'
        for tick in ticks
    )


def _x(value: float, least: float, most: float) -> str:
    share = min(1.0, max(0.0, (value - least) / (most - least)))
    return f"{LEFT + share * (WIDTH - LEFT - 60):.1f}"


def _y(value: float, height: int) -> float:
    return round(height - 24 - value * (height - 44), 1)


def _drawing(height: int, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">{"".join(parts)}</svg>'

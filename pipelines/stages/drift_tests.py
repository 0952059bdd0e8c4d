"""The tests of one window: its passages' vectors in all and by source, and what their texts are like; and what carries a
difference: sources, days, words, examples. Reads nothing; `drift.py` gives it the windows and keeps what it finds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pipelines.drift import attribution, signals, terms
from pipelines.drift.engine import Outcome, Window, compare
from pipelines.drift.pool import LEAST
from pipelines.drift.verdict import least_permutations
from pipelines.store.drift import Row, Sample

if TYPE_CHECKING:
    from pipelines.ports import Tokenizer

PASSAGES = "passages"
SOURCE = "source {}"
LOST = 0.2  # of a window's passages without a vector: with more, what is left is not the window
PERMUTATIONS = 1999
TERMS, EXAMPLES, SHARES = 12, 5, 8
LEAST_Z = 1.64  # of a word: one in twenty is as far above by chance
QUOTED = 240  # characters of an example
Unit = Literal["document", "source"]


@dataclass(frozen=True, slots=True)
class Tested:
    """The outcomes by test, with how many permutations, and what was left out."""

    outcomes: Mapping[str, Outcome]
    permutations: int
    notes: tuple[str, ...] = ()


def run(before: Sample, now: Sample, unit: Unit, run_length_days: int, tokenizer: Tokenizer, *, beside: int = 0) -> Tested:
    """Compare two windows; no outcomes where the second has no documents. `beside` other tests share the run's level."""
    notes = [*_sampled("reference", before), *_sampled("window", now)]
    few = _permutations(run_length_days, 1 + beside)
    if not now.documents:
        return Tested({}, few, tuple(notes))
    if reason := _lost("reference", before) or _lost("window", now):
        return Tested({PASSAGES: Outcome(None, reason=reason)}, few, tuple(notes))
    sides = window(before, unit), window(now, unit)
    if min(len(set(side.units)) for side in sides) < LEAST:  # then nothing else can be told either
        return Tested({PASSAGES: compare(*sides)}, few, tuple(notes))
    measured = _signals(before.rows, now.rows, tokenizer)
    alone, small = _sources(before.rows, now.rows) if unit == "document" else ((), ())
    notes += [f"source {name} has fewer than {LEAST} documents to compare: tested with the others only" for name in small]
    permutations = _permutations(run_length_days, 1 + len(alone) + len(measured) + beside)
    outcomes = {PASSAGES: compare(*sides, permutations=permutations)}
    for name in alone:
        outcomes[SOURCE.format(name)] = compare(
            window(only(before, name), unit), window(only(now, name), unit), permutations=permutations
        )
    for name, values in measured.items():
        split = values[: len(before.rows)], values[len(before.rows) :]
        if len(np.unique(values)) > 1:  # what never varies cannot change
            outcomes[name] = signals.compare_signal(
                (split[0], sides[0].units), (split[1], sides[1].units), permutations=permutations
            )
    return Tested(outcomes, permutations, tuple(notes))


def _permutations(run_length_days: int, tests: int) -> int:
    return max(PERMUTATIONS, 2 * least_permutations(run_length_days, tests))


def window(sample: Sample, unit: Unit) -> Window:
    """The sample as the engine takes it."""
    return Window(sample.vectors, [_unit(row, unit) for row in sample.rows])


def only(sample: Sample, source: str) -> Sample:
    """The sample's passages of one source."""
    return _kept(sample, [row.source == source for row in sample.rows])


def without(sample: Sample, source: str) -> Sample:
    """The sample's passages of the other sources."""
    return _kept(sample, [row.source != source for row in sample.rows])


def explained(before: Sample, now: Sample, unit: Unit, outcome: Outcome) -> dict[str, Any]:
    """What carries a difference: shares by source and by day, the words and the passages that show it best."""
    source = {_unit(row, unit): row.source for row in now.rows}
    first: dict[str, str] = {}
    for row in sorted(now.rows, key=lambda row: row.valid_from):
        first.setdefault(_unit(row, unit), row.valid_from.date().isoformat())
    carrying = _carriers(outcome.contributions)
    chosen = attribution.exemplars(window(now, unit), outcome, EXAMPLES)
    present = [row.text for row in now.rows if _unit(row, unit) in carrying]
    words = terms.distinctive([row.text for row in before.rows], present, TERMS)
    return {
        "sources": _rounded(attribution.shares(outcome, source)),
        "days": _rounded(attribution.shares(outcome, first)),
        "terms": [[word, round(z, 2)] for word, z in words if z >= LEAST_Z],
        "examples": [_example(name, now.rows, unit) for name in chosen],
    }


def confirmed(before: Sample, now: Sample, unit: Unit, top: str, level: float, permutations: int) -> str:
    """Whether the passages still differ when the source with the largest share is left out of both windows."""
    rest = without(before, top), without(now, top)
    if not rest[1].rows:
        return f"All of it comes from source {top}."
    found = compare(window(rest[0], unit), window(rest[1], unit), permutations=permutations)
    if found.p is None:
        return f"Without source {top} it cannot be told: {found.reason}."
    told = "still differ" if found.p <= level else "do not differ"
    return f"Without source {top} the passages {told} (p {found.p:.2g})."


def _unit(row: Row, unit: Unit) -> str:
    return row.doc_id.hex() if unit == "document" else row.source


def _kept(sample: Sample, flags: Sequence[bool]) -> Sample:
    rows = [row for row, flag in zip(sample.rows, flags, strict=True) if flag]
    return Sample(rows, sample.vectors[np.array(flags, dtype=bool)], len({row.doc_id for row in rows}), len(rows))


def _signals(before: Sequence[Row], now: Sequence[Row], tokenizer: Tokenizer) -> dict[str, npt.NDArray[np.float64]]:
    """Of both windows' passages in one call: a repetition counts wherever the other passage is."""
    rows = [*before, *now]
    texts = [row.text for row in rows]
    return signals.measure(texts, [row.lang for row in rows], [row.tokens for row in rows], tokenizer.unknown(texts))


def _sources(before: Sequence[Row], now: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Of several sources with new passages, those large enough in both windows to be tested alone, and the others."""
    names = sorted({row.source for row in now})
    if len(names) < 2:
        return [], []
    sizes = [{name: len({row.doc_id for row in rows if row.source == name}) for name in names} for rows in (before, now)]
    alone = [name for name in names if min(size[name] for size in sizes) >= LEAST]
    return alone, [name for name in names if name not in alone]


def _sampled(name: str, sample: Sample) -> Iterable[str]:
    drawn = len(sample.rows) + len(sample.lost)
    if drawn < sample.passages:
        yield f"{name}: {drawn:,} of {sample.passages:,} passages were drawn"
    if sample.lost:
        yield f"{name}: {len(sample.lost):,} drawn passages have no vector any more and were not compared"


def _lost(name: str, sample: Sample) -> str:
    drawn = len(sample.rows) + len(sample.lost)
    if len(sample.lost) <= LOST * drawn:
        return ""
    lost = f"{len(sample.lost):,} of {drawn:,} passages of the {name} have no vector any more"
    return f"{lost}, more than {LOST:.0%} are too many; look at newer days"


def _carriers(contributions: Mapping[str, float]) -> Collection[str]:
    """The units with the largest parts, as few as carry half of all positive ones."""
    ranked = sorted(((part, name) for name, part in contributions.items() if part > 0), reverse=True)
    half, carried, found = sum(part for part, _ in ranked) / 2, 0.0, set()
    for part, name in ranked:
        found.add(name)
        carried += part
        if carried >= half:
            break
    return found


def _rounded(shares: Sequence[tuple[str, float]]) -> list[list[Any]]:
    return [[label, round(share, 4)] for label, share in shares[:SHARES]]


def _example(name: str, rows: Sequence[Row], unit: Unit) -> dict[str, str]:
    row = next(row for row in rows if _unit(row, unit) == name)
    text = " ".join(row.text.split())
    return {
        "address": row.address,
        "title": row.title,
        "source": row.source,
        "text": text if len(text) <= QUOTED else text[:QUOTED].rstrip() + "…",
    }

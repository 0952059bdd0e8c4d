"""Two windows as one pool of units: what is drawn of large ones, and why some windows cannot be compared. Pure; numpy.

The pool is shuffled, so that nothing computed from it, not even what takes its first rows, knows which window a unit is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Rows: TypeAlias = npt.NDArray[np.floating]

LEAST = 8  # units of a window, and different rows: below, few labellings differ
UNITS = 1000  # of a window; of more, so many are drawn
ROWS = 6000  # of both windows, shared evenly among the units; LEAST_ROWS of a unit in any case
LEAST_ROWS = 3


@dataclass(frozen=True)
class Pool:
    """The units of both windows in an order that says nothing of them; the rows of one unit stand together."""

    vectors: Rows  # (rows, dim)
    counts: Ints  # (units,): rows of each
    current: npt.NDArray[np.bool_]  # (units,): whether it is of the current window
    names: Sequence[str]  # (units,)

    @property
    def sizes(self) -> tuple[int, int]:
        """Units of the reference and of the current window."""
        return int((~self.current).sum()), int(self.current.sum())

    @cached_property
    def starts(self) -> Ints:
        """(units,): the first row of each."""
        return np.concatenate([[0], np.cumsum(self.counts)[:-1]])

    @cached_property
    def owner(self) -> Ints:
        """(rows,): the unit of each."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def averaged(self, rows: Rows) -> Floats:
        """(units, ...) means of (rows, ...) values."""
        sums = np.add.reduceat(rows, self.starts, axis=0, dtype=np.float64)
        means: Floats = sums / self.counts.reshape(-1, *[1] * (rows.ndim - 1))
        return means


def unfit(name: str, vectors: Rows, units: Sequence[str]) -> str:
    """Why this window cannot be compared; empty when it can. Raises ValueError for rows without units."""
    if reason := unfit_values(name, vectors, units):
        return reason
    if bad := int((~vectors.any(axis=1)).sum()):
        return f"{bad} of {len(vectors)} vectors of the {name} window are zero; run `millrace audit`"
    different = len({row.tobytes() for row in vectors})
    if different < LEAST:
        return f"the {name} window has {different} different of {len(vectors)} vectors, {LEAST} needed; the rest are copies"
    return ""


def unfit_values(name: str, rows: Rows, units: Sequence[str]) -> str:
    """As `unfit`, for rows of any shape whose values may be equal and zero."""
    if len(rows) != len(units):
        raise ValueError(f"the {name} window has {len(rows)} rows and {len(units)} units; give each row its unit")
    count = len(set(units))
    if not count:
        return f"the {name} window is empty"
    if count < LEAST:
        return f"the {name} window has {count} of the {LEAST} units needed; widen it"
    if bad := int((~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)).sum()):
        return f"{bad} of {len(rows)} rows of the {name} window are not finite numbers; run `millrace audit`"
    return ""


def pooled(sides: Sequence[tuple[Rows, Sequence[str]]], seed: int) -> Pool:
    """Draw UNITS of each window and, of each unit, its share of ROWS; shuffle them."""
    drawn = [_units(units, np.random.default_rng([seed, side])) for side, (_, units) in enumerate(sides)]
    total = sum(len(names) for names, _ in drawn)
    cap = max(LEAST_ROWS, ROWS // total)
    rng = np.random.default_rng([seed, len(sides)])
    order = rng.permutation(total)
    place = np.empty(total, dtype=np.int64)
    place[order] = np.arange(total)
    first = len(drawn[0][0])
    kept, owners = [], []
    for offset, (vectors, _), (_, member) in zip((0, first), sides, drawn, strict=True):
        rows = _rows(member, cap, rng)
        kept.append(np.asarray(vectors)[rows])
        owners.append(place[offset + member[rows]])
    owner = np.concatenate(owners)
    names = [*drawn[0][0], *drawn[1][0]]
    return Pool(
        np.concatenate(kept)[np.argsort(owner, kind="stable")],
        np.bincount(owner, minlength=total),
        order >= first,
        [names[row] for row in order],
    )


def _units(units: Sequence[str], rng: np.random.Generator) -> tuple[list[str], Ints]:
    """The units drawn, and of each row its unit's place among them or -1."""
    names, member = np.unique(np.asarray(units, dtype=object), return_inverse=True)
    chosen = np.sort(rng.permutation(len(names))[:UNITS])
    place = np.full(len(names), -1, dtype=np.int64)
    place[chosen] = np.arange(len(chosen))
    return [str(name) for name in names[chosen]], place[member]


def _rows(member: Ints, cap: int, rng: np.random.Generator) -> Ints:
    """At most `cap` rows, drawn, of each unit."""
    rows = rng.permutation(np.flatnonzero(member >= 0))
    rows = rows[np.argsort(member[rows], kind="stable")]
    owner = member[rows]
    within = np.arange(len(rows)) - np.searchsorted(owner, owner)
    kept: Ints = rows[within < cap]
    return kept

"""What a difference comes from: shares by source, date or any other label, and the passages that show it best. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from pipelines.drift.engine import Outcome, Window

UNLABELLED = "(unknown)"


def shares(outcome: Outcome, label_of: Mapping[str, str]) -> tuple[tuple[str, float], ...]:
    """Of each label of the current window's units, its share of the difference, the largest first; they sum to 1.

    Only the current window's part is shared out: the reference's own, `Outcome.rest`, is chance. A negative share makes the
    windows more alike. Empty where there is no difference to share out.
    """
    sums: defaultdict[str, float] = defaultdict(float)
    for unit, part in outcome.contributions.items():
        sums[label_of.get(unit, UNLABELLED)] += part
    total = sum(sums.values())
    if total <= 0:
        return ()
    found = [(label, part / total) for label, part in sums.items()]
    return tuple(sorted(found, key=lambda entry: (-entry[1], entry[0])))


def exemplars(window: Window, outcome: Outcome, n: int) -> tuple[str, ...]:
    """The most central of the current window's units that carry the difference, as one would show them to a person.

    Candidates are the units with the largest parts, as few as carry half of all positive ones but at least 2n.
    """
    ranked = sorted(outcome.contributions.items(), key=lambda entry: (-entry[1], entry[0]))
    positive = [(unit, part) for unit, part in ranked if part > 0]
    if not positive:
        return ()
    carried = np.cumsum([part for _, part in positive])
    count = max(2 * n, int(np.searchsorted(carried, carried[-1] / 2)) + 1)
    names = [unit for unit, _ in positive[:count]]
    row_of = {unit: row for row, unit in enumerate(names)}
    sums = np.zeros((len(names), window.vectors.shape[1]))
    for vector, unit in zip(window.vectors, window.units, strict=True):
        if unit in row_of:
            sums[row_of[unit]] += vector
    units = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    near = units @ units.mean(axis=0)
    return tuple(names[row] for row in np.argsort(-near, kind="stable")[:n])

"""Do two windows of a corpus differ by more than chance? A permutation test that exchanges whole documents. Pure; numpy.

Passages of one document resemble each other, so exchanging passages raises false alarms on every clustered corpus. Here each
document has one weight, whatever its length. Every statistic is a form in those weights, over one shared matrix of
permutations; min-p combines them exactly, as the smallest p is itself ranked among the permutations'. What prepares the
statistics never sees which window a document is in.

Not covered here: how windows are read and which alarms are acted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
LEAST = 8  # documents of a window, below which few labellings differ
NEIGHBOURS = 5
COMPONENTS = 32
TIE = 1e-9  # relative; sums in another order are not another value


@dataclass(frozen=True, slots=True)
class Window:
    """Passages of one period: (n, dim) vectors and the document of each."""

    vectors: npt.NDArray[np.floating]
    documents: Sequence[str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`p` is None when it cannot be told; `reason` says why. `effect` is the squared MMD, the sum of `contributions`."""

    p: float | None
    effect: float | None = None
    statistics: tuple[tuple[str, float], ...] = ()  # each one's own p
    contributions: tuple[tuple[str, float], ...] = ()  # by document of either window, the largest first
    documents: tuple[int, int] = (0, 0)
    reason: str = ""


def compare(reference: Window, current: Window, *, permutations: int = 999, seed: int = 1) -> Outcome:
    """Test "the same documents could have come in either window". A document in both counts in each with its passages there.

    Raises ValueError when a window's vectors and documents differ in number.
    """
    sides = [sorted(set(window.documents)) for window in (reference, current)]
    sizes = (len(sides[0]), len(sides[1]))
    if reason := _unfit(reference, current, sizes):
        return Outcome(None, documents=sizes, reason=reason)
    vectors = np.concatenate([reference.vectors, current.vectors]).astype(np.float64)
    names = [*sides[0], *sides[1]]
    rows = {(side, name): row for row, (side, name) in enumerate((s, n) for s in (0, 1) for n in sides[s])}
    owner = np.array([rows[s, name] for s, w in enumerate((reference, current)) for name in w.documents])
    means = _averaging(owner, len(names))
    gram = _kernel(vectors, means)
    forms = {"shift": gram, "whitened": _kernel(_whitened(vectors), means), "neighbours": _neighbours(means @ vectors)}
    weights = _labellings(sizes, permutations, seed)
    values = {name: ((weights @ form) * weights).sum(axis=1) for name, form in forms.items()}
    values["density"] = np.abs(weights @ _loneliness(vectors, owner, means))
    ranked = {name: _p_values(found) for name, found in values.items()}
    smallest = np.min(list(ranked.values()), axis=0)
    shares = weights[0] * (gram @ weights[0])
    order = np.argsort(-shares, kind="stable")
    return Outcome(
        float(_p_values(-smallest)[0]),
        float(values["shift"][0]),
        tuple((name, float(found[0])) for name, found in ranked.items()),
        tuple((names[row], float(shares[row])) for row in order),
        sizes,
    )


def alarm_level(days: int, tests: int = 1) -> float:
    """The level of each of `tests` a day that allows at most one false alarm in `days` daily runs on average."""
    if days < 1 or tests < 1:
        raise ValueError(f"days {days} and tests {tests} must both be at least 1; give the days between false alarms")
    return 1 / (days * tests)


def _unfit(reference: Window, current: Window, sizes: tuple[int, int]) -> str:
    for name, window, documents in (("reference", reference, sizes[0]), ("current", current, sizes[1])):
        if len(window.vectors) != len(window.documents):
            raise ValueError(f"the {name} window has {len(window.vectors)} vectors of {len(window.documents)} passages")
        if not documents:
            return f"the {name} window is empty"
        if documents < LEAST:
            return f"the {name} window has {documents} documents, {LEAST} needed; widen it"
        if not np.isfinite(window.vectors).all():
            return f"some vectors of the {name} window are not finite; run `millrace audit`"
        if len(np.unique(window.vectors, axis=0)) == 1:
            return f"all passages of the {name} window are the same"
    return ""


def _averaging(owner: npt.NDArray[np.int64], documents: int) -> Floats:
    """(documents, passages): each row averages one document's passages."""
    matrix = np.zeros((documents, len(owner)))
    matrix[owner, np.arange(len(owner))] = 1.0
    averaged: Floats = matrix / matrix.sum(axis=1, keepdims=True)
    return averaged


def _squared_distances(vectors: Floats) -> Floats:
    norms = (vectors * vectors).sum(axis=1)
    found: Floats = np.maximum(norms[:, None] + norms[None, :] - 2 * vectors @ vectors.T, 0)
    return found


def _kernel(vectors: Floats, means: Floats) -> Floats:
    """(documents, documents): mean Gaussian kernel between passages, at the median distance."""
    distances = _squared_distances(vectors)
    width = float(np.median(distances[np.triu_indices(len(vectors), 1)])) or 1.0
    kernel: Floats = means @ np.exp(-distances / width) @ means.T
    return kernel


def _whitened(vectors: Floats) -> Floats:
    centred = vectors - vectors.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred / len(vectors))
    kept = np.flatnonzero(values > 1e-9 * values[-1])[-COMPONENTS:]
    white: Floats = centred @ axes[:, kept] / np.sqrt(values[kept])
    return white


def _neighbours(centres: Floats) -> Floats:
    """(documents, documents): 1 where one is among the other's nearest, halved where that is not mutual."""
    distances = _squared_distances(centres)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :NEIGHBOURS]
    graph = np.zeros_like(distances)
    np.put_along_axis(graph, nearest, 1.0, axis=1)
    symmetric: Floats = (graph + graph.T) / 2
    return symmetric


def _loneliness(vectors: Floats, owner: npt.NDArray[np.int64], means: Floats) -> Floats:
    """(documents,): mean squared distance of a document's passages to the nearest ones of others."""
    distances = _squared_distances(vectors)
    distances[owner[:, None] == owner[None, :]] = np.inf
    count = min(NEIGHBOURS, int(np.isfinite(distances).sum(axis=1).min()))
    scores: Floats = means @ np.partition(distances, count - 1, axis=1)[:, :count].mean(axis=1)
    return scores


def _labellings(sizes: tuple[int, int], permutations: int, seed: int) -> Floats:
    """(permutations + 1, documents): -1/reference or 1/current; the first row is as observed."""
    observed = np.repeat([-1 / sizes[0], 1 / sizes[1]], sizes)
    drawn = np.tile(observed, (permutations, 1))
    shuffled = np.random.default_rng(seed).permuted(drawn, axis=1)
    return np.vstack([observed, shuffled])


def _p_values(values: Floats) -> Floats:
    """For each row the share of rows, itself included, that are as large."""
    slack = TIE * float(np.max(np.abs(values)))
    ordered = np.sort(values)
    shares: Floats = (len(values) - np.searchsorted(ordered, values - slack)) / len(values)
    return shares

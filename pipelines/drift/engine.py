"""Do two windows differ by more than chance? A permutation test that exchanges whole units. Pure; numpy.

Passages of one document resemble each other, so exchanging passages raises false alarms on every clustered corpus. What is
exchanged here is the unit: a document, or a source or crawl batch where documents come together. Each unit has one weight,
however long it is. Every statistic is a squared MMD, a quadratic form over ONE matrix of permuted weights, or the largest of
many, and min-p combines them exactly: the smallest p of the observed labels is ranked among the smallest ones of the
permutations.

Not covered here: how windows are read, which alarms are acted on (`effect.py`), and what text signals are (`signals.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipelines.drift.pool import Floats, Pool, pooled, unfit
from pipelines.drift.statistics import Scan, kernels

TIE = 1e-9  # relative: the same value summed in another order is not another value
BLOCK = 2000  # permutations whose weights are in memory at once
CHANCE = 0.99  # a kernel is scaled by what this share of the permutations stays below


@dataclass(frozen=True, slots=True)
class Window:
    """What came in one period: (n, dim) vectors of passages, and the exchangeable unit, say the document, of each."""

    vectors: npt.NDArray[np.floating]
    units: Sequence[str]


@dataclass(frozen=True, slots=True)
class Statistic:
    """One way to look at the windows."""

    name: str
    p: float  # of this statistic alone
    value: float  # its squared MMD, scaled and reduced as `Outcome.effect`


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the test says. `p` and `effect` are None when it cannot tell; `reason` says why."""

    p: float | None
    # The squared MMD in the kernel that tells the windows apart best, less what is expected by chance. Kernels are scaled
    # alike: chance exceeds 1/m + 1/n once in a hundred, so windows of different sizes have comparable effects.
    effect: float | None = None
    statistics: tuple[Statistic, ...] = ()
    # Of each compared unit of the current window: how much more than the reference's average unit it carries the difference.
    contributions: Mapping[str, float] = field(default_factory=dict)
    rest: float = 0.0  # the reference's own part: contributions and rest sum to the effect
    units: tuple[int, int] = (0, 0)  # compared, of the reference and the current window
    reason: str = ""


def compare(reference: Window, current: Window, *, permutations: int = 1999, seed: int = 1) -> Outcome:
    """Test "the same units could have come in either window".

    The least p is 1 / (permutations + 1): give more permutations than 1 / alpha. A unit named in both windows counts in each
    with its rows there. Of large windows, units and rows are drawn by the seed (`pool.UNITS`, `pool.ROWS`). Raises
    ValueError where vectors and units differ in number, or the windows in dimensions.
    """
    sides = (reference, current)
    for name, window in zip(("reference", "current"), sides, strict=True):
        if reason := unfit(name, window.vectors, window.units):
            return Outcome(None, units=_sizes(sides), reason=reason)
    if reference.vectors.shape[1] != current.vectors.shape[1]:
        wide = " and ".join(str(window.vectors.shape[1]) for window in sides)
        raise ValueError(f"the windows' vectors have {wide} dimensions; compare vectors of one space")
    pool = pooled([(window.vectors, window.units) for window in sides], seed)
    return tested(pool, kernels(pool, seed), permutations, seed)


def tested(pool: Pool, given: Mapping[str, Floats | Scan], permutations: int, seed: int) -> Outcome:
    """Min-p over the squared MMDs of (units, units) kernels, and over scans; neither may depend on the windows' labels."""
    forms = {name: centred for name, form in given.items() if (centred := _centred(form)) is not None}
    if not forms:
        return Outcome(None, units=pool.sizes, reason="all units of both windows are alike")
    observed = np.where(pool.current, 1 / pool.sizes[1], -1 / pool.sizes[0])
    values = _values(observed, forms, permutations, seed)
    ranked = {name: _p_values(found) for name, found in values.items()}
    chance = 1 / pool.sizes[0] + 1 / pool.sizes[1]
    scales = {name: _scale(found) / chance for name, found in values.items()}
    excess = {name: (found - found.mean()) / scales[name] for name, found in values.items()}
    effects = {name: float(found[0]) for name, found in excess.items()}
    told = min(effects, key=lambda name: (ranked[name][0], -effects[name]))
    form = forms[told]
    kernel = form.leading(observed) if isinstance(form, Scan) else form
    contributions = _contributions(pool, observed, kernel, float(values[told].mean())) / scales[told]
    names, owned = pool.names, pool.current
    return Outcome(
        p=float(_p_values(_combined(ranked.values(), excess.values()))[0]),
        effect=effects[told],
        statistics=tuple(Statistic(name, float(ranked[name][0]), effects[name]) for name in values),
        contributions={names[row]: float(contributions[row]) for row in np.flatnonzero(owned).tolist()},
        rest=float(contributions[~owned].sum()),
        units=pool.sizes,
    )


def _values(observed: Floats, forms: Mapping[str, Floats | Scan], permutations: int, seed: int) -> dict[str, Floats]:
    """By form, the (permutations + 1,) values: as observed first, then of every labelling."""
    found: dict[str, list[Floats]] = {name: [] for name in forms}
    for weights in _labellings(observed, permutations, seed):
        for name, form in forms.items():
            found[name].append(_reduced(weights, form))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _reduced(weights: Floats, form: Floats | Scan) -> Floats:
    found: Floats = form.values(weights) if isinstance(form, Scan) else np.einsum("ij,ij->i", weights @ form, weights)
    return found


def _labellings(observed: Floats, permutations: int, seed: int) -> Iterator[Floats]:
    """(labellings, units) of -1/reference and 1/current: as observed, then at random, at most BLOCK at a time."""
    yield observed[None]
    rng = np.random.default_rng([seed, 1])
    for start in range(0, permutations, BLOCK):
        yield rng.permuted(np.tile(observed, (min(BLOCK, permutations - start), 1)), axis=1)


def _centred(form: Floats | Scan) -> Floats | Scan | None:
    """Weights sum to zero, so this changes no value; it keeps the sums small. None where only rounding is left."""
    if isinstance(form, Scan):
        return form if form.features.size else None
    centred: Floats = form - form.mean(axis=0) - form.mean(axis=1)[:, None] + form.mean()
    return centred if np.abs(centred).max() > TIE * np.abs(form).max() else None


def _p_values(values: Floats) -> Floats:
    """For each row the share of rows, itself included, that are as large."""
    slack = TIE * float(np.max(np.abs(values)))
    ordered = np.sort(values)
    shares: Floats = (len(values) - np.searchsorted(ordered, values - slack)) / len(values)
    return shares


def _combined(ranked: Iterable[Floats], excess: Iterable[Floats]) -> Floats:
    """The smallest p, larger for smaller ones. Each statistic has a permutation that comes first in it: among those of equal
    p, the one that exceeds chance most goes first, or what no permutation comes near would not have the least p of all."""
    smallest = np.min(list(ranked), axis=0)
    most = np.maximum(np.max(list(excess), axis=0), 0.0)
    combined: Floats = -smallest + most / (2 * len(most) * (most.max() or 1.0))
    return combined


def _scale(values: Floats) -> float:
    """How far beyond its mean a squared MMD comes by chance once in a hundred."""
    spread = float(np.quantile(values, CHANCE) - values.mean())
    return spread if spread > 0 else 1.0


def _contributions(pool: Pool, weights: Floats, form: Floats, expected: float) -> Floats:
    """(units,) that sum to the squared MMD less what is expected by chance: weight times witness function.

    The witness is set to zero at the reference's average, so that a unit like the reference's carries nothing.
    """
    witness = form @ weights
    witness -= witness[~pool.current].mean()
    noise = weights**2
    found: Floats = weights * witness - expected * noise / noise.sum()
    return found


def _sizes(sides: Sequence[Window]) -> tuple[int, int]:
    return len(set(sides[0].units)), len(set(sides[1].units))

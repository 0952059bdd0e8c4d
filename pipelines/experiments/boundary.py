"""How far out a difference must lie at each look, so that all looks together err no more often than one test would.

The budget is spent by Lan and DeMets' function of O'Brien-Fleming type (1983): almost nothing early, so that little is
missing at the end. What a look spends is the chance that it is the first to cross; it follows from the density of the score
S = z sqrt(t) over the paths that have crossed nowhere yet, carried from look to look by numerical integration (Armitage,
McPherson & Rowe 1969). Looks may be uneven, unforeseen, and past the planned end.

A time is information, one over the squared standard error: how far looks depend on each other is in its ratios, so any unit
will do. `sides` is 2 when a crossing downwards ends the test too; bounds and budgets are always those of the upper side.
Pure; numpy and scipy.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

Floats = npt.NDArray[np.float64]
Times = tuple[float, ...]
REACH = 8.0  # standard errors; beyond lies less than NOTHING
NOTHING = 1e-14  # a budget that no bound within REACH spends
STEP = (
    2e-3  # of the time before: closer looks are taken as this far apart, which makes bounds a little wider, never narrower
)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)  # of one panel
PANEL = 2.5  # its width in standard deviations of a step: exact to about ten digits


def spent(progress: float, budget: float) -> float:
    """How much of one side's budget is spent at this share of the way to the planned end, above 0; all of it from 1 on."""
    if progress >= 1:
        return budget
    return float(2 * ndtr(ndtri(budget / 2) / math.sqrt(progress)))


def bound(times: Times, bounds: Times, budget: float, sides: int) -> float:
    """The z at the last of `times` that is first crossed there with the chance `budget`; infinite when that is nothing.

    `bounds` are those of the earlier times.
    """
    if budget < NOTHING:
        return math.inf
    times = _spaced(times)
    nodes, masses = _alive(times[:-1], bounds, sides, _coarse(_last_step(times)))
    step = math.sqrt(_last_step(times))
    root = math.sqrt(times[-1])
    return float(brentq(lambda z: float(masses @ ndtr((nodes - z * root) / step)) - budget, 0.0, REACH, xtol=1e-9))


def crossing(times: Times, bounds: Times, drift: float, sides: int) -> float:
    """The chance that the upper bound is ever crossed when z at time 1 is expected to be `drift`."""
    times = _spaced(times)
    found = 0.0
    for look in range(1, len(times) + 1):
        if math.isinf(bounds[look - 1]):
            continue
        step = _last_step(times[:look])
        nodes, masses = _alive(times[: look - 1], bounds[: look - 1], sides, _coarse(step))
        before = times[look - 1] - step
        tilted = masses * np.exp(drift * nodes - drift * drift * before / 2)  # the density under drift, from that without
        edge = bounds[look - 1] * math.sqrt(times[look - 1])
        found += float(tilted @ ndtr((nodes + drift * step - edge) / math.sqrt(step)))
    return found


@lru_cache(maxsize=64)
def planned(looks: int, budget: float, sides: int) -> Times:
    """The bounds of evenly spaced looks that end at time 1."""
    bounds: Times = ()
    already = 0.0
    for look in range(1, looks + 1):
        times = tuple(number / looks for number in range(1, look + 1))
        now = spent(times[-1], budget)
        bounds = (*bounds, bound(times, bounds, now - already, sides))
        already = now
    return bounds


@lru_cache(maxsize=64)
def drift(looks: int, budget: float, power: float, sides: int) -> float:
    """The expected z at time 1 that evenly spaced looks find with this power."""
    times = tuple(number / looks for number in range(1, looks + 1))
    bounds = planned(looks, budget, sides)
    return float(brentq(lambda z: crossing(times, bounds, z, sides) - power, 0.0, 2 * REACH, xtol=1e-9))


def _spaced(times: Times) -> Times:
    found: list[float] = []
    for time in times:
        found.append(max(time, found[-1] * (1 + STEP)) if found else time)
    return tuple(found)


def _last_step(times: Times) -> float:
    return times[-1] - times[-2] if len(times) > 1 else times[-1]


def _coarse(step: float) -> float:
    """A step down to a power of two, so that what was integrated for one next look mostly serves another."""
    return float(2.0 ** math.floor(math.log2(step)))


@lru_cache(maxsize=4096)
def _alive(times: Times, bounds: Times, sides: int, following: float) -> tuple[Floats, Floats]:
    """(nodes,) scores and (nodes,) chances: the paths that crossed at none of these times, without drift.

    The nodes are as close as the last step and the following one ask for.
    """
    if not times:
        return np.zeros(1), np.ones(1)
    last = _last_step(times)
    nodes, masses = _alive(times[:-1], bounds[:-1], sides, _coarse(last))
    root = math.sqrt(times[-1])
    upper = min(bounds[-1], REACH) * root
    scores, widths = _grid(-upper if sides == 2 else -REACH * root, upper, math.sqrt(min(last, following)))
    step = math.sqrt(last)
    density = np.exp(-0.5 * ((scores[:, None] - nodes) / step) ** 2) @ masses / (step * math.sqrt(2 * math.pi))
    return scores, widths * density


def _grid(lower: float, upper: float, step: float) -> tuple[Floats, Floats]:
    """Nodes and weights of Gauss-Legendre quadrature in panels no wider than PANEL steps."""
    panels = math.ceil((upper - lower) / (PANEL * step))
    half = (upper - lower) / (2 * panels)
    centres = lower + half * (2 * np.arange(panels) + 1)
    return (centres[:, None] + half * NODES).ravel(), np.tile(half * WEIGHTS, panels)

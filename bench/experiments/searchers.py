"""Searchers who click: what an A/B test and interleaving would see of two rankers that differ a little. A simulation.

A query has 20 candidates, of which up to four are relevant (none in a tenth of the queries). The champion scores them by
relevance and noise; in the queries that the challenger touches, it has less noise of its own. Clicks follow the dependent
click model (Guo et al., WSDM 2009) with the chances of Hofmann et al. (TOIS 2013): a searcher reads downwards and may click
each result, and stop after a click, more likely so when it is relevant. How often one searches has a heavy tail, and how
often one clicks at all differs from searcher to searcher.

Every searcher is simulated under champion, challenger and interleaving with the same luck, so that the population's
differences are well known; an experiment then draws searchers from it and sees one of the three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.experiments.estimate import Units
from pipelines.experiments.interleave import credit, draft

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
CANDIDATES, PLACES = 20, 10
RELEVANT = (0, 4)  # of a query's candidates, at least and at most
SHARED, CHAMPIONS, CHALLENGERS = 0.8, 0.5, 0.1  # standard deviations of noise, beside a relevance of 1
ENGAGED = (2.0, 2.0)  # beta distribution of searchers' shares of queries in which they click at all
BUSIEST = 200  # queries of one searcher
NAMES = [str(candidate) for candidate in range(CANDIDATES)]


@dataclass(frozen=True, slots=True)
class Clicks:
    """The chances of clicking a result that was read, and of stopping then: (irrelevant, relevant)."""

    click: tuple[float, float]
    stop: tuple[float, float]


NAVIGATIONAL = Clicks((0.05, 0.95), (0.2, 0.9))
INFORMATIONAL = Clicks((0.4, 0.9), (0.1, 0.5))


@dataclass(frozen=True, slots=True)
class Searchers:
    """(searchers,) each: impressions, by A/B metric the sums under champion and challenger, and the credits."""

    counts: Floats
    metrics: dict[str, tuple[Floats, Floats]]
    credits: Units  # counts are 0 where no impression of a searcher took a side


def searchers(rng: np.random.Generator, number: int, touched: float, clicks: Clicks) -> Searchers:
    """A population in which the challenger touches this share of queries; the truth of experiments that draw from it."""
    counts = 1 + np.minimum(2 * rng.pareto(2.5, size=number), BUSIEST - 1).astype(np.int64)
    owner = np.repeat(np.arange(number), counts)
    relevant = _relevant(rng, len(owner))
    shared = relevant + SHARED * rng.normal(size=relevant.shape)
    ranked = [_ranked(shared + own * rng.normal(size=relevant.shape)) for own in (CHAMPIONS, CHALLENGERS)]
    ranked[1] = np.where(rng.uniform(size=(len(owner), 1)) < touched, ranked[1], ranked[0])
    luck = _luck(rng, rng.beta(*ENGAGED, size=number)[owner])
    seen = [_metrics(*_clicks(_top(relevant, order), luck, clicks)) for order in ranked]
    metrics = {name: (_total(owner, seen[0][name]), _total(owner, seen[1][name])) for name in seen[0]}
    return Searchers(counts.astype(np.float64), metrics, _credits(owner, relevant, ranked, luck, clicks))


def _relevant(rng: np.random.Generator, queries: int) -> Flags:
    many = rng.integers(RELEVANT[0], RELEVANT[1] + 1, size=queries)
    many = np.where((many == 0) & (rng.uniform(size=queries) < 0.5), 1, many)
    return np.arange(CANDIDATES) < many[:, None]


def _ranked(scores: Floats) -> Ints:
    order: Ints = np.argsort(-scores, axis=1, kind="stable").astype(np.int64)
    return order


def _luck(rng: np.random.Generator, engaged: Floats) -> Floats:
    """(2, impressions, places): against which clicking and stopping are held; never lucky where nobody clicks at all."""
    luck = rng.uniform(size=(2, len(engaged), PLACES))
    luck[0, rng.uniform(size=len(engaged)) >= engaged] = 1.0
    return luck


def _top(relevant: Flags, order: Ints) -> Flags:
    return np.take_along_axis(relevant, order[:, :PLACES], axis=1)


def _clicks(relevant: Flags, luck: Floats, clicks: Clicks) -> tuple[Flags, Flags]:
    """(impressions, places) clicked, and (impressions,) who stopped rather than ran out of results."""
    reading = np.ones(len(relevant), dtype=bool)
    clicked = np.zeros(relevant.shape, dtype=bool)
    for place in range(PLACES):
        grade = relevant[:, place].astype(int)
        clicked[:, place] = reading & (luck[0, :, place] < np.array(clicks.click)[grade])
        reading &= ~(clicked[:, place] & (luck[1, :, place] < np.array(clicks.stop)[grade]))
    return clicked, ~reading


def _metrics(clicked: Flags, stopped: Flags) -> dict[str, Floats]:
    """What A/B tests of search look at, by impression."""
    first = np.where(clicked.any(axis=1), 1 / (1 + clicked.argmax(axis=1)), 0.0)
    last = np.where(clicked.any(axis=1), 1 / (PLACES - clicked[:, ::-1].argmax(axis=1)), 0.0)
    return {
        "clicks": clicked.sum(axis=1).astype(np.float64),
        "clicked first": clicked[:, 0].astype(np.float64),
        "reciprocal place of the first click": first,
        "reciprocal place of the last click": last,
        "stopped content": stopped.astype(np.float64),
    }


def _total(owner: Ints, values: Floats) -> Floats:
    return np.bincount(owner, weights=values).astype(np.float64)


def _credits(owner: Ints, relevant: Flags, ranked: list[Ints], luck: Floats, clicks: Clicks) -> Units:
    """Interleaved by the engine's own code, clicked, and credited."""
    lists = [
        draft([NAMES[item] for item in ours], [NAMES[item] for item in theirs], length=PLACES, key=f"bench|{number}")
        for number, (ours, theirs) in enumerate(zip(ranked[0].tolist(), ranked[1].tolist(), strict=True))
    ]
    shown = np.array([[int(place.item) for place in places] for places in lists])
    clicked, _ = _clicks(_top(relevant, shown), luck, clicks)
    credited = [
        credit(places, {place.item for place, hit in zip(places, hits, strict=True) if hit})
        for places, hits in zip(lists, clicked.tolist(), strict=True)
    ]
    sided = np.array([value is not None for value in credited])
    return Units(_total(owner, np.array([value or 0.0 for value in credited])), _total(owner, sided.astype(np.float64)))

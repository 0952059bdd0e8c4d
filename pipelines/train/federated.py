"""Several sites fit one query adapter without showing each other a text or a vector (FedAvg, McMahan et al., 2017).

Every site goes on from the round's map with its own pairs for a few epochs and gives away the difference: clipped to a
length, with Gaussian noise if wanted. The coordinator checks each difference and moves the map by their mean. Pure: what is
exchanged as files is in `federated_files`.
"""

from __future__ import annotations

import hashlib
import math
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.errors import FailRun, FixConfiguration
from pipelines.train import adapter
from pipelines.train.adapter import LEAST, Matrix, Passages, Questions

SITE = re.compile(r"[\w.-]{1,64}", re.ASCII)
TRIMMED_FROM = 3  # sites; of three, what is left of every number is the middle one
SLACK = 1.001  # of a length, for the rounding of float32
PULL = 0.3  # towards the identity; clipping and the few epochs of a round hold the map back already
TAIL = 6.0  # standard deviations by which noise is longer than expected once in a billion updates
MOST_EPOCHS, MOST_PAIRS = 1000, 2**53
NORMAL = statistics.NormalDist()


@dataclass(frozen=True, slots=True)
class Terms:
    """What all sites of a federation keep to.

    `clip` is the largest length of a difference, `noise` the standard deviation of what is added to each of its numbers, in
    units of `clip`; `trimmed` takes the mean without the highest and the lowest of every number, so that one site of three
    or more cannot lead the others astray.
    """

    clip: float = 3.0
    noise: float = 0.0
    epochs: int = 5
    rate: float = 2e-3
    trimmed: bool = False

    def check(self) -> Terms:
        """The terms. Raises FixConfiguration for numbers that no federation can keep to."""
        if not 0 < self.clip < 1e6 or not 0 <= self.noise < 1e6 or not 0 < self.rate < 1:
            raise FixConfiguration(
                f"clip {self.clip:g}, noise {self.noise:g}, rate {self.rate:g}: clip is above 0, noise at least 0 and rate "
                "between 0 and 1; start the federation with other numbers"
            )
        if not 1 <= self.epochs <= MOST_EPOCHS:
            raise FixConfiguration(f"{self.epochs} epochs a round; give 1 to {MOST_EPOCHS}")
        return self


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An update that was not averaged, by its site or its file, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of one round: who moved the map by which share, who did not, how far it moved."""

    round: int
    shares: dict[str, float]
    left_out: tuple[LeftOut, ...]
    moved: float


@dataclass(frozen=True, slots=True)
class Round:
    """The map that a round starts from; `number` counts from 1, `of` is the fingerprint of the embedder."""

    number: int
    weight: Matrix
    bias: Matrix
    of: str
    terms: Terms
    history: tuple[Merged, ...] = ()

    @property
    def base(self) -> str:
        """Hex identity of the round: what an update has to be made from."""
        told = self.terms
        exact = f"{told.clip:.17g} {told.noise:.17g} {told.epochs} {told.rate:.17g} {told.trimmed}"
        digest = hashlib.sha256(f"{self.number} {self.of} {exact}".encode())
        for numbers in (self.weight, self.bias):
            digest.update(np.ascontiguousarray(numbers, "<f4").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Update:
    """How far a site moved the map of a round: all that leaves it."""

    round: int
    base: str
    of: str
    site: str
    pairs: int
    weight: Matrix
    bias: Matrix

    @property
    def norm(self) -> float:
        """The length of the whole difference."""
        return math.hypot(*(float(np.linalg.norm(part.astype(np.float64))) for part in (self.weight, self.bias)))


def start(of: str, dim: int, terms: Terms) -> Round:
    """The first round: the identity over the embedder of this fingerprint."""
    return Round(1, np.eye(dim, dtype=np.float32), np.zeros(dim, np.float32), of, terms.check())


def contribute(
    current: Round, site: str, passages: Passages, fitted: Questions, random: np.random.Generator, seed: int = 1
) -> Update:
    """The site's update: its pairs for the round's epochs, clipped, with the round's noise drawn from `random`.

    `random` must be secret where noise is to protect anything, `seed` orders the pairs. Raises FailRun for too few pairs,
    vectors that are no numbers, and a loss that is none; FixConfiguration for a site's name that is none.
    """
    if not SITE.fullmatch(site):
        raise FixConfiguration(f"{site!r} is no name for a site; use 1 to 64 letters, digits, '.', '_' and '-'")
    if len(fitted) < LEAST:
        raise FailRun(f"{len(fitted)} pairs to fit at site {site}; a site needs at least {LEAST}: add documents with titles")
    if not np.isfinite(passages.vectors).all() or not np.isfinite(fitted.vectors).all():
        raise FailRun(f"a vector of site {site} holds a value that is no number; nothing was learned from it")
    settings = adapter.Settings(epochs=current.terms.epochs, rate=current.terms.rate, pull=PULL, seed=seed)
    *_, (_, _, weight, bias) = adapter.epochs(passages, fitted, settings, (current.weight, current.bias))
    made = Update(current.number, current.base, current.of, site, len(fitted), weight - current.weight, bias - current.bias)
    return _noised(_clipped(made, current.terms.clip), current.terms, random)


def average(current: Round, updates: Sequence[Update], left_out: Sequence[LeftOut] = ()) -> Round:
    """The next round: the map moved by the mean of the sound updates.

    A site counts by its pairs, but by no more than the middle one of the sites has: none can outweigh the others by what it
    says of itself. `left_out` are updates that could not even be read. Raises FailRun when no update is left, or too few
    for a trimmed mean.
    """
    sound, refused = _sorted(current, updates)
    refused = [*left_out, *refused]
    least = TRIMMED_FROM if current.terms.trimmed else 1
    if len(sound) < least:
        reasons = "; ".join(f"{entry.name}: {entry.reason}" for entry in refused) or "none was given"
        raise FailRun(f"{len(sound)} sound updates of round {current.number}, at least {least} are needed ({reasons})")
    shares = _shares(sound, current.terms.trimmed)
    weight = _mean([update.weight for update in sound], shares, current.terms.trimmed)
    bias = _mean([update.bias for update in sound], shares, current.terms.trimmed)
    told = {update.site: round(share, 4) for update, share in zip(sound, shares, strict=True)}
    moved = math.hypot(float(np.linalg.norm(weight)), float(np.linalg.norm(bias)))
    merged = Merged(current.number, told, tuple(refused), round(moved, 4))
    return replace(
        current,
        number=current.number + 1,
        weight=np.asarray(current.weight + weight, np.float32),
        bias=np.asarray(current.bias + bias, np.float32),
        history=(*current.history, merged),
    )


def epsilon(noise: float, rounds: int, delta: float) -> float:
    """What (epsilon, delta)-differential privacy a site's updates of so many rounds have, together; infinite without noise.

    Neighbours are two federations in which one site's clipped updates are replaced by any others: two of them are at most
    2 * clip apart. So many Gaussian mechanisms are one with mu = 2 * sqrt(rounds) / noise, and delta(epsilon) of it is exact
    (Dong, Roth and Su, Gaussian differential privacy, 2022, corollaries 1 and 2).
    """
    if noise <= 0 or rounds < 1:
        return math.inf if rounds else 0.0
    mu = 2 * math.sqrt(rounds) / noise
    low, high = 0.0, 1.0
    while _delta(mu, high) > delta:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _delta(mu, middle) > delta else (low, middle)
    return high


def _delta(mu: float, eps: float) -> float:
    """Of a mechanism that is as hard to tell as N(0, 1) from N(mu, 1)."""
    tail = NORMAL.cdf(-eps / mu - mu / 2)
    return NORMAL.cdf(-eps / mu + mu / 2) - (math.exp(eps + math.log(tail)) if tail > 0 else 0.0)


def _clipped(update: Update, clip: float) -> Update:
    share = min(1.0, clip / update.norm) if update.norm else 1.0
    return replace(
        update, weight=np.asarray(update.weight * share, np.float32), bias=np.asarray(update.bias * share, np.float32)
    )


def _noised(update: Update, terms: Terms, random: np.random.Generator) -> Update:
    if not terms.noise:
        return update
    weight, bias = (
        np.asarray(part + random.normal(0.0, terms.noise * terms.clip, part.shape), np.float32)
        for part in (update.weight, update.bias)
    )
    return replace(update, weight=weight, bias=bias)


def _sorted(current: Round, updates: Sequence[Update]) -> tuple[list[Update], list[LeftOut]]:
    """Those to average, the first of each site, and the others with the reason."""
    sound: dict[str, Update] = {}
    refused = []
    for update in updates:
        reason = next(_wrong(current, update), "")
        if not reason and update.site in sound:
            reason = "a second update of this site"
        if reason:
            refused.append(LeftOut(update.site, reason))
        else:
            sound[update.site] = update
    return list(sound.values()), refused


def _wrong(current: Round, update: Update) -> Iterator[str]:
    """What is wrong with an update, most telling first."""
    dim = len(current.bias)
    if update.of != current.of:
        yield f"of embedder {update.of[:12]}, not {current.of[:12]}"
    if update.round != current.number:
        yield f"of round {update.round}, not {current.number}"
    if update.base != current.base:
        yield "made from another map or other terms than this round's"
    if update.weight.shape != (dim, dim) or update.bias.shape != (dim,):
        yield f"its shape is {update.weight.shape} and {update.bias.shape}, not ({dim}, {dim}) and ({dim},)"
    if not 0 < update.pairs <= MOST_PAIRS:
        yield f"{update.pairs} pairs"
    if not np.isfinite(update.weight).all() or not np.isfinite(update.bias).all():
        yield "a value that is no finite number"
    # Noise has a length of its own: about the root of how many numbers it was added to.
    longest = current.terms.clip * (1 + current.terms.noise * (math.sqrt(dim * (dim + 1)) + TAIL))
    if update.norm > longest * SLACK:
        yield f"its length {update.norm:.4g} is above the clip, {longest:.4g}"


def _shares(updates: Sequence[Update], trimmed: bool) -> list[float]:
    """What each counts: equally in a trimmed mean, else by pairs, at most as many as the middle site has."""
    middle = statistics.median_low(update.pairs for update in updates)
    counted = [1 if trimmed else min(update.pairs, middle) for update in updates]
    return [count / sum(counted) for count in counted]


def _mean(parts: Sequence[Matrix], shares: Sequence[float], trimmed: bool) -> Matrix:
    if trimmed:
        ordered = np.sort(np.stack(parts), axis=0)
        return np.asarray(ordered[1:-1].mean(axis=0), np.float32)
    return np.asarray(sum(share * part for share, part in zip(shares, parts, strict=True)), np.float32)

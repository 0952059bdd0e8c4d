"""Is a difference between two systems on the same questions more than chance, and how small a one could be seen?

The unit that is exchanged and drawn is the cluster: questions that share a document or topic say nearly the same thing, and
counting them as independent makes every difference look certain. The statistic is the mean over questions.

* `permutation`: two-sided paired test by flipping the signs of whole clusters, exact where 2^clusters is small enough.
* `interval`: bootstrap over clusters, by percentiles. `lower_bound`: one-sided, the lower of a cluster-robust
  t bound and the studentised bootstrap's, because per-question differences are mostly 0 with a few large ones.
* `holm`: p-values of several measures and slices together.
* `detectable`, `certifiable`, `needed`: what a set of this size can see, stated with every result.

References: Urbano et al. (SIGIR 2019), Efron & Tibshirani (1993, ch. 12-16), Holm (1979). Pure; numpy, and scipy for t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
EXACT_CLUSTERS = 14  # 16,384 sign patterns
RESAMPLES = 10_000
BOOTSTRAPS = 2_000
TINY = 1e-12  # below it a sum of differences is rounding
FLOOR = 0.25  # a resample without any of the few differences there are says nothing about their spread
CAUTION = 1.1  # of the lower of two bounds, which is wider than either


@dataclass(frozen=True, slots=True)
class Paired:
    """Differences by question, summed by cluster. `sums` and `sizes` are (clusters,) float64."""

    sums: Floats
    sizes: Floats

    @property
    def questions(self) -> int:
        return int(self.sizes.sum())

    @property
    def clusters(self) -> int:
        return len(self.sizes)

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.sizes.sum())

    @property
    def error(self) -> float:
        """Cluster-robust standard error of the mean."""
        if self.clusters < 2:
            return math.inf
        residuals = self.sums - self.mean * self.sizes
        spread = float(residuals @ residuals) * self.clusters / (self.clusters - 1)
        return math.sqrt(spread) / self.questions


def paired(differences: Mapping[str, float], clusters: Mapping[str, str] | None = None) -> Paired:
    """Differences by question; `clusters` names each question's cluster, by default itself.

    Raises ValueError, naming the question, for a difference that is no finite number, and without any.
    """
    if not differences:
        raise ValueError("no question is scored on both sides")
    sums: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for question in sorted(differences):
        value = differences[question]
        if not math.isfinite(value):
            raise ValueError(f"question {question!r}: the difference is {value}, not a finite number")
        cluster = (clusters or {}).get(question) or question
        sums[cluster] = sums.get(cluster, 0.0) + value
        sizes[cluster] = sizes.get(cluster, 0) + 1
    return Paired(np.array(list(sums.values()), dtype=np.float64), np.array(list(sizes.values()), dtype=np.float64))


def permutation(pairs: Paired, *, resamples: int = RESAMPLES, seed: int = 1) -> float:
    """Two-sided p of "no difference"; exact for few clusters, else (1 + as extreme) / (resamples + 1)."""
    sums = pairs.sums[np.abs(pairs.sums) > TINY]  # a cluster without difference says nothing either way
    if not len(sums):
        return 1.0
    observed = abs(float(sums.sum())) - TINY * len(sums)
    if len(sums) <= EXACT_CLUSTERS:
        signs = 1.0 - 2.0 * ((np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))) & 1)
        return float(np.mean(np.abs(signs @ sums) >= observed))
    rng = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, resamples, 1000):
        count = min(1000, resamples - start)
        signs = rng.integers(0, 2, size=(count, len(sums)), dtype=np.int8) * 2.0 - 1.0
        extreme += int(np.sum(np.abs(signs @ sums) >= observed))
    return (1 + extreme) / (resamples + 1)


def interval(pairs: Paired, *, level: float = 0.95, seed: int = 1) -> tuple[float, float]:
    """Two-sided percentile interval of the mean over resampled clusters; infinite with fewer than two clusters."""
    tail = (1 - level) / 2
    if pairs.clusters < 2:
        return -math.inf, math.inf
    if pairs.error <= TINY:
        reach = _unseen(pairs.clusters, tail)
        return pairs.mean - reach, pairs.mean + reach
    weights = _weights(pairs.clusters, seed)
    low, high = np.quantile(weights @ pairs.sums / (weights @ pairs.sizes), [tail, 1 - tail])
    return float(low), float(high)


def lower_bound(pairs: Paired, *, alpha: float = 0.05, seed: int = 1) -> float:
    """What the true mean difference exceeds with confidence 1 - alpha; -inf with fewer than two clusters."""
    if pairs.clusters < 2:
        return -math.inf
    if pairs.error <= TINY:
        return pairs.mean - _unseen(pairs.clusters, alpha)
    factor = max(_t_quantile(1 - alpha, pairs.clusters - 1), _studentised(pairs, 1 - alpha, seed))
    return pairs.mean - factor * pairs.error


def _unseen(clusters: int, tail: float) -> float:
    """No spread does not mean certainty: so many clusters may all miss a share of affected ones up to this."""
    return 1.0 - math.pow(tail, 1 / clusters)


def _studentised(pairs: Paired, quantile: float, seed: int) -> float:
    """The quantile of (mean* - mean) / error* over resampled clusters, error* being at least FLOOR of the error."""
    weights = _weights(pairs.clusters, seed)
    sums, sizes = pairs.sums, pairs.sizes
    total = weights @ sizes
    means = weights @ sums / total
    spread = weights @ (sums * sums) - 2 * means * (weights @ (sums * sizes)) + means * means * (weights @ (sizes * sizes))
    errors = np.sqrt(np.maximum(spread, 0) * pairs.clusters / (pairs.clusters - 1)) / total
    studentised = (means - pairs.mean) / np.maximum(errors, FLOOR * pairs.error)
    return float(np.quantile(studentised, quantile))


@lru_cache(maxsize=8)
def _weights(clusters: int, seed: int) -> Floats:
    """(BOOTSTRAPS, clusters): how often each resample holds each cluster."""
    rng = np.random.default_rng((seed, clusters))
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=BOOTSTRAPS).astype(np.float64)


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: the chance of any false finding among all of them stays below the level they are held to."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for place, (name, value) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, value * (len(values) - place)))
        adjusted[name] = highest
    return adjusted


def detectable(error: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference that a two-sided test at this standard error finds with this power."""
    return (_z(1 - alpha / 2) + _z(power)) * error


def certifiable(error: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest margin for which an equal system is shown not to be inferior with this power."""
    return (_z(1 - alpha) + _z(power)) * error


def needed(spread: float, margin: float, *, alpha: float = 0.05, power: float = 0.8, slices: int = 1) -> int:
    """Independent questions a slice for an equal system to pass all slices with this power.

    `spread` is the standard deviation of the differences; multiply by the design effect where questions share clusters.
    """
    each = power ** (1 / slices)
    return math.ceil(CAUTION * ((_z(1 - alpha) + _z(each)) * spread / margin) ** 2)


def differences(ours: Mapping[str, float], theirs: Mapping[str, float], questions: Sequence[str] = ()) -> dict[str, float]:
    """Ours minus theirs on the questions that both have."""
    wanted = set(questions) if questions else ours.keys()
    return {question: ours[question] - theirs[question] for question in ours if question in theirs and question in wanted}


def _z(quantile: float) -> float:
    return NormalDist().inv_cdf(quantile)


@lru_cache(maxsize=256)
def _t_quantile(quantile: float, freedom: int) -> float:
    from scipy.special import stdtrit  # noqa: PLC0415  costs a quarter of a second

    return float(stdtrit(freedom, quantile))

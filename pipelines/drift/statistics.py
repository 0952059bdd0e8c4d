"""The kernels whose squared MMD between two windows is tested, and the scan for one cluster that changed. Pure; numpy.

Every kernel is a symmetric (units, units) matrix made from the pool alone, which does not tell which window a unit is in; so
are a scan's features.
Between rows arithmetic is in single precision, the memory being what limits a window; sums over them are in double.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.drift.pool import Floats, Ints, Pool, Rows

SAMPLE = 1500  # rows that the median is taken from
COMPONENTS = 200  # principal components; no more than one for so many units:
UNITS_A_COMPONENT = 4  # with as many as units, whitened means differ by the same amount however they are labelled
NEIGHBOURS = 5
TAILS = (0.01, 0.02, 0.04)  # of the rows, by their distance to the nearest
CLUSTERS = 24  # of rows, for shares: fine enough that a new topic is one of its own
UNIT_CLUSTERS = (12, 24, 40)  # of units' means: whatever the grain of what changed, one of them is near it
SCATTER_CLUSTERS = (8, 12, 16, 20)  # for distances to the centre: their average depends little on where one clustering cuts
UNITS_A_CLUSTER = 8
FAINT = 1e-6  # below every distance that means something; copies have none
ROUNDS = 15  # of Lloyd's iteration
Singles = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scan:
    """Features of the units, (units, features), each with mean 0 and variance 1; tested is the one that differs most.

    One topic that changes its share is one term of many in a sum over all topics; among them it is the largest.
    """

    features: Floats

    def values(self, weights: Floats) -> Floats:
        """(labellings,): the largest squared difference of the windows' means."""
        found: Floats = ((weights @ self.features) ** 2).max(axis=1)
        return found

    def leading(self, weights: Floats) -> Floats:
        """The (units, units) kernel of the feature that differs most under one labelling."""
        feature = self.features[:, int(np.abs(weights @ self.features).argmax())]
        return np.outer(feature, feature)


def kernels(pool: Pool, seed: int) -> dict[str, Floats | Scan]:
    """By name, the (units, units) kernels of a pool's vectors, and a scan of its clusters."""
    vectors = pool.vectors.astype(np.float32)
    distances = squared_distances(vectors)
    made: dict[str, Floats | Scan] = {
        "mmd": gaussian(pool, distances, median(distances)),
        "isolated": isolation(pool, distances),
    }
    del distances
    made["mean_whitened"] = whitened_mean(pool, vectors)
    made["clusters"] = occupancy(pool, vectors, seed)
    made["scatter"] = scatter(pool, vectors, seed)
    return made


def squared_distances(vectors: Singles) -> Singles:
    """(rows, rows)."""
    norms = (vectors * vectors).sum(axis=1)
    found = vectors @ vectors.T
    found *= -2
    found += norms[:, None]
    found += norms[None, :]
    np.maximum(found, 0, out=found)
    return found


def median(distances: Singles) -> float:
    """Of the distances between different rows; 1 where most are equal."""
    some = distances[:SAMPLE, :SAMPLE]
    return float(np.median(some[np.triu_indices(len(some), 1)])) or 1.0


def gaussian(pool: Pool, distances: Singles, width: float) -> Floats:
    """(units, units): mean of exp(-distance / width) between their rows."""
    rows = np.exp(distances / np.float32(-width))
    return pool.averaged(pool.averaged(rows).T)


def whitened_mean(pool: Pool, vectors: Singles) -> Floats:
    """The kernel whose squared MMD is the distance of the windows' means, each principal component counting alike.

    A common step is lost among the directions in which the corpus itself varies most; in the others it stands out.
    """
    means = pool.averaged(whitened(vectors, min(COMPONENTS, len(pool.counts) // UNITS_A_COMPONENT)))
    kernel: Floats = means @ means.T
    return kernel


def whitened(vectors: Singles, components: int) -> Singles:
    """(rows, at most `components`): the pool's principal components, each at unit variance."""
    centred = vectors - vectors.mean(axis=0)
    values, axes = np.linalg.eigh((centred.T @ centred / len(vectors)).astype(np.float64))
    kept = np.flatnonzero(values > 1e-6 * values[-1])[-components:]
    white: Singles = (centred @ (axes[:, kept] / np.sqrt(values[kept]))).astype(np.float32)
    return white


def isolation(pool: Pool, distances: Singles) -> Floats:
    """The kernel of the windows' shares among the most isolated rows: those far from the nearest rows of other units.

    A few odd documents hardly move the mean density; among the most isolated per cent they are the majority.
    """
    far = _nearest(pool, distances)
    rank = np.argsort(np.argsort(-far, kind="stable"), kind="stable")
    tails = np.stack([(rank < max(1, share * len(far))) / np.sqrt(share) for share in TAILS], axis=1)
    shares = pool.averaged(tails)
    kernel: Floats = shares @ shares.T
    return kernel


def _nearest(pool: Pool, distances: Singles) -> Floats:
    """(rows,): the mean squared distance to the NEIGHBOURS nearest rows of other units."""
    nearest = np.empty(len(distances))
    count = min(NEIGHBOURS, len(distances) - int(pool.counts.max()))
    for start, rows in zip(pool.starts, pool.counts, strict=True):
        own = slice(start, start + rows)
        block = distances[own].copy()
        block[:, own] = np.inf
        nearest[own] = np.partition(block, count - 1, axis=1)[:, :count].mean(axis=1)
    return nearest


def scatter(pool: Pool, vectors: Singles, seed: int) -> Floats:
    """The kernel of how far rows are from the centre of their cluster, beside the other rows of that cluster."""
    counts = sorted({_clusters(pool, count) for count in SCATTER_CLUSTERS})
    rows = np.sum([_away(vectors, clustered(vectors, count, seed)) for count in counts], axis=0)
    found = pool.averaged(rows)
    return np.outer(found, found)


def _away(vectors: Singles, member: Ints) -> Floats:
    """(rows,): the logarithm of the squared distance to the centre of the cluster's other rows, less the cluster's mean.

    Some topics are wider than others; how many rows each has is no scatter. A row alone in its cluster has 0.
    """
    counts = np.bincount(member)
    centres = np.stack([vectors[member == cluster].mean(axis=0) for cluster in range(len(counts))])
    others = counts[member] / np.maximum(counts[member] - 1, 1)
    away = np.log(((vectors - centres[member]) ** 2).sum(axis=1) * others**2 + FAINT)
    found: Floats = away - (np.bincount(member, weights=away) / counts)[member]
    return found


def _clusters(pool: Pool, most: int) -> int:
    return max(2, min(most, len(pool.counts) // UNITS_A_CLUSTER))


def occupancy(pool: Pool, vectors: Singles, seed: int) -> Scan:
    """The scan of the units' shares in clusters of rows, and of which clusters of units they are in."""
    means = pool.averaged(vectors)
    units = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), FAINT)
    shares = [pool.averaged(_held(clustered(vectors, _clusters(pool, CLUSTERS), seed)))]
    shares += [_held(clustered(units, _clusters(pool, count), seed)) for count in UNIT_CLUSTERS]
    return Scan(_standardised(shares))


def _held(member: Ints) -> Floats:
    return np.eye(int(member.max()) + 1)[member]


def _standardised(parts: Sequence[Floats]) -> Floats:
    """Beside each other, each column with mean 0 and variance 1; without those that are the same everywhere."""
    features = np.concatenate(parts, axis=1)
    features = features - features.mean(axis=0)
    spread = features.std(axis=0)
    kept: Floats = features[:, spread > 0] / spread[spread > 0]
    return kept


def clustered(vectors: Rows, count: int, seed: int) -> Ints:
    """(rows,): the cluster of each, at most `count`, none empty, by Lloyd's k-means from k-means++ centres."""
    rng = np.random.default_rng([seed, 3])
    rows = vectors.astype(np.float64)
    centres = rows[[int(rng.integers(len(rows)))]]
    nearest = ((rows - centres[0]) ** 2).sum(axis=1)
    while len(centres) < count and nearest.sum() > 0:
        chosen = rows[int(rng.choice(len(rows), p=nearest / nearest.sum()))]
        centres = np.vstack([centres, chosen])
        nearest = np.minimum(nearest, ((rows - chosen) ** 2).sum(axis=1))
    member = np.zeros(len(rows), dtype=np.int64)
    for _ in range(ROUNDS):
        member = np.argmax(rows @ centres.T - (centres * centres).sum(axis=1) / 2, axis=1)
        held = np.eye(len(centres))[member]
        counts = held.sum(axis=0)
        moved = held.T @ rows / np.maximum(counts, 1)[:, None]
        centres = np.where(counts[:, None] > 0, moved, centres)
    return np.unique(member, return_inverse=True)[1].astype(np.int64)

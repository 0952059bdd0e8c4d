"""Windows of real vectors with a known drift, its magnitude drawn by the seed.

A topic is a k-means cluster of the population's documents. Each trial draws a reference and a current window without a
common document and changes the current one:

topic    10 % (8 to 12) of its documents come from one topic, which thereby has that much more than its share
new      5 % (4 to 6) come from a topic of another corpus, of which the reference has nothing
noise    every vector moves away from its topic's centre by 6 % (5 to 7) of its distance to it
shift    every vector moves by one common vector, SHIFT of the mean distance to the topics' centres long
garbage  3 % (2.5 to 3.5) are no text: vectors that point anywhere
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.drift.engine import Window
from pipelines.drift.statistics import clustered

Vectors = npt.NDArray[np.float32]  # (documents, passages, dim) unit rows
Rows = npt.NDArray[np.int64]
SHIFT = (0.05, 0.07)
INJECTED = "injected"
LEAST_TOPIC = 0.02  # of the documents: smaller clusters are no topic


@dataclass(frozen=True, slots=True)
class Trial:
    """Two windows, and the source of every document of the current one."""

    reference: Window
    current: Window
    source_of: Mapping[str, str]
    source: str | None  # that brought the drift, where it is one


@dataclass(frozen=True, slots=True)
class World:
    """What trials draw from."""

    vectors: Vectors
    topics: Rows  # (documents,)
    centres: Vectors  # (topics, dim)
    elsewhere: Vectors
    elsewhere_topics: Rows

    @staticmethod
    def of(vectors: Vectors, elsewhere: Vectors, topics: int, elsewhere_topics: int, seed: int) -> World:
        """Cluster both populations."""
        member = clustered(vectors.mean(axis=1), topics, seed)
        centres = [vectors[member == topic].mean(axis=(0, 1)) for topic in range(topics)]
        return World(
            vectors, member, np.stack(centres), elsewhere, clustered(elsewhere.mean(axis=1), elsewhere_topics, seed)
        )

    @property
    def residual(self) -> float:
        """The mean distance of a vector to its topic's centre."""
        return float(np.linalg.norm(self.vectors - self.centres[self.topics][:, None], axis=2).mean())


def trial(world: World, kind: str, size: int, rng: np.random.Generator) -> Trial:
    """A trial of a kind, `null` among them, with `size` documents a window."""
    return _KINDS[kind](world, size, rng)


def _null(world: World, size: int, rng: np.random.Generator) -> Trial:
    reference, current = _draw(len(world.vectors), size, rng)
    return _trial(world, reference, world.vectors[current], world.topics[current], None)


def _topic(world: World, size: int, rng: np.random.Generator) -> Trial:
    more = round(size * rng.uniform(0.08, 0.12))
    topic = rng.choice(_topics(world.topics, more))
    inside = rng.permutation(np.flatnonzero(world.topics == topic))
    rest = rng.permutation(np.setdiff1d(np.arange(len(world.topics)), inside[:more]))
    current = np.concatenate([rest[size : 2 * size - more], inside[:more]])
    return _trial(world, rest[:size], world.vectors[current], world.topics[current], f"topic {topic}")


def _new(world: World, size: int, rng: np.random.Generator) -> Trial:
    more = round(size * rng.uniform(0.04, 0.06))
    topic = rng.choice(_topics(world.elsewhere_topics, more))
    inside = rng.permutation(np.flatnonzero(world.elsewhere_topics == topic))[:more]
    return _replaced(world, size, rng, world.elsewhere[inside])


def _garbage(world: World, size: int, rng: np.random.Generator) -> Trial:
    more = round(size * rng.uniform(0.025, 0.035))
    return _replaced(world, size, rng, _unit(rng.normal(size=(more, *world.vectors.shape[1:]))))


def _replaced(world: World, size: int, rng: np.random.Generator, injected: Vectors) -> Trial:
    reference, current = _draw(len(world.vectors), size, rng)
    current = current[len(injected) :]
    topics = np.concatenate([world.topics[current], np.full(len(injected), -1)])
    return _trial(world, reference, np.concatenate([world.vectors[current], injected]), topics, INJECTED)


def _noise(world: World, size: int, rng: np.random.Generator) -> Trial:
    reference, current = _draw(len(world.vectors), size, rng)
    now, topics = world.vectors[current], world.topics[current]
    away = now - world.centres[topics][:, None]
    return _trial(world, reference, _unit(now + rng.uniform(0.05, 0.07) * away), topics, None)


def _shift(world: World, size: int, rng: np.random.Generator) -> Trial:
    reference, current = _draw(len(world.vectors), size, rng)
    step = _unit(rng.normal(size=(world.vectors.shape[2],))) * world.residual * rng.uniform(*SHIFT)
    return _trial(world, reference, _unit(world.vectors[current] + step), world.topics[current], None)


_KINDS: dict[str, Callable[[World, int, np.random.Generator], Trial]] = {
    "null": _null,
    "topic": _topic,
    "new": _new,
    "noise": _noise,
    "shift": _shift,
    "garbage": _garbage,
}
DRIFTS = tuple(kind for kind in _KINDS if kind != "null")


def _draw(documents: int, size: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    drawn = rng.permutation(documents)[: 2 * size]
    return drawn[:size], drawn[size:]


def _topics(member: Rows, least: int) -> Rows:
    """The topics that have enough documents."""
    sizes = np.bincount(member)
    return np.flatnonzero(sizes >= max(least, LEAST_TOPIC * len(member)))


def _trial(world: World, reference: Rows, current: Vectors, topics: Rows, source: str | None) -> Trial:
    names = [f"new {number}" for number in range(len(current))]
    labels = [INJECTED if topic < 0 else f"topic {topic}" for topic in topics]
    return Trial(
        _window(world.vectors[reference], [f"old {row}" for row in reference]),
        _window(current, names),
        dict(zip(names, labels, strict=True)),
        source,
    )


def _window(vectors: Vectors, names: list[str]) -> Window:
    passages = vectors.shape[1]
    return Window(vectors.reshape(-1, vectors.shape[2]), [name for name in names for _ in range(passages)])


def _unit(vectors: npt.NDArray[np.floating]) -> Vectors:
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    return unit

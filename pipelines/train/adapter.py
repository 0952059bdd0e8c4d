"""Fits a query adapter: a linear map of question vectors, learned from pairs in seconds, without a vector rewritten.

Every question is drawn towards its passage and away from all others at hand (a softmax over them, as in InfoNCE, which needs
no large batch because the passages' vectors are given). The map is held near the identity, and what is returned lies between
the two: where is chosen by nDCG@10 on questions that were not fitted, among the places that lose nothing on replayed ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.errors import FailRun, NothingLearned
from pipelines.evaluate import significance

Matrix = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
TOP = 10
CANDIDATES = 8192  # passages that one step compares with
LEAST = 20  # pairs; fewer say nothing about 384 dimensions
STEPS_OF_MIXING = tuple(step / 10 for step in range(11))
ALPHA = 0.05
TOLERATED = 0.002  # of nDCG@10 on the replayed questions


@dataclass(frozen=True, slots=True)
class Passages:
    """(m, dim) unit vectors, and the number of the document that each is of."""

    vectors: Matrix
    documents: Numbers


@dataclass(frozen=True, slots=True)
class Questions:
    """(n, dim) unit vectors as the embedder gives them; for each the row of its passage, and how much it is believed."""

    vectors: Matrix
    passage: Numbers
    weights: Matrix

    def __len__(self) -> int:
        return len(self.passage)


@dataclass(frozen=True, slots=True)
class Settings:
    """How it is fitted. `pull` holds the map near the identity, `scale` is the inverse temperature of the softmax."""

    epochs: int = 25
    batch: int = 256
    rate: float = 1e-3
    scale: float = 20.0
    pull: float = 30.0
    seconds: float = 60.0  # of fitting, at most; what was learned until then is kept
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Point:
    """One epoch: mean loss, and nDCG@10 on the questions that are not fitted."""

    epoch: int
    loss: float
    validation: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """`weight` (dim, dim) and `bias` (dim,) after mixing; `share` 0 is the identity: nothing was learned."""

    weight: Matrix
    bias: Matrix
    share: float
    before: float  # nDCG@10 on validation
    after: float
    bound: float  # lower 95 % bound of the gain on validation, by document
    replay_before: float | None
    replay_after: float | None
    curve: tuple[Point, ...]
    stopped: str = ""  # why before the last epoch


def fit(
    passages: Passages,
    fitted: Questions,
    validation: Questions,
    replay: Questions | None = None,
    settings: Settings = Settings(),
    report: Callable[[Point], None] = lambda _: None,
) -> Fitted:
    """The adapter, and what it does to questions that it was not fitted to.

    `replay` are questions of what the model is good at already. Raises FailRun for too few pairs, vectors that are no
    numbers and a loss that is none.
    """
    _check(passages, fitted, validation, replay)
    dim = passages.vectors.shape[1]
    best = _Best(
        np.eye(dim, dtype=np.float32), np.zeros(dim, dtype=np.float32), ndcg(validation.vectors, validation, passages)
    )
    began, curve, stopped = time.monotonic(), [], ""
    for epoch, loss, weight, bias in epochs(passages, fitted, settings):
        value = ndcg(moved(validation.vectors, weight, bias), validation, passages)
        point = Point(epoch, loss, value, time.monotonic() - began)
        curve.append(point)
        report(point)
        best = best.better(weight, bias, point.validation)
        if point.seconds > settings.seconds and point.epoch < settings.epochs:
            stopped = f"its {settings.seconds:g} seconds were used up after {point.epoch} of {settings.epochs} epochs"
            break
    return _mixed(best, passages, validation, replay, tuple(curve), stopped)


def mixed(weight: Matrix, bias: Matrix, share: float) -> tuple[Matrix, Matrix]:
    """The map at `share` of the way from the identity."""
    identity = np.eye(len(bias), dtype=np.float32)
    return np.asarray(identity + share * (weight - identity), np.float32), np.asarray(share * bias, np.float32)


def moved(questions: Matrix, weight: Matrix, bias: Matrix) -> Matrix:
    """(n, dim) unit rows: question vectors seen through the map."""
    return _unit(questions @ weight.T + bias)


def ndcg(vectors: Matrix, questions: Questions, passages: Passages) -> float:
    """Mean nDCG@10 by document of exact search among the passages; a document counts where its best passage stands."""
    return float(_each(vectors, questions, passages).mean()) if len(questions) else 0.0


def _each(vectors: Matrix, questions: Questions, passages: Passages) -> npt.NDArray[np.float64]:
    """(n,) nDCG@10."""
    found = np.zeros(len(questions))
    for start in range(0, len(questions), 512):
        rows = slice(start, start + 512)
        scores = vectors[rows] @ passages.vectors.T
        own = passages.documents[questions.passage[rows]]
        same = passages.documents[None, :] == own[:, None]
        best = np.where(same, scores, -np.inf).max(axis=1)
        for row in range(len(own)):
            ahead = np.unique(passages.documents[(scores[row] > best[row]) & ~same[row]])
            found[start + row] = 1 / np.log2(len(ahead) + 2) if len(ahead) < TOP else 0.0
    return found


@dataclass(frozen=True, slots=True)
class _Best:
    """The best epoch so far, by validation."""

    weight: Matrix
    bias: Matrix
    value: float

    def better(self, weight: Matrix, bias: Matrix, value: float) -> _Best:
        return _Best(weight.copy(), bias.copy(), value) if value > self.value else self


def _check(passages: Passages, fitted: Questions, validation: Questions, replay: Questions | None) -> None:
    if len(fitted) < LEAST or len(validation) < LEAST // 2:
        raise NothingLearned(
            f"{len(fitted)} pairs to fit and {len(validation)} to validate; a query adapter needs at least {LEAST} and "
            f"{LEAST // 2}: mine or import more pairs"
        )
    for matrix in (passages.vectors, fitted.vectors, validation.vectors, *(() if replay is None else (replay.vectors,))):
        if not np.isfinite(matrix).all():
            raise FailRun("a vector to fit the adapter to holds a value that is no number; nothing was learned from it")


def epochs(
    passages: Passages, fitted: Questions, settings: Settings = Settings(), start: tuple[Matrix, Matrix] | None = None
) -> Iterator[tuple[int, float, Matrix, Matrix]]:
    """(epoch, mean loss, weight, bias) after each epoch of Adam over batches, from the identity or from `start`.

    The pull is towards the identity wherever it starts. Raises FailRun for a loss that is no number.
    """
    random = np.random.default_rng(settings.seed)
    dim = passages.vectors.shape[1]
    identity = np.vstack([np.eye(dim, dtype=np.float32), np.zeros((1, dim), np.float32)])  # weight transposed, then bias
    values = identity if start is None else np.vstack([start[0].T, start[1][None]])
    first, second, step = np.zeros_like(values), np.zeros_like(values), 0
    for epoch in range(1, settings.epochs + 1):
        losses, order = [], random.permutation(len(fitted))
        for at in range(0, len(order), settings.batch):
            rows = order[at : at + settings.batch]
            loss, gradient = _gradient(values, passages, fitted, rows, random, settings.scale)
            if not np.isfinite(loss):
                raise FailRun(f"the loss of epoch {epoch} is {loss}; nothing was learned: look at the pairs' vectors")
            losses.append(loss)
            gradient += settings.pull * (values - identity) / dim
            step += 1
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            rate = settings.rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            values = np.asarray(values - rate * first / (np.sqrt(second) + 1e-8), np.float32)
        yield epoch, float(np.mean(losses)), np.ascontiguousarray(values[:-1].T), values[-1]


def _gradient(
    values: Matrix, passages: Passages, fitted: Questions, rows: Numbers, random: np.random.Generator, scale: float
) -> tuple[float, Matrix]:
    """Weighted mean loss of a batch, and its derivative by `values`."""
    asked = np.hstack([fitted.vectors[rows], np.ones((len(rows), 1), np.float32)])
    through = asked @ values
    lengths = np.linalg.norm(through, axis=1, keepdims=True)
    unit = through / lengths
    against = _candidates(len(passages.documents), fitted.passage[rows], random)
    others = passages.vectors[against]
    scores = scale * (unit @ others.T)
    # Other passages of the same document may answer too: they are neither drawn near nor pushed away.
    same = passages.documents[against][None, :] == passages.documents[fitted.passage[rows]][:, None]
    own = against[None, :] == fitted.passage[rows][:, None]
    scores[same & ~own] = -np.inf
    scores -= scores.max(axis=1, keepdims=True)
    odds = np.exp(scores)
    odds /= odds.sum(axis=1, keepdims=True)
    weights = fitted.weights[rows] / fitted.weights[rows].sum()
    chance = np.where(own, odds, 0).sum(axis=1)
    loss = float(-(weights * np.log(np.maximum(chance, 1e-30))).sum())
    by_score = (odds - own) * weights[:, None] * scale
    by_unit = by_score @ others
    by_through = (by_unit - unit * (by_unit * unit).sum(axis=1, keepdims=True)) / lengths
    return loss, np.asarray(asked.T @ by_through, np.float32)


def _candidates(count: int, positive: Numbers, random: np.random.Generator) -> Numbers:
    """All passages, or as many as one step compares with, the batch's own among them."""
    if count <= CANDIDATES:
        return np.arange(count)
    return np.union1d(np.unique(positive), random.choice(count, CANDIDATES, replace=False))


def _mixed(
    best: _Best,
    passages: Passages,
    validation: Questions,
    replay: Questions | None,
    curve: tuple[Point, ...],
    stopped: str,
) -> Fitted:
    """The share of the way with the best validation among those that keep what the replayed questions find."""
    tried = []
    for share in STEPS_OF_MIXING:
        weight, bias = mixed(best.weight, best.bias, share)
        kept = None if replay is None else ndcg(moved(replay.vectors, weight, bias), replay, passages)
        tried.append((ndcg(moved(validation.vectors, weight, bias), validation, passages), share, kept))
    before, _, kept_before = tried[0]
    allowed = [entry for entry in tried if kept_before is None or (entry[2] or 0.0) >= kept_before - TOLERATED]
    after, share, kept_after = max(allowed, key=lambda entry: (entry[0], -entry[1]))
    weight, bias = mixed(best.weight, best.bias, share)
    bound = _bound(moved(validation.vectors, weight, bias), validation, passages)
    return Fitted(weight, bias, share, before, after, bound, kept_before, kept_after, curve, stopped)


def _bound(vectors: Matrix, questions: Questions, passages: Passages) -> float:
    """Lower 95 % bound of the mean gain; questions about one document count together."""
    gains = _each(vectors, questions, passages) - _each(questions.vectors, questions, passages)
    documents = passages.documents[questions.passage]
    pairs = significance.paired(
        {str(row): float(gain) for row, gain in enumerate(gains)}, {str(row): str(one) for row, one in enumerate(documents)}
    )
    return significance.lower_bound(pairs, alpha=ALPHA)


def _unit(matrix: Matrix) -> Matrix:
    lengths: Matrix = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.maximum(lengths, 1e-12), np.float32)

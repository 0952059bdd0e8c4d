"""Fitting a query adapter: it learns a planted map, keeps what is replayed, and invents nothing from noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.errors import FailRun
from pipelines.train import adapter
from pipelines.train.adapter import Passages, Questions, Settings

DIM = 24
QUICK = Settings(epochs=30, batch=64, rate=5e-3, pull=0.3)


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def corpus(count: int = 400, seed: int = 1) -> Passages:
    return Passages(unit(np.random.default_rng(seed).standard_normal((count, DIM))), np.arange(count))


def asked(passages: Passages, rows: range, turn: np.ndarray, noise: float = 0.4, seed: int = 2) -> Questions:
    """Questions near their passages, seen through `turn`."""
    near = passages.vectors[rows] + noise * np.random.default_rng(seed).standard_normal((len(rows), DIM)) / np.sqrt(DIM)
    return Questions(unit(near @ turn.T), np.asarray(rows), np.ones(len(rows), np.float32))


def turned(seed: int = 3) -> np.ndarray:
    return np.linalg.qr(np.eye(DIM) + 0.35 * np.random.default_rng(seed).standard_normal((DIM, DIM)))[0]


def test_a_planted_map_is_learned_for_questions_that_were_not_fitted() -> None:
    passages, turn = corpus(), turned()
    fitted = adapter.fit(passages, asked(passages, range(250), turn), asked(passages, range(250, 320), turn), settings=QUICK)
    assert fitted.after > fitted.before + 0.2
    assert fitted.share > 0
    fresh = asked(passages, range(320, 400), turn, seed=9)
    moved = unit(fresh.vectors @ fitted.weight.T + fitted.bias)
    assert adapter.ndcg(moved, fresh, passages) > adapter.ndcg(fresh.vectors, fresh, passages) + 0.2
    assert [point.epoch for point in fitted.curve] == list(range(1, 31))
    assert fitted.curve[-1].loss < fitted.curve[0].loss


def test_the_same_seed_gives_the_same_adapter() -> None:
    passages, turn = corpus(), turned()
    one, two = (
        adapter.fit(passages, asked(passages, range(100), turn), asked(passages, range(100, 130), turn), settings=QUICK)
        for _ in range(2)
    )
    assert np.array_equal(one.weight, two.weight)
    assert one.share == two.share


def test_shuffled_pairs_teach_nothing() -> None:
    passages = corpus()
    right = asked(passages, range(200), np.eye(DIM))
    shuffled = replace(right, passage=np.random.default_rng(4).permutation(right.passage))
    fitted = adapter.fit(passages, shuffled, asked(passages, range(200, 260), np.eye(DIM)), settings=QUICK)
    assert fitted.after >= fitted.before
    assert fitted.share <= 0.2


def test_what_is_replayed_bounds_how_far_it_goes() -> None:
    passages, turn = corpus(), turned()
    fitted, validation = asked(passages, range(250), turn), asked(passages, range(250, 320), turn)
    replay = asked(passages, range(320, 400), np.eye(DIM), noise=1.2)
    free = adapter.fit(passages, fitted, validation, settings=QUICK)
    held = adapter.fit(passages, fitted, validation, replay, QUICK)
    assert held.replay_before is not None
    assert held.replay_after is not None
    assert held.replay_after >= held.replay_before - adapter.TOLERATED
    assert held.share < free.share


def test_a_pair_that_is_not_believed_moves_nothing() -> None:
    passages, turn = corpus(), turned()
    right = asked(passages, range(200), turn)
    wrong = replace(right, passage=np.roll(right.passage, 7), weights=np.full(200, 1e-6, np.float32))
    both = Questions(
        np.vstack([right.vectors, wrong.vectors]),
        np.concatenate([right.passage, wrong.passage]),
        np.concatenate([right.weights, wrong.weights]),
    )
    validation = asked(passages, range(200, 260), turn)
    assert (
        adapter.fit(passages, both, validation, settings=QUICK).after
        > 0.9 * adapter.fit(passages, right, validation, settings=QUICK).after
    )


def test_passages_of_the_same_document_are_not_pushed_away() -> None:
    vectors = unit(np.random.default_rng(1).standard_normal((60, DIM)))
    passages = Passages(np.vstack([vectors, vectors]), np.tile(np.arange(60), 2))  # every passage twice in its document
    questions = Questions(vectors[:40], np.arange(40), np.ones(40, np.float32))
    values = np.vstack([np.eye(DIM, dtype=np.float32), np.zeros((1, DIM), np.float32)])
    twice, _ = adapter._gradient(values, passages, questions, np.arange(40), np.random.default_rng(1), 20.0)
    once, _ = adapter._gradient(
        values, Passages(vectors, np.arange(60)), questions, np.arange(40), np.random.default_rng(1), 20.0
    )
    assert twice > once  # others weigh twice, the document's own second passage not at all
    alone = Passages(np.vstack([vectors, vectors[:40]]), np.concatenate([np.arange(60), np.arange(40)]))
    assert adapter._gradient(values, alone, questions, np.arange(40), np.random.default_rng(1), 20.0)[0] < twice


def test_the_gradient_is_the_derivative_of_the_loss() -> None:
    passages = corpus(30)
    questions = asked(passages, range(20), turned())
    values = np.vstack([np.eye(DIM), np.full((1, DIM), 0.01)]).astype(np.float32)
    values += 0.05 * np.random.default_rng(5).standard_normal(values.shape).astype(np.float32)

    def loss(at: np.ndarray) -> float:
        return adapter._gradient(at, passages, questions, np.arange(20), np.random.default_rng(1), 5.0)[0]

    _, gradient = adapter._gradient(values, passages, questions, np.arange(20), np.random.default_rng(1), 5.0)
    direction = np.random.default_rng(6).standard_normal(values.shape).astype(np.float32)
    step = 1e-2
    numeric = (loss(values + step * direction) - loss(values - step * direction)) / (2 * step)
    assert numeric == pytest.approx(float((gradient * direction).sum()), rel=0.02)


def test_few_pairs_and_broken_vectors_are_refused() -> None:
    passages = corpus(100)
    few = asked(passages, range(10), np.eye(DIM))
    with pytest.raises(FailRun, match="10 pairs to fit"):
        adapter.fit(passages, few, asked(passages, range(10, 40), np.eye(DIM)))
    broken = asked(passages, range(40), np.eye(DIM))
    broken.vectors[3, 4] = np.nan
    with pytest.raises(FailRun, match="no number"):
        adapter.fit(passages, broken, asked(passages, range(40, 60), np.eye(DIM)))


def test_time_ends_it_with_what_was_learned() -> None:
    passages, turn = corpus(), turned()
    settings = replace(QUICK, seconds=0.0)
    fitted = adapter.fit(
        passages, asked(passages, range(250), turn), asked(passages, range(250, 320), turn), settings=settings
    )
    assert len(fitted.curve) == 1
    assert "used up after 1 of 30" in fitted.stopped
    assert fitted.after >= fitted.before

"""Federated fitting: sites learn together what each shows a part of, and one bad site neither breaks nor leads them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipelines.errors import FailRun, FixConfiguration
from pipelines.train import adapter, federated
from pipelines.train.adapter import Matrix, Passages, Questions
from pipelines.train.federated import LeftOut, Round, Terms, Update

DIM = 24
TERMS = Terms(clip=2.0, epochs=5, rate=2e-2)
ROUNDS = 6


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def site(seed: int, count: int = 260) -> tuple[Passages, Questions, Questions]:
    """Passages of its own, and questions that see them through the turn that all sites share: to fit, and held out."""
    random = np.random.default_rng(seed)
    turn = np.linalg.qr(np.eye(DIM) + 0.35 * np.random.default_rng(3).standard_normal((DIM, DIM)))[0]
    passages = Passages(unit(random.standard_normal((count, DIM))), np.arange(count))
    asked = unit((passages.vectors + 0.4 * random.standard_normal((count, DIM)) / np.sqrt(DIM)) @ turn.T)
    half = count // 2
    parts = [
        Questions(asked[rows], rows, np.ones(len(rows), np.float32)) for rows in (np.arange(half), np.arange(half, count))
    ]
    return passages, parts[0], parts[1]


def first(terms: Terms = TERMS) -> Round:
    return federated.start("f" * 64, DIM, terms)


def given(current: Round, name: str, seed: int, count: int = 260) -> Update:
    passages, fitted, _ = site(seed, count)
    return federated.contribute(current, name, passages, fitted, np.random.default_rng(seed), seed=current.number)


def better(current: Round, seed: int) -> float:
    """Gain in nDCG@10 on what a site held out."""
    passages, _, held_out = site(seed)
    through = adapter.moved(held_out.vectors, current.weight, current.bias)
    return adapter.ndcg(through, held_out, passages) - adapter.ndcg(held_out.vectors, held_out, passages)


def made(current: Round, name: str, weight: Matrix, pairs: int = 100) -> Update:
    return Update(current.number, current.base, current.of, name, pairs, weight, np.zeros(DIM, np.float32))


def test_both_sites_and_one_that_never_took_part_gain() -> None:
    current = first()
    for _ in range(ROUNDS):
        current = federated.average(current, [given(current, "north", 1), given(current, "south", 2)])
    assert current.number == ROUNDS + 1
    assert min(better(current, seed) for seed in (1, 2, 9)) > 0.15
    assert [merged.shares for merged in current.history] == [{"north": 0.5, "south": 0.5}] * ROUNDS
    assert current.history[0].moved > 0


def test_a_map_that_goes_on_is_the_map_that_never_stopped_but_for_its_momentum() -> None:
    passages, fitted, held_out = site(1)
    settings = adapter.Settings(epochs=4, rate=2e-2)
    *_, (_, whole, weight, bias) = adapter.epochs(passages, fitted, settings)
    *_, (_, began, *half) = adapter.epochs(passages, fitted, replace(settings, epochs=2))
    *_, (_, resumed, again, _) = adapter.epochs(passages, fitted, replace(settings, epochs=2), (half[0], half[1]))
    assert resumed < began
    assert resumed == pytest.approx(whole, rel=0.1)
    assert np.linalg.norm(again - weight) < 0.5 * np.linalg.norm(weight - np.eye(DIM))


def test_an_update_is_as_long_as_the_clip_at_most() -> None:
    loose, tight = (given(first(replace(TERMS, clip=clip)), "north", 1) for clip in (1000.0, 0.5))
    assert loose.norm > 0.5
    assert tight.norm == pytest.approx(0.5, rel=1e-4)
    assert np.allclose(tight.weight * (loose.norm / 0.5), loose.weight, atol=1e-4)


def test_noise_has_the_stated_size_and_differs_every_time() -> None:
    terms = replace(TERMS, noise=0.5)
    passages, fitted, _ = site(1)
    silent = federated.contribute(first(), "north", passages, fitted, np.random.default_rng(1))
    noisy = [federated.contribute(first(terms), "north", passages, fitted, np.random.default_rng()) for _ in range(2)]
    assert float(np.std(noisy[0].weight - silent.weight)) == pytest.approx(0.5 * terms.clip, rel=0.1)
    assert not np.array_equal(noisy[0].weight, noisy[1].weight)
    assert not federated.average(first(terms), [noisy[0]]).history[0].left_out


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"round": 2}, "of round 2, not 1"),
    ({"base": "0" * 64}, "another map or other terms"),
    ({"of": "e" * 64}, "of embedder eeeeeeeeeeee, not ffffffffffff"),
    ({"pairs": 0}, "0 pairs"),
    ({"pairs": 2**60}, "pairs"),
    ({"weight": np.zeros((3, 3), np.float32)}, r"its shape is (3, 3) and (24,)"),
    ({"bias": np.full(DIM, np.inf, np.float32)}, "no finite number"),
    ({"weight": np.full((DIM, DIM), np.nan, np.float32)}, "no finite number"),
    ({"weight": np.full((DIM, DIM), 1.0, np.float32)}, "its length 24 is above the clip, 2"),
    ({"weight": np.full((DIM, DIM), 1e38, np.float32)}, "above the clip"),
]


@pytest.mark.parametrize(("change", "reason"), WRONG, ids=[f"{next(iter(change))}-{reason}" for change, reason in WRONG])
def test_a_wrong_update_is_left_out_with_its_reason(change: dict[str, Any], reason: str) -> None:
    current = first()
    north, bad = given(current, "north", 1), replace(given(current, "south", 2), **change)
    following = federated.average(current, [north, bad], [LeftOut("x.safetensors", "unreadable")])
    alone = federated.average(current, [north])
    assert np.array_equal(following.weight, alone.weight)
    unread, left_out = following.history[0].left_out
    assert (unread.name, left_out.name) == ("x.safetensors", "south")
    assert reason in left_out.reason
    with pytest.raises(FailRun, match="0 sound updates of round 1, at least 1 are needed"):
        federated.average(current, [bad])


def test_a_site_counts_once() -> None:
    current = first()
    north = given(current, "north", 1)
    following = federated.average(current, [north, replace(north, pairs=9), given(current, "south", 2)])
    assert following.history[0].left_out == (LeftOut("north", "a second update of this site"),)
    assert following.history[0].shares == {"north": 0.5, "south": 0.5}


def test_no_site_outweighs_the_others_by_what_it_says_of_itself() -> None:
    current, zero = first(), np.zeros((DIM, DIM), np.float32)
    said = [made(current, name, zero, pairs) for name, pairs in (("a", 100), ("b", 300), ("c", 10**12))]
    shares = federated.average(current, said).history[0].shares
    assert shares == {"a": pytest.approx(1 / 7, abs=1e-4), "b": pytest.approx(3 / 7, abs=1e-4), "c": shares["b"]}
    assert set(federated.average(current, said[1:]).history[0].shares.values()) == {0.5}


def test_a_trimmed_mean_drops_the_extremes_of_every_number_and_needs_three() -> None:
    current = first(replace(TERMS, trimmed=True))
    updates = [
        made(current, name, np.full((DIM, DIM), value, np.float32))
        for name, value in (("a", 0.01), ("b", 0.03), ("c", 0.02), ("d", -0.08))
    ]
    assert np.allclose(federated.average(current, updates).weight, np.eye(DIM) + 0.015, atol=1e-6)
    assert np.allclose(federated.average(current, updates[1:]).weight, np.eye(DIM) + 0.02, atol=1e-6)
    with pytest.raises(FailRun, match="2 sound updates of round 1, at least 3"):
        federated.average(current, updates[:2])


def test_a_site_that_pulls_the_other_way_is_outvoted() -> None:
    current = honest = first(replace(TERMS, trimmed=True))
    for _ in range(ROUNDS):
        good = [given(current, "north", 1), given(current, "south", 2)]
        away = -np.sum([update.weight for update in good], axis=0)
        away *= TERMS.clip / np.linalg.norm(away)
        current = federated.average(current, [*good, made(current, "bad", np.asarray(away, np.float32), 10**9)])
        honest = federated.average(honest, [given(honest, name, seed) for name, seed in (("n", 1), ("s", 2), ("w", 4))])
    for seed in (1, 2):
        assert better(current, seed) > 0.8 * better(honest, seed)


def test_too_few_pairs_broken_vectors_and_names_are_refused() -> None:
    with pytest.raises(FailRun, match="15 pairs to fit at site north"):
        given(first(), "north", 1, count=30)
    passages, fitted, _ = site(1)
    fitted.vectors[0, 0] = np.nan
    with pytest.raises(FailRun, match="no number"):
        federated.contribute(first(), "north", passages, fitted, np.random.default_rng(1))
    with pytest.raises(FixConfiguration, match="no name for a site"):
        federated.contribute(first(), "a site\n", passages, fitted, np.random.default_rng(1))


@pytest.mark.parametrize(
    "terms", [Terms(clip=0), Terms(clip=math.nan), Terms(noise=-1), Terms(rate=2), Terms(epochs=0), Terms(epochs=10**9)]
)
def test_terms_that_nobody_can_keep_to_are_refused(terms: Terms) -> None:
    with pytest.raises(FixConfiguration):
        first(terms)


def test_epsilon_is_that_of_gaussian_mechanisms_together() -> None:
    # mu = 1: delta(epsilon) = Phi(-e + 1/2) - exp(e) Phi(-e - 1/2), which is 0.1269 at 1 (Dong, Roth and Su).
    assert federated.epsilon(2.0, 1, 0.12693674) == pytest.approx(1.0, abs=1e-5)
    assert federated.epsilon(4.0, 4, 1e-5) == pytest.approx(federated.epsilon(2.0, 1, 1e-5))
    assert federated.epsilon(2.0, 1, 1e-5) < 2 * math.sqrt(0.5 * math.log(1e5)) + 0.5  # what zCDP says, which is no less
    assert federated.epsilon(0.0, 3, 1e-5) == math.inf
    assert federated.epsilon(1.0, 0, 1e-5) == 0.0
    assert federated.epsilon(0.01, 12, 1e-5) > 1e5

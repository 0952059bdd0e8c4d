"""Weights in int8 stay close, and a tier that finds less than f32 is refused, with its figures, now and later."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from pipelines.embed import int8, labelled
from pipelines.embed.hashing import Hashing
from pipelines.errors import FixConfiguration


class Shuffled(Hashing):
    """Gives a share of the questions vectors of something else."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share, self.calls = share, 0

    def embed(self, texts: Sequence[str], *, query: bool = False) -> labelled.Matrix:
        self.calls += 1
        spoilt = int(len(texts) * self.share) if query else 0
        return super().embed([*(text[::-1] for text in texts[:spoilt]), *texts[spoilt:]])


@pytest.mark.parametrize("axis", [0, 1])
def test_rounded_weights_come_back_within_half_a_step(axis):
    weights = np.random.default_rng(1).normal(size=(30, 50)).astype(np.float32)
    weights[3] = weights[:, 4] = 0
    values, scales = int8.rounded(weights, axis)
    assert values.dtype == np.int8
    assert (np.abs(values * scales - weights) <= scales / 2 + 1e-7).all()


def test_the_labelled_set_is_large_enough_to_tell():
    cases = labelled.read(labelled.SAMPLE)
    assert len(cases.questions) == len(cases.answers) >= 150
    assert len(cases.passages) >= 200
    assert all(right and max(right) < len(cases.passages) for right in cases.answers)


def test_ndcg_counts_places():
    cases = labelled.Cases(("a", "b", "c"), ("1", "2"), (frozenset({0}), frozenset({1, 2})))
    passages, questions = np.eye(3, dtype=np.float32), np.array([[1, 0.5, 0], [0.9, 0.8, 0.1]], dtype=np.float32)
    second = (1 / np.log2(3) + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert labelled.ndcg(cases, passages, questions) == pytest.approx((1 + second) / 2)


def test_an_equal_tier_passes_and_its_report_is_kept(tmp_path):
    report, candidate = tmp_path / "report.json", Shuffled(0.0)
    int8.judge("tiny", candidate, Hashing(), report)
    assert json.loads(report.read_text())["share"] == 1.0
    calls = candidate.calls
    int8.judge("tiny", candidate, Hashing(), report)
    assert candidate.calls == calls
    report.write_text("{")  # damaged: asked again
    int8.judge("tiny", candidate, Hashing(), report)
    assert candidate.calls > calls


def test_a_tier_that_finds_less_is_refused_with_its_figures_at_every_opening(tmp_path):
    report, candidate = tmp_path / "report.json", Shuffled(0.3)
    for _ in range(2):
        with pytest.raises(FixConfiguration, match=r"tiny reaches nDCG@10 0\.\d+, \d+\.\d+% of f32's .*write tier: bf16"):
            int8.judge("tiny", candidate, Hashing(), report)
    assert candidate.calls == 2


def test_without_the_sample_nothing_can_be_judged(tmp_path):
    with pytest.raises(FixConfiguration, match=r"golden\.jsonl: missing"):
        labelled.read(tmp_path)

"""Which share the benchmark no longer represents: nothing for a fair sample, what is new otherwise, and "cannot tell"."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.evaluate import freshness
from pipelines.evaluate.freshness import Vectors

TOPICS = np.eye(12, dtype=np.float32)


def corpus(topics: list[int], seed: int = 1) -> tuple[Vectors, list[str]]:
    """Three passages a document near its topic."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(TOPICS[topics], 3, axis=0) + 0.2 * rng.normal(size=(3 * len(topics), 12)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows, [f"d{place}" for place in range(len(topics)) for _ in range(3)]


def measured(topics: list[int], benchmark: list[int], alarm: float = 0.3) -> freshness.Freshness:
    rows, names = corpus(topics)
    return freshness.unrepresented(rows, names, [f"d{place}" for place in benchmark], names, alarm=alarm)


def test_a_fair_sample_leaves_about_what_is_expected() -> None:
    found = measured([place % 6 for place in range(240)], list(range(60)))
    assert found.share is not None
    assert abs(found.share - found.expected) < 0.05
    assert not found.alarm


def test_topics_that_the_benchmark_never_saw_are_counted_and_alarm() -> None:
    found = measured([place % 6 if place < 150 else 6 + place % 6 for place in range(300)], list(range(60)))
    assert found.share == pytest.approx(0.5, abs=0.06)
    assert found.alarm
    assert "release a new version" in found.text()


def test_a_benchmark_of_the_whole_corpus_represents_it() -> None:
    found = measured([place % 6 for place in range(30)], list(range(30)))
    assert (found.share, found.alarm) == (0.0, False)


@pytest.mark.parametrize(
    ("topics", "benchmark", "said"),
    [
        ([0] * 30, [900], "the benchmark reaches 0 present documents"),
        ([0] * 12, list(range(11)), "the corpus has 12 documents"),
    ],
)
def test_what_cannot_be_told_is_said(topics: list[int], benchmark: list[int], said: str) -> None:
    found = measured(topics, benchmark)
    assert found.share is None
    assert said in found.text()


def test_vectors_that_are_not_finite_are_said() -> None:
    rows, names = corpus([0] * 30)
    rows[3] = np.nan
    found = freshness.unrepresented(rows, names, names[:40], names, alarm=0.3)
    assert (found.share, found.reason) == (None, "some vectors are not finite; run `millrace audit`")


def test_present_questions_are_measured_against_the_benchmarks() -> None:
    known, _ = corpus([place % 3 for place in range(40)])
    new, _ = corpus([5] * 20, seed=2)
    assert (freshness.unrepresented_questions(known[::2], known[1::2], alarm=0.3).share or 0) < 0.15
    assert freshness.unrepresented_questions(new, known, alarm=0.3).alarm
    assert freshness.unrepresented_questions(new[:3], known, alarm=0.3).share is None

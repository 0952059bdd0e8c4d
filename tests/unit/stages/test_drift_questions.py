"""What is told of questions: other subjects, farther passages, and when there are too few to tell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.drift import gap
from pipelines.stages import drift_questions
from pipelines.stages.drift_questions import GAP, NEARNESS, SUBJECTS, Asking, Told
from pipelines.store.questions import Asked

PASSAGES = np.random.default_rng(9).normal(size=(300, 8)).astype(np.float32) * 0.3 + np.eye(8, dtype=np.float32)[0]


def asked(count: int, near: float = 0.6, seed: int = 1) -> Asked:
    rng = np.random.default_rng(seed)
    names = tuple(f"question {seed}.{number}" for number in range(count))
    return Asked(names, (2,) * count, near + 0.05 * rng.normal(size=count), 2 * count, count)


def vectors(count: int, axis: int = 0, seed: int = 1) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    made: npt.NDArray[np.float32] = rng.normal(size=(count, 8)).astype(np.float32) * 0.3 + np.eye(8, dtype=np.float32)[axis]
    return made


def tell(asking: Asking, before: npt.NDArray[np.float32], now: npt.NDArray[np.float32]) -> Told:
    return drift_questions.tell(asking, before, now, PASSAGES, 999, {"asked": [1, 1]})


def test_the_same_questions_do_not_alarm() -> None:
    told = tell(Asking(asked(60), asked(50, seed=2)), vectors(60), vectors(50, seed=2))
    assert set(told.outcomes) == {SUBJECTS, NEARNESS, GAP}
    assert min(outcome.p or 0 for outcome in told.outcomes.values()) > 0.02
    assert told.notes == ()


def test_other_subjects_and_farther_passages_are_seen_apart() -> None:
    same, other = vectors(50, seed=2), vectors(50, axis=3, seed=2)
    told = tell(Asking(asked(60), asked(50, seed=2)), vectors(60), other)
    assert (told.outcomes[SUBJECTS].p, told.outcomes[GAP].p) == (0.001, 0.001)
    assert (told.outcomes[NEARNESS].p or 0) > 0.02
    assert told.found["gap"][1] > 2 * told.found["gap"][0]
    assert len(told.found["examples"]) == 5
    told = tell(Asking(asked(60), asked(50, 0.4, 2)), vectors(60), same)
    assert told.outcomes[NEARNESS].p == 0.001
    assert told.found["far"][1] > 0.9
    assert told.found["nearness"][0] == pytest.approx(0.6, abs=0.03)


def test_what_another_space_answered_is_not_compared_by_nearness() -> None:
    elsewhere = Asked(asked(60).questions, (1,) * 60, np.full(60, np.nan), 60, 60)
    told = tell(Asking(elsewhere, asked(50, seed=2)), vectors(60), vectors(50, seed=2))
    assert set(told.outcomes) == {SUBJECTS, GAP}
    assert told.notes[0].startswith("question_nearness: 0 earlier questions and 50 of the window")


def test_what_never_varies_is_no_test() -> None:
    flat = Asked(asked(20).questions, (1,) * 20, np.full(20, 0.5), 20, 20)
    assert NEARNESS not in tell(Asking(flat, flat), vectors(20), vectors(20)).outcomes


def test_few_questions_are_said_and_no_test() -> None:
    assert not Asking(asked(60), asked(7)).enough
    told = drift_questions.run(None, None, Asking(asked(60), asked(7)), PASSAGES, 999)  # type: ignore[arg-type]
    assert told.notes == ("cannot tell of questions: 60 different ones before the window and 7 in it, 8 of each needed",)
    assert (told.outcomes, told.found["asked"]) == ({}, [120, 14])


def test_the_gap_is_nothing_for_the_corpus_itself_and_grows_with_the_way() -> None:
    assert gap.distance(PASSAGES[:150], PASSAGES[150:]) < 0.02
    far = [gap.distance(vectors(80) * 0.3 + shift * np.eye(8)[1], PASSAGES) for shift in (0.2, 0.6, 1.5)]
    assert far == sorted(far)
    near, away = gap.density(np.stack([PASSAGES.mean(axis=0), PASSAGES.mean(axis=0) + 3]), PASSAGES)
    assert near > away

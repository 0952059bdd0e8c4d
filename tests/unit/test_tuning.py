"""The pure parts of fine-tuning: limits, settings, replay, what is believed, mixing and the choice of a mixture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import FixConfiguration
from pipelines.records import TrainingPair
from pipelines.train import merge
from pipelines.train.encoder_data import believed, evenly, rows
from pipelines.train.merge import Tried
from pipelines.train.run_folder import RunFolder
from pipelines.train.tuning import EncoderSettings, Limits, Progress


@pytest.mark.parametrize(
    ("limits", "steps", "seconds", "reached"),
    [
        (Limits(), 10**9, 1e9, ""),
        (Limits(steps=3), 2, 0.0, ""),
        (Limits(steps=3), 3, 0.0, "steps"),
        (Limits(seconds=10), 1, 9.0, ""),
        (Limits(seconds=10), 1, 9.5, "seconds"),  # the next step would end after it
        (Limits(cost=1.0, hour_price=3600.0), 1, 0.0, ""),
        (Limits(cost=1.0, hour_price=3600.0), 1, 0.5, "cost"),
        (Limits(cost=1.0), 1, 1e9, ""),  # a machine that costs nothing
    ],
)
def test_a_limit_leaves_room_for_one_more_step_or_ends(limits: Limits, steps: int, seconds: float, reached: str) -> None:
    assert limits.reached(steps, seconds, step_seconds=1.0) == reached


@pytest.mark.parametrize(
    "options",
    [{"batch": 1}, {"learning_rate": 0.0}, {"replay_share": 1.0}, {"in_pieces": 64}, {"epochs": 0}, {"max_tokens": 2}],
)
def test_settings_out_of_range_are_named(options: dict[str, float]) -> None:
    with pytest.raises(FixConfiguration, match=next(iter(options))):
        EncoderSettings(**options)  # type: ignore[arg-type]


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 50), max_size=6), st.integers(0, 200))
def test_replay_is_taken_evenly_and_never_more_than_there_is(sizes: dict[str, int], wanted: int) -> None:
    taken = evenly(sizes, wanted)
    assert sum(taken.values()) == min(wanted, sum(sizes.values()))
    assert all(0 < count <= sizes[name] for name, count in taken.items())
    full = [count for name, count in taken.items() if count < sizes[name]]
    assert not full or max(full) - min(full) <= 1


def test_a_pair_is_taken_with_the_probability_of_its_weight() -> None:
    pairs = [TrainingPair(f"q{number}", "p", "d", weight=0.3) for number in range(2000)]
    assert 520 < len(believed(pairs, 1)) < 680
    assert believed(pairs, 1) == believed(pairs, 1) != believed(pairs, 2)
    assert len(believed([TrainingPair(f"q{number}", "p", "d") for number in range(50)], 1)) == 50


def test_replay_makes_up_its_share() -> None:
    pairs = [TrainingPair(f"q{number}", "p", "d") for number in range(60)]
    replay = {"old": [TrainingPair(f"r{number}", "p", "d") for number in range(100)]}
    made = rows(pairs, replay, EncoderSettings(replay_share=0.25))
    assert {name: len(found) for name, found in made.items()} == {"pairs, 0 negatives": 60, "replay old, 0 negatives": 20}
    assert list(rows(pairs, replay, EncoderSettings(replay_share=0.0))) == ["pairs, 0 negatives"]


def test_mixing_is_linear_and_leaves_whole_numbers_alone() -> None:
    ours, theirs = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0])
    assert torch.equal(merge.mix(ours, theirs, 0.25), torch.tensor([0.25, 1.5]))
    assert merge.mix(ours, theirs, 0.0) is ours
    assert merge.mix(ours, theirs, 1.0) is theirs
    assert merge.mix(ours.half(), theirs.half(), 0.5).dtype == torch.float16
    assert torch.equal(merge.mix(torch.tensor([3]), torch.tensor([9]), 0.5), torch.tensor([3]))


@pytest.mark.parametrize(
    ("tried", "loss", "alpha"),
    [
        ([(0.0, 0.5, 0.9), (0.5, 0.7, 0.9), (1.0, 0.8, 0.8)], 0.0, 0.5),  # the best one forgets
        ([(0.0, 0.5, 0.9), (0.5, 0.7, 0.9), (1.0, 0.8, 0.8)], 0.1, 1.0),  # and may
        ([(0.0, 0.5, 0.9), (0.5, 0.4, 0.95), (1.0, 0.3, 0.9)], 0.0, 0.0),  # nothing was learned
        ([(0.0, 0.5, 0.9), (0.5, 0.7, 0.9), (1.0, 0.7, 0.9)], 0.0, 0.5),  # equal: nearest to the parent
        ([(0.0, 0.5, 0.9), (1.0, 0.9, 0.89)], 0.0, 0.0),
    ],
)
def test_the_best_mixture_that_forgets_nothing_is_chosen(
    tried: list[tuple[float, float, float]], loss: float, alpha: float
) -> None:
    assert merge.chosen([Tried(entry[0], entry[1], {"old": entry[2]}) for entry in tried], loss).alpha == alpha


def test_every_replay_set_counts_for_itself() -> None:
    tried = [Tried(0.0, 0.5, {"a": 0.9, "b": 0.5}), Tried(1.0, 0.9, {"a": 1.0, "b": 0.4})]
    assert merge.chosen(tried).alpha == 0.0


def test_the_curve_forgets_points_after_a_checkpoint_but_not_the_seconds(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", "one")
    for step in range(1, 6):
        run.add(Progress(step, 9, 0.1 * step, 1.0, 1e-5, 2.0 * step, 1))
    with (tmp_path / "run/progress.jsonl").open("a") as file:
        file.write('{"step": 6, "st')  # killed while it was written
    assert [point.step for point in run.curve()] == [1, 2, 3, 4, 5]
    assert run.begin_at(3) == 10.0
    assert [(point.step, point.seconds) for point in run.curve()] == [(1, 2.0), (2, 4.0), (3, 10.0)]


def test_only_a_sealed_checkpoint_counts(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", "one")
    for step in (1, 2, 3):
        folder = run.checkpoints / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        if step < 3:
            run.seal(step)
    (run.checkpoints / "checkpoint-2/model.safetensors").write_bytes(b"weighty")
    assert run.last() == run.checkpoints / "checkpoint-1"
    assert run.set_aside == ["checkpoint-3", "checkpoint-2"]

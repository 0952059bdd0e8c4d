"""Fine-tuning a small real model: the result serves, and killed, corrupt, broken or limited trainings end as promised."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from pipelines.config import Model
from pipelines.embed import open_embedder
from pipelines.embed.files import digest
from pipelines.errors import FailRun, FixConfiguration
from pipelines.records import TrainingPair
from pipelines.registry.folder import inspect
from pipelines.train import encoder, merge
from pipelines.train.tuning import EncoderSettings, Limits, Progress
from tests.contract import tiny_models

SETTINGS = EncoderSettings(batch=8, learning_rate=1e-3, checkpoint_steps=3)
ROOT = Path(__file__).resolve().parents[2]
WORDS = tiny_models.WORDS.split()


def _pairs(count: int, negatives: int = 0, seed: int = 1) -> list[TrainingPair]:
    rng = random.Random(seed)

    def text(size: int) -> str:
        return " ".join(rng.choices(WORDS, k=size))

    return [TrainingPair(text(4), text(8), "d", tuple(text(8) for _ in range(negatives))) for _ in range(count)]


PAIRS = [*_pairs(40, 1), *_pairs(12, 0, seed=2)]
REPLAY = {"golden": _pairs(30, 0, seed=3), "small": _pairs(4, 0, seed=4)}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model waits for its threads most of the time
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "parent"
    return tiny_models.build(folder, "bert", prompts=tiny_models.PROMPTS, dense=8)


@pytest.fixture(scope="module")
def whole(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that nothing has disturbed."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    encoder.tune(parent, PAIRS, REPLAY, out, SETTINGS, lambda point: None)
    return out


def _weights(out: Path) -> str:
    return digest(out / "model/model.safetensors")


@pytest.mark.parametrize("kind", ["bert", "mpnet", "distilbert", "xlm-roberta"])
def test_the_result_is_a_model_folder_that_serves_what_the_library_computes(kind: str, tmp_path: Path) -> None:
    parent = tiny_models.build(tmp_path / "parent", kind, prompts=tiny_models.PROMPTS, dense=8)
    before = {path: digest(path) for path in parent.rglob("*") if path.is_file()}
    seen: list[Progress] = []
    tuned = encoder.tune(parent, PAIRS, REPLAY, tmp_path / "run", SETTINGS, seen.append)
    assert {path: digest(path) for path in parent.rglob("*") if path.is_file()} == before
    assert {file.path for file in inspect(tuned.folder)} == {path.relative_to(parent).as_posix() for path in before}
    embedder = open_embedder(Model(path=str(tuned.folder)), tmp_path / "cache", 1)
    library = SentenceTransformer(str(tuned.folder), device="cpu", local_files_only=True)
    texts = [text for text in tiny_models.TEXTS if text]
    for query, theirs in ((False, library.encode_document(texts)), (True, library.encode_query(texts))):
        ours = embedder.embed(texts, query=query)
        assert np.allclose(ours, theirs / np.linalg.norm(theirs, axis=1, keepdims=True), atol=1e-5)
    assert embedder.revision != open_embedder(Model(path=str(parent)), tmp_path / "cache", 1).revision
    assert (tuned.stopped, tuned.resumed, tuned.steps) == ("", None, tuned.planned)
    assert [point.step for point in seen] == list(range(1, tuned.steps + 1))
    assert tuple(seen) == tuned.curve
    assert seen[-1].peak_bytes > 0
    assert [point.seconds for point in seen] == sorted(point.seconds for point in seen)


def test_replay_is_a_quarter_of_the_rows_and_taken_evenly(whole: Path) -> None:
    rows = json.loads((whole / "result.json").read_text())["rows"]
    assert rows == {
        "pairs, 1 negatives": 40,
        "pairs, 0 negatives": 12,
        "replay golden, 0 negatives": 13,
        "replay small, 0 negatives": 4,
    }


def test_the_same_training_gives_the_same_weights(parent: Path, whole: Path, tmp_path: Path) -> None:
    encoder.tune(parent, PAIRS, REPLAY, tmp_path / "again", SETTINGS, lambda point: None)
    encoder.tune(parent, PAIRS, REPLAY, tmp_path / "other", replace(SETTINGS, seed=2), lambda point: None)
    assert _weights(tmp_path / "again") == _weights(whole) != _weights(tmp_path / "other")


@pytest.mark.parametrize("options", [{"in_pieces": 4}, {"matryoshka": (4,)}, {"matryoshka": (4, 2), "in_pieces": 4}])
def test_the_other_losses_train_too(options: dict[str, Any], parent: Path, whole: Path, tmp_path: Path) -> None:
    tuned = encoder.tune(parent, PAIRS, REPLAY, tmp_path / "run", replace(SETTINGS, **options), lambda point: None)
    assert tuned.stopped == ""
    assert _weights(tmp_path / "run") != _weights(whole)


def test_distillation_keeps_vectors_near_the_parents(parent: Path, tmp_path: Path) -> None:
    moved = {}
    texts = [pair.positive for pair in REPLAY["golden"]]
    fixed = open_embedder(Model(path=str(parent)), tmp_path / "cache", 1).embed(texts)
    for weight in (0.0, 50.0):
        settings = replace(SETTINGS, distillation=weight)
        tuned = encoder.tune(parent, PAIRS, REPLAY, tmp_path / f"run-{weight}", settings, lambda point: None)
        now = open_embedder(Model(path=str(tuned.folder)), tmp_path / "cache", 1).embed(texts)
        moved[weight] = float(1 - (now * fixed).sum(axis=1).mean())
    assert moved[50.0] < moved[0.0]


CHILD = """
import os, signal, sys
from pathlib import Path
from typing import Any
import torch
from pipelines.train import encoder
from tests.contract.test_encoder_tuning import PAIRS, REPLAY, SETTINGS
torch.set_num_threads(1)
def report(point):
    if point.step == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
encoder.tune(Path(sys.argv[1]), PAIRS, REPLAY, Path(sys.argv[2]), SETTINGS, report)
"""


def test_a_killed_training_goes_on_at_its_last_checkpoint(parent: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"}
    for step in (2, 8):  # before any checkpoint, and after two of them
        child = subprocess.run([sys.executable, "-c", CHILD, str(parent), str(out), str(step)], env=environment, check=False)
        assert child.returncode == -signal.SIGKILL
    tuned = encoder.tune(parent, PAIRS, REPLAY, out, SETTINGS, lambda point: None)
    assert tuned.resumed == 6
    assert [point.step for point in tuned.curve] == list(range(1, tuned.planned + 1))
    assert _weights(out) == _weights(whole)
    assert encoder.tune(parent, PAIRS, REPLAY, out, SETTINGS, _never) == replace(tuned, folder=out / "model")


def _never(point: Progress) -> None:
    raise AssertionError(f"trained again: {point}")


def test_a_corrupt_checkpoint_is_set_aside(parent: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert encoder.tune(parent, PAIRS, REPLAY, out, SETTINGS, lambda point: None, Limits(seconds=0.0)).stopped == "seconds"
    limits = Limits(steps=6)
    encoder.tune(parent, PAIRS, REPLAY, out, SETTINGS, lambda point: None, limits)
    newest = max(out.glob("checkpoints/*"), key=lambda path: int(path.name.rpartition("-")[2]))
    with (newest / "optimizer.pt").open("r+b") as file:
        file.write(b"garbage")
    tuned = encoder.tune(parent, PAIRS, REPLAY, out, SETTINGS, lambda point: None)
    assert tuned.aside == (newest.name,)
    assert (out / "aside" / newest.name).is_dir()
    assert tuned.resumed == 3
    assert tuned.steps == tuned.planned


def test_a_limit_ends_it_cleanly_and_a_larger_one_goes_on(parent: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = encoder.tune(parent, PAIRS, REPLAY, out, SETTINGS, lambda point: None, Limits(cost=0.0, hour_price=1.0))
    assert (first.stopped, first.steps) == ("cost", 1)
    inspect(first.folder)
    learned = _weights(out)
    same = encoder.tune(parent, PAIRS, REPLAY, out, SETTINGS, _never, Limits(cost=0.0, hour_price=1.0))
    assert (same.steps, _weights(out)) == (1, learned)
    more = encoder.tune(parent, PAIRS, REPLAY, out, SETTINGS, lambda point: None, Limits(steps=4))
    assert (more.stopped, more.steps, more.resumed) == ("steps", 4, 1)
    assert more.seconds > first.seconds
    assert _weights(out) != learned


def test_a_loss_that_is_no_number_ends_the_run_and_writes_no_model(parent: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, scale=1e39)
    with pytest.raises(FailRun, match="the loss is nan after step 0; lower the learning rate"):
        encoder.tune(parent, PAIRS, REPLAY, tmp_path / "run", settings, lambda point: None)
    assert not (tmp_path / "run/model").exists()


def test_weights_that_are_no_numbers_are_not_written(parent: Path, tmp_path: Path) -> None:
    tensors = {"embeddings.LayerNorm.weight": torch.full((tiny_models.DIM,), float("nan"))}
    with pytest.raises(FailRun, match="no finite numbers"):
        merge.write(parent, tmp_path / "out", {"model.safetensors": tensors})


def test_a_folder_of_another_training_is_refused(parent: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(FixConfiguration, match="another model, other data or other settings"):
        encoder.tune(parent, PAIRS[1:], REPLAY, whole, SETTINGS, _never)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(FixConfiguration, match="not empty, and no training of ours"):
        encoder.tune(parent, PAIRS, REPLAY, tmp_path / "mine", SETTINGS, _never)


def test_what_cannot_be_trained_with_is_refused(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(FixConfiguration, match="1 pairs of 1 given"):
        encoder.tune(parent, PAIRS[:1], {}, tmp_path / "a", SETTINGS, _never)
    with pytest.raises(FixConfiguration, match="smaller than the model's 8 dimensions"):
        encoder.tune(parent, PAIRS, {}, tmp_path / "b", replace(SETTINGS, matryoshka=(8,)), _never)


def test_the_sweep_takes_a_mixture_between_parent_and_tuned(parent: Path, whole: Path, tmp_path: Path) -> None:
    scores = {0.0: 0.5, 0.5: 0.7, 1.0: 0.8}
    seen: list[str] = []

    def score(folder: Path) -> tuple[float, dict[str, float]]:
        alpha = sorted(scores)[len(seen)]
        seen.append(digest(folder / "model.safetensors"))
        return scores[alpha], {"golden": 0.9 if alpha < 1 else 0.8}

    folder, best, tried = merge.sweep(parent, whole / "model", tmp_path / "best", score, alphas=(0.0, 0.5, 1.0))
    assert (best.alpha, len(tried)) == (0.5, 3)
    assert seen[0] == digest(parent / "model.safetensors")
    assert seen[2] == _weights(whole)
    assert digest(folder / "model.safetensors") == seen[1]
    inspect(folder)
    open_embedder(Model(path=str(folder)), tmp_path / "cache", 1).embed(["the word"])
    other = tiny_models.build(tmp_path / "other", "bert", dense=4)
    with pytest.raises(FixConfiguration, match="not tuned from"):
        merge.interpolate(parent, other, 0.5, tmp_path / "never")

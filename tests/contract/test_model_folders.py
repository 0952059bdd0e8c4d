"""Any sentence-transformers folder gives the library's own vectors: architectures, poolings, prompts and projections."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.config import Model
from pipelines.embed import cache, open_embedder, open_tokenizer
from pipelines.embed.card import ModelCard
from pipelines.errors import FailRun, FixConfiguration, Retry
from pipelines.ports import Embedder
from tests.contract.tiny_models import DIM, MODELS, TEXTS

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore")  # torch and transformers warn of their own insides


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders, the library's vectors and the graphs, made by one process."""
    root = tmp_path_factory.mktemp("tiny")
    command = [sys.executable, "-W", "ignore", "-m", "tests.contract.tiny_models", str(root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return root


@pytest.fixture
def opened(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`opened(name, **entry)`: the embedder of a tiny model, its graph already there."""

    def place(card: ModelCard, out: Path) -> None:
        shutil.copytree(tiny / f"{card.model}-graph", out, dirs_exist_ok=True)

    monkeypatch.setattr(cache, "_run_converter", place)
    return lambda name, **entry: open_embedder(Model(path=str(tiny / name), **entry), tmp_path)


def least_cosine(embedder: Embedder, tiny: Path, name: str) -> float:
    found = [(embedder.embed(TEXTS), "passages"), (embedder.embed(TEXTS, query=True), "queries")]
    return min(float((ours * np.load(tiny / f"{name}-{kind}.npy")).sum(axis=1).min()) for ours, kind in found)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
@pytest.mark.parametrize("name", MODELS)
def test_vectors_equal_the_librarys(opened, tiny, name, engine):
    embedder = opened(name, engine=engine)
    assert embedder.dim == (8 if "dense" in name else DIM)
    assert embedder.max_tokens == 64
    assert least_cosine(embedder, tiny, name) >= 0.99999


def test_prompts_tell_questions_from_passages_and_take_room(opened, tiny):
    plain, prompted = (Model(path=str(tiny / name)) for name in ("bert-mean", "bert-cls-prompts"))
    bare, longer = open_tokenizer(plain), open_tokenizer(prompted)
    assert (bare.special_tokens, longer.special_tokens) == (2, 5)  # the prompts have three tokens each
    assert longer.count(["a word"]) == [7]
    assert bare.fingerprint != longer.fingerprint
    embedder = opened("bert-cls-prompts")
    assert not np.allclose(embedder.embed(TEXTS), embedder.embed(TEXTS, query=True), atol=1e-3)
    assert embedder.embed(["a " * 59]).shape == (1, DIM)
    with pytest.raises(FailRun, match="text of 65 tokens exceeds .*64"):
        embedder.embed(["a " * 60])


@pytest.mark.parametrize("tier", ["bf16", "fp16"])
def test_rounded_tiers_of_torch_are_spaces_of_their_own(opened, tiny, tier):
    rounded, exact = opened("bert-mean", engine="torch", tier=tier), opened("bert-mean", engine="torch")
    assert rounded.fingerprint != exact.fingerprint
    assert exact.fingerprint == opened("bert-mean").fingerprint  # f32 is the same on every engine
    assert least_cosine(rounded, tiny, "bert-mean") >= 0.99


@pytest.mark.parametrize("name", ["bert-mean", "bert-cls-prompts", "xlm-roberta-cls", "xlm-roberta-mean-prompts"])
def test_texts_laid_end_to_end_give_the_same_vectors(opened, tiny, name, monkeypatch):
    from pipelines.embed import torch_engine

    monkeypatch.setattr(torch_engine, "can_pack", lambda *_: True)
    assert least_cosine(opened(name, engine="torch"), tiny, name) >= 0.99999


def test_only_known_architectures_are_laid_end_to_end():
    import torch

    from pipelines.embed.packing import can_pack

    gpu, half = torch.device("cuda"), torch.bfloat16
    assert can_pack("bert", "mean", gpu, half)
    refused = [("mpnet", "mean", gpu, half), ("bert", "max", gpu, half), ("bert", "mean", gpu, torch.float32)]
    assert not any(can_pack(*case) for case in [*refused, ("bert", "mean", torch.device("cpu"), half)])


def test_a_batch_that_does_not_fit_is_halved_and_the_size_remembered(opened, tiny, monkeypatch):
    import torch

    from pipelines.embed.torch_engine import Engine

    embedder, tried = opened("bert-mean", engine="torch"), []
    forward = Engine._forward

    def limited(self: Engine, ids: list[list[int]]) -> torch.Tensor:
        tried.append(len(ids) * max(map(len, ids)))
        if tried[-1] > 300:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, ids)

    texts = [f"{text} a" for text in TEXTS for _ in range(12)]
    expected = opened("bert-mean").embed(texts)
    monkeypatch.setattr(Engine, "_forward", limited)
    assert (embedder.embed(texts) * expected).sum(axis=1).min() >= 0.99999
    assert tried[0] > 300
    assert embedder._engine.budget <= 300
    tried.clear()
    embedder.embed(texts)
    assert max(tried) <= 300


@pytest.mark.parametrize(
    ("error", "says"), [("OutOfMemoryError", "no memory for one text"), ("RuntimeError", "check the device")]
)
def test_a_device_that_fails_is_a_retry(opened, monkeypatch, error, says):
    import torch

    from pipelines.embed.torch_engine import Engine

    def broken(self: Engine, ids: list[list[int]]) -> torch.Tensor:
        raise {"OutOfMemoryError": torch.OutOfMemoryError, "RuntimeError": RuntimeError}[error]("CUDA\nerror")

    monkeypatch.setattr(Engine, "_forward", broken)
    with pytest.raises(Retry, match=says) as raised:
        opened("bert-mean", engine="torch").embed(TEXTS)
    assert "\n" not in str(raised.value)


def test_a_device_or_an_engine_that_is_not_there(opened, monkeypatch):
    import torch

    assert opened("bert-mean", engine="torch", device="cpu").embed([]).shape == (0, DIM)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(FixConfiguration, match=r"device cuda:1: this machine has 0 usable GPUs"):
        opened("bert-mean", engine="torch", device="cuda:1").embed(["a"])
    monkeypatch.setitem(sys.modules, "pipelines.embed.torch_engine", None)
    embedder = opened("bert-mean", engine="torch")  # a scheduler can still say what it is
    with pytest.raises(FixConfiguration, match="engine torch needs the extra `models`"):
        embedder.embed(["a"])

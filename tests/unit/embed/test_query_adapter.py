"""A query adapter changes questions only, belongs to one embedder, and is data: anything else in its folder is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipelines.config import Model
from pipelines.embed import adapter, open_embedder
from pipelines.embed.hashing import Hashing
from pipelines.errors import FailRun, FixConfiguration
from pipelines.ports import Metered

TEXTS = ["how is it done", "the stable door"]


def rotation(dim: int, seed: int = 1) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0].astype(np.float32)


def folder(tmp_path: Path, weight: np.ndarray, of: str, name: str = "handbook-questions") -> Path:
    adapter.write(adapter.Adapter(weight, np.zeros(len(weight), np.float32), of), tmp_path / name)
    return tmp_path / name


def test_questions_are_mapped_and_passages_are_not(tmp_path: Path) -> None:
    base = Hashing()
    weight = rotation(base.dim)
    opened = open_embedder(Model(tier="hash", adapter=str(folder(tmp_path, weight, base.fingerprint))), tmp_path)
    assert np.array_equal(opened.embed(TEXTS), base.embed(TEXTS))
    expected = base.embed(TEXTS, query=True) @ weight.T
    assert np.allclose(opened.embed(TEXTS, query=True), expected, atol=1e-6)
    assert opened.embed([], query=True).shape == (0, base.dim)


def test_it_shares_the_vectors_of_its_embedder_but_is_another_model(tmp_path: Path) -> None:
    base = Hashing()
    one, two = (
        open_embedder(
            Model(tier="hash", adapter=str(folder(tmp_path, rotation(base.dim, seed), base.fingerprint, name))), tmp_path
        )
        for seed, name in ((1, "one"), (2, "two"))
    )
    assert one.fingerprint == two.fingerprint == base.fingerprint
    assert len({base.revision, one.revision, two.revision}) == 3
    assert (one.model, one.dim, one.max_tokens, one.dtype) == ("one", base.dim, base.max_tokens, base.dtype)


def test_the_same_adapter_is_the_same_bytes(tmp_path: Path) -> None:
    weight = rotation(8)
    first, second = folder(tmp_path, weight, "f", "a"), folder(tmp_path, weight, "f", "b")
    assert [path.read_bytes() for path in sorted(first.iterdir())] == [
        path.read_bytes() for path in sorted(second.iterdir())
    ]
    assert np.array_equal(adapter.read(first).weight, weight)


def test_it_belongs_to_one_embedder(tmp_path: Path) -> None:
    path = folder(tmp_path, rotation(384), Hashing(seed=1).fingerprint)
    with pytest.raises(FixConfiguration, match="was fitted to embedder"):
        open_embedder(Model(tier="hash", seed=2, adapter=str(path)), tmp_path)


def test_counts_of_a_metered_embedder_stay_its_own(tmp_path: Path) -> None:
    class Server(Hashing):
        spent = {"requests": 3}
        elsewhere: dict[str, int] | None = None

    base = Server()
    opened = adapter.adapted(base, folder(tmp_path, rotation(base.dim), base.fingerprint))
    assert isinstance(opened, Metered)
    opened.spent, opened.elsewhere = {"requests": 5}, {"requests": 1}
    assert (base.spent, base.elsewhere, opened.spent, opened.elsewhere) == (
        {"requests": 5},
        {"requests": 1},
        *[base.spent, base.elsewhere],
    )
    assert not isinstance(adapter.adapted(Hashing(), folder(tmp_path, rotation(384), Hashing().fingerprint, "x")), Metered)


def test_a_question_without_a_direction_is_an_error_not_a_vector(tmp_path: Path) -> None:
    base = Hashing()
    path = folder(tmp_path, np.zeros((base.dim, base.dim), np.float32), base.fingerprint)
    with pytest.raises(FailRun, match="no direction"):
        adapter.adapted(base, path).embed(TEXTS, query=True)


BAD: dict[str, dict[str, np.ndarray]] = {
    "another tensor": {
        "weight": np.eye(4, dtype=np.float32),
        "bias": np.zeros(4, np.float32),
        "more": np.zeros(1, np.float32),
    },
    "no bias": {"weight": np.eye(4, dtype=np.float32)},
    "not square": {"weight": np.zeros((4, 3), np.float32), "bias": np.zeros(4, np.float32)},
    "doubles": {"weight": np.eye(4), "bias": np.zeros(4)},
    "nan": {"weight": np.full((4, 4), np.nan, np.float32), "bias": np.zeros(4, np.float32)},
}


@pytest.mark.parametrize("name", BAD)
def test_other_tensors_are_refused(name: str, tmp_path: Path) -> None:
    save_file(BAD[name], tmp_path / adapter.WEIGHTS)
    (tmp_path / adapter.CARD).write_text(json.dumps({"of": "f"}))
    with pytest.raises(FixConfiguration, match=r"adapter\.safetensors"):
        adapter.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"\xff" * 64, (2**62).to_bytes(8, "little") + b"{}"])
def test_bytes_that_are_no_safetensors_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / adapter.WEIGHTS).write_bytes(content)
    (tmp_path / adapter.CARD).write_text(json.dumps({"of": "f"}))
    with pytest.raises(FixConfiguration, match="fit the adapter again"):
        adapter.read(tmp_path)


@pytest.mark.parametrize("missing", [adapter.WEIGHTS, adapter.CARD])
def test_a_missing_file_is_named(missing: str, tmp_path: Path) -> None:
    path = folder(tmp_path, rotation(4), "f")
    (path / missing).unlink()
    with pytest.raises(FixConfiguration, match=missing):
        adapter.read(path)

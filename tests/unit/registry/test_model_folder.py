"""A zoo of model folders that came from anywhere: each refused in one line before anything of it runs or is kept."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import FixConfiguration
from pipelines.registry.folder import inspect, within
from tests.unit.registry.folders import sound, tensor, weights

RAN = "ran"
Spoil = Callable[[Path], object]


class Runs:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {RAN}",)


def weights_of(data: bytes) -> Spoil:
    return file("model.safetensors", data)


def file(name: str, data: bytes = b"x") -> Spoil:
    return lambda folder: (folder / name).write_bytes(data)


def link(name: str, to: str) -> Spoil:
    def make(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(to)

    return make


def crowd(folder: Path) -> None:
    for number in range(250):
        (folder / f"{number}.txt").write_text("")


NOT_FINITE = np.array([0.0, np.nan, 1.0, 2.0], dtype="<f4").tobytes()
INFINITE = np.array([0.0, np.inf, 1.0, 2.0], dtype="<f2").tobytes()
BF16_NAN = np.array([0, 0x7FC0, 1, 2], dtype="<u2").tobytes()
ZOO: dict[str, tuple[Spoil, str]] = {
    "a pickle beside the weights": (file("pytorch_model.bin", pickle.dumps(Runs())), "pickled weights can run code"),
    "a pickle as weights": (weights_of(pickle.dumps(Runs())), "model.safetensors: its header"),
    "a torch checkpoint": (file("model.ckpt"), "pickled weights"),
    "numpy objects": (file("vectors.npy"), "pickled weights"),
    "code": (file("modeling_custom.py", f"open('{RAN}', 'w')".encode()), "code that comes with the model"),
    "a library": (file("kernel.so"), "code that comes with the model"),
    "auto_map": (file("config.json", b'{"auto_map": {"AutoModel": "modeling.Custom"}}'), "config.json"),
    "an unknown file": (file("notes.xyz"), "unknown kind of file"),
    "a link out of the folder": (link("vocab.txt", "/etc/passwd"), "vocab.txt: a link"),
    "a folder that is a link": (link("2_Dense", "/etc"), "2_Dense: a link"),
    "a pipe": (lambda folder: os.mkfifo(folder / "vocab.json"), "neither file nor folder"),
    "too many files": (crowd, "more than 200 files"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
    "broken JSON": (file("tokenizer.json", b"{"), "not valid JSON"),
    "nested JSON": (file("tokenizer.json", b"[" * 200_000), "not valid JSON"),
    "an oversized header": (weights_of(weights(tensor(), length=2**40)), "its header says"),
    "an empty file": (weights_of(b""), "its header says"),
    "a header that is no JSON": (weights_of(weights(b"\xff" * 16)), "not valid JSON"),
    "a header that is a list": (weights_of(weights([1, 2])), "not a JSON object"),
    "a name used twice": (weights_of(weights(b'{"a": {}, "a": {}}')), "used twice"),
    "no tensors": (weights_of(weights({"__metadata__": {}})), "no tensors"),
    "offsets beyond the file": (weights_of(weights(tensor(shape=[200, 2], end=1600))), "its header says"),
    "offsets that overlap": (weights_of(weights({**tensor(), **tensor("v", 8, 24)}, bytes(24))), "begins at 8"),
    "a gap": (weights_of(weights(tensor(begin=4, end=20), bytes(20))), "begins at 4"),
    "bytes behind the tensors": (weights_of(weights(tensor(), bytes(40))), "bytes, its header says"),
    "a shape of another size": (weights_of(weights(tensor(shape=[3, 2]))), "its shape takes 24"),
    "a negative shape": (weights_of(weights(tensor(shape=[-2, -2]))), "no known dtype"),
    "an unknown dtype": (weights_of(weights(tensor(dtype="OBJECT"))), "no known dtype"),
    "no number": (weights_of(weights(tensor(), NOT_FINITE)), "no finite number, at 1"),
    "an infinite half": (weights_of(weights(tensor(dtype="F16", end=8), INFINITE)), "no finite number, at 1"),
    "a bf16 that is none": (weights_of(weights(tensor(dtype="BF16", end=8), BF16_NAN)), "no finite number, at 1"),
}


def test_a_sound_folder_is_taken_file_by_file(tmp_path: Path) -> None:
    files = inspect(sound(tmp_path / "model"))
    assert [file.path for file in files] == [
        "1_Pooling/config.json",
        "LICENSE",
        "README.md",
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]
    assert all(len(file.sha256) == 64 and file.bytes > 0 for file in files)


@pytest.mark.parametrize("animal", ZOO)
def test_what_is_no_data_is_refused_in_one_line_and_nothing_runs(
    tmp_path: Path, animal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = sound(tmp_path / "model")
    spoil, reason = ZOO[animal]
    spoil(folder)
    with pytest.raises(FixConfiguration, match=reason) as refused:
        inspect(folder)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / RAN).exists()
    assert not (folder / RAN).exists()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FixConfiguration, match="no such folder"):
        inspect(tmp_path / "nowhere")


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a\\..\\x", "./x"])
def test_a_path_that_leaves_its_folder_is_refused(path: str) -> None:
    with pytest.raises(FixConfiguration, match="no path within"):
        within(path)


def test_a_path_within_is_itself() -> None:
    assert within("1_Pooling/config.json") == "1_Pooling/config.json"

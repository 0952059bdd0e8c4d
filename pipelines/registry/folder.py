"""What a model's folder consists of, checked before a byte of it is kept: known files only, no code, no links.

The folder may come from anywhere. It is read as data, and refused in one line with the file and the remedy.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipelines.embed.files import digest, refuse_code
from pipelines.errors import FixConfiguration
from pipelines.registry.weights import check_weights

MAX_FILES = 200
MAX_BYTES = 50 * 2**30  # of a file
MAX_JSON = 200 * 2**20  # vocabularies of a million words are smaller
WEIGHTS = ".safetensors"
DATA = (".json", ".txt", ".md", ".model")  # settings, vocabularies, words about it, a SentencePiece vocabulary
NAMED = ("LICENSE", "NOTICE", ".gitattributes")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack", ".npy", ".npz", ".joblib")
CODE = (".py", ".pyc", ".so", ".sh", ".dll", ".exe", ".js")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a model, by its path in the folder."""

    path: str
    sha256: str  # hex
    bytes: int


def inspect(folder: Path) -> tuple[File, ...]:
    """The files of a folder by path, each checked. Reads all of them. Raises FixConfiguration for anything else."""
    if not folder.is_dir():
        raise FixConfiguration(f"{folder}: no such folder; name the folder of a model")
    found: list[File] = []
    for path in _files(folder):
        if len(found) == MAX_FILES:
            raise FixConfiguration(f"{folder}: more than {MAX_FILES} files; name the folder of one model")
        _check(path)
        found.append(File(path.relative_to(folder).as_posix(), digest(path), path.stat().st_size))
    if not any(file.path.endswith(WEIGHTS) for file in found):
        raise FixConfiguration(f"{folder}: no weights; a model has a file model.safetensors")
    return tuple(sorted(found, key=lambda file: file.path))


def within(path: str) -> str:
    """The path, if it is a plain relative one that stays in its folder. Raises FixConfiguration."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or any(part in {"..", "."} for part in path.split("/")):
        raise FixConfiguration(f"{path!r} is no path within a model's folder; import the model again")
    return path


def _files(folder: Path) -> Iterator[Path]:
    """Regular files below the folder; whatever else lies there is refused, links in particular: they lead out of it."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = Path(entry.path)
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                raise FixConfiguration(f"{path}: a link; copy the model with its files in place (`cp -rL`)")
            if stat.S_ISDIR(mode):
                yield from _files(path)
            elif stat.S_ISREG(mode):
                yield path
            else:
                raise FixConfiguration(f"{path}: neither file nor folder; remove it")


def _check(path: Path) -> None:
    kind, size = path.suffix.lower(), path.stat().st_size
    if kind in PICKLED:
        raise FixConfiguration(f"{path}: pickled weights can run code when loaded; use model.safetensors and remove it")
    if kind in CODE:
        raise FixConfiguration(f"{path}: code that comes with the model is not run; remove it or choose a model without it")
    if kind != WEIGHTS and kind not in DATA and path.name not in NAMED:
        raise FixConfiguration(f"{path}: unknown kind of file; a model is made of {WEIGHTS}, {', '.join(DATA)}; remove it")
    if size > MAX_BYTES:
        raise FixConfiguration(f"{path}: {size} bytes; at most {MAX_BYTES} are taken")
    if kind == WEIGHTS:
        check_weights(path)
    elif kind == ".json":
        _check_json(path, size)


def _check_json(path: Path, size: int) -> None:
    if size > MAX_JSON:
        raise FixConfiguration(f"{path}: {size} bytes of JSON; at most {MAX_JSON} are read")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FixConfiguration(f"{path}: not valid JSON ({str(error)[:100]}); download the model again") from None
    if isinstance(value, dict):
        refuse_code(path, value)

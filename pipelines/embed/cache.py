"""Keeps converted models between processes: made once, in a child process, seen only when complete.

Concurrent callers wait on a file lock; a folder appears by rename and carries the sizes of its files, so what a killed
process or a full disk left behind is made again.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.embed.card import ModelCard
from pipelines.embed.cross_card import CrossCard
from pipelines.errors import Retry
from pipelines.records import sha256

GRAPH_VERSION = "2"  # raise it when convert.py writes another graph
FILES = ("model.xml", "model.bin")
MANIFEST = "sizes.json"
CONVERT_SECONDS = 900
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")


def converted(card: ModelCard, cache: Path) -> Path:
    """The folder with the model's graph, converting it first if needed (about 8 s for 23 M parameters).

    Raises Retry when the conversion's process fails, with its last line.
    """
    folder = cache / sha256("graph", GRAPH_VERSION, card.revision, card.pooling).hex()
    return kept(folder, lambda partial: _run_converter(card, partial))


def converted_cross(card: CrossCard, cache: Path) -> Path:
    """As `converted`, of a cross-encoder."""
    folder = cache / sha256("cross graph", GRAPH_VERSION, card.revision).hex()
    return kept(folder, lambda partial: _convert("cross_convert", card, partial))


def kept(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder` with a whole graph in it; `make` writes FILES into the folder that it is given when there is none."""
    if _complete(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.with_suffix(".lock")):
        if not _complete(folder):  # else another process made it while this one waited
            _make(folder, make)
    return folder


def _complete(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == sizes[name] for name in FILES)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    """Write into a folder of another name, then rename; the caller holds the lock, so leftovers have no owner."""
    for leftover in (folder, *folder.parent.glob(f"{folder.name}.partial*")):
        shutil.rmtree(leftover, ignore_errors=True)
    # Named by process: a killed caller's converter may still be writing into its own.
    partial = folder.with_suffix(f".partial{os.getpid()}")
    partial.mkdir()
    make(partial)
    sizes = {name: (partial / name).stat().st_size for name in FILES}
    (partial / MANIFEST).write_text(json.dumps(sizes), encoding="utf-8")
    partial.rename(folder)


def _run_converter(card: ModelCard, out: Path) -> None:
    _convert("convert", card, out)


def _convert(module: str, card: ModelCard | CrossCard, out: Path) -> None:
    command = [sys.executable, "-m", f"pipelines.embed.{module}", str(card.folder.resolve()), str(out.resolve())]
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=CONVERT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Retry(
            f"converting {card.model} took over {CONVERT_SECONDS} s and was stopped; try on an idle machine"
        ) from None
    if done.returncode != 0:
        last = next((line for line in reversed(done.stderr.decode("utf-8", "replace").splitlines()) if line.strip()), "")
        raise Retry(f"converting {card.model} failed (exit {done.returncode}): {last.strip()[:500] or 'no message'}")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Exclusive among processes; the kernel releases it when its holder dies."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield

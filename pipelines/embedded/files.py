"""Small state files and locks that the embedded services share: written whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.errors import Retry


def write_text(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file atomically; a reader sees the old or the new text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.touch(mode=mode)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_json(path: Path, value: object) -> None:
    """Replace a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The file's object; empty when the file is absent or damaged, as after a crash of the machine."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


@contextmanager
def locked(path: Path, seconds: float = 120.0) -> Iterator[None]:
    """Hold an exclusive lock among processes; the kernel frees it when its holder dies. Raises Retry after `seconds`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as handle:
        deadline = time.monotonic() + seconds
        while not _try_lock(handle.fileno()):
            if time.monotonic() > deadline:
                raise Retry(f"{path}: held by another process for {seconds:.0f} s; wait for it to finish or end it")
            time.sleep(0.1)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

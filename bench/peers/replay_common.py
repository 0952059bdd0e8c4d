"""What every peer of the bench `replay` is given: the source as a folder, a deterministic counting embedder, its turns.

`python SCRIPT DSN STEPS FOLDER`: for each line of stdin, applies the next of STEPS (a JSON list of {name: text or null}) to
FOLDER, brings the database up to date with the peer's own incremental mode and prints one JSON line.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

DIM = 64
CHARACTERS = 800  # a passage: about as much as the product's own of 200 tokens
embedded = 0


def vector(text: str) -> list[float]:
    """A unit vector of DIM numbers that only the text decides; counted."""
    global embedded
    embedded += 1
    rng = random.Random(hashlib.sha256(text.encode()).digest())
    values = [rng.gauss(0, 1) for _ in range(DIM)]
    length = sum(value * value for value in values) ** 0.5
    return [value / length for value in values]


def folder() -> Path:
    """The source."""
    return Path(sys.argv[3])


def serve(sync: Callable[[], None]) -> None:
    """Take turns until there are no more."""
    steps = json.loads(Path(sys.argv[2]).read_text())
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints is no answer
    for step in steps:
        sys.stdin.readline()
        _apply(step)
        before, read, began = embedded, _bytes_read(), time.monotonic()
        sync()
        told = {"seconds": time.monotonic() - began, "embedded": embedded - before, "bytes_read": _bytes_read() - read}
        print(json.dumps(told), file=answers, flush=True)


def _apply(step: dict[str, str | None]) -> None:
    for name, text in step.items():
        if text is None:
            (folder() / name).unlink()
        else:
            (folder() / name).write_text(text, encoding="utf-8")


def _bytes_read() -> int:
    """What this process has read from files so far; sockets are not in it."""
    return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0])

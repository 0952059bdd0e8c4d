"""The folder of one training: which training it is, its sealed checkpoints, its progress and its result.

    run.json         the identity of model, data and settings: another training may not go on here
    progress.jsonl   the loss curve, one point a line
    checkpoints/     checkpoint-N, complete once sealed: sealed.json holds size and sha256 of its files
    aside/           checkpoints that could not be trusted
    model/           the result; result.json says how it came about. Of rung three the adapter, and merged/ where asked for

A process may be killed anywhere. What is not sealed does not count; the next attempt goes on at the last sealed checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.embed.files import digest
from pipelines.errors import FixConfiguration
from pipelines.train.tuning import Limits, Progress, Tuned

SEAL = "sealed.json"


class RunFolder:
    """One training's folder. Raises FixConfiguration when it holds another training."""

    def __init__(self, out: Path, identity: str) -> None:
        self.out = out
        self.checkpoints = out / "checkpoints"
        self.model = out / "model"
        self.set_aside: list[str] = []
        self._progress = out / "progress.jsonl"
        if (out / "run.json").is_file():
            held = _json(out / "run.json").get("identity")
            if held != identity:
                raise FixConfiguration(
                    f"{out}: holds a training of another model, other data or other settings; name a new folder"
                )
        elif out.is_dir() and any(out.iterdir()):
            raise FixConfiguration(f"{out}: not empty, and no training of ours; name a new folder")
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        _write(out / "run.json", {"identity": identity})

    def finished(self, limits: Limits) -> Tuned | None:
        """The result of an earlier attempt, unless it was stopped by a limit that is a larger one now."""
        read = _json(self.out / "result.json")
        if not read or not self.model.is_dir():
            return None
        curve = tuple(Progress(**point) for point in read.pop("curve"))
        tuned = Tuned(**{**read, "folder": self.model, "curve": curve, "aside": tuple(read["aside"])})
        going_on = tuned.stopped and not limits.reached(tuned.steps, tuned.seconds)
        return None if going_on else tuned

    def seal(self, step: int) -> None:
        """Declare a checkpoint complete."""
        folder = self.checkpoints / f"checkpoint-{step}"
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
        _write(folder / SEAL, {path.relative_to(folder).as_posix(): [path.stat().st_size, digest(path)] for path in files})

    def last(self) -> Path | None:
        """The newest checkpoint that is as it was sealed. Newer ones that are not are moved to `aside/`."""
        found = [path for path in self.checkpoints.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
        for folder in sorted(found, key=step_of, reverse=True):
            if _sound(folder):
                return folder
            place = self.out / "aside" / folder.name
            place.parent.mkdir(exist_ok=True)
            shutil.rmtree(place, ignore_errors=True)
            folder.rename(place)
            self.set_aside.append(folder.name)
        return None

    def begin_at(self, step: int) -> float:
        """Forget points of the curve after `step`: they are trained again. Returns the seconds spent by now."""
        points = self.curve()
        kept = [point for point in points if point.step <= step]
        spent = points[-1].seconds if points else 0.0
        if len(kept) < len(points) and kept:  # work that was lost has been spent all the same
            kept[-1] = replace(kept[-1], seconds=spent)
        self._progress.write_text("".join(json.dumps(point.as_dict()) + "\n" for point in kept))
        return spent

    def add(self, point: Progress) -> None:
        """Append to the curve."""
        with self._progress.open("a") as file:
            file.write(json.dumps(point.as_dict()) + "\n")

    def curve(self) -> tuple[Progress, ...]:
        """Every point so far; a line that a kill has cut ends it."""
        points = []
        if self._progress.is_file():
            for line in self._progress.read_text().splitlines():
                try:
                    points.append(Progress(**json.loads(line)))
                except (ValueError, TypeError):
                    break
        return tuple(points)

    def place(self, write: Callable[[Path], object], name: str = "model") -> None:
        """Write a folder of the result beside, and put it in its place when it is complete."""
        partial = self.out / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        write(partial)
        (self.out / "result.json").unlink(missing_ok=True)
        shutil.rmtree(self.out / name, ignore_errors=True)
        partial.rename(self.out / name)

    def finish(self, tuned: Tuned) -> Tuned:
        """Keep the result."""
        _write(self.out / "result.json", tuned.as_dict())
        return tuned


def step_of(checkpoint: Path) -> int:
    """The step of a folder checkpoint-N."""
    return int(checkpoint.name.rpartition("-")[2])


def _sound(folder: Path) -> bool:
    sealed = _json(folder / SEAL)
    try:
        return bool(sealed) and all(
            (folder / name).stat().st_size == size and digest(folder / name) == sha for name, (size, sha) in sealed.items()
        )
    except (OSError, TypeError, ValueError):
        return False


def _json(path: Path) -> dict[str, Any]:
    """The object in a file, {} when there is none that can be read."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _write(path: Path, value: object) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(value))
    os.replace(partial, path)

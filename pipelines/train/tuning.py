"""What a training is asked for, what it tells while it runs, and what it leaves. Imports the standard library only.

All rungs share it: limits that stop a training cleanly, a record of progress that a page can draw, and the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import FixConfiguration


@dataclass(frozen=True, slots=True)
class Limits:
    """What a training may use, all its attempts together; None is no limit. At the first one reached it stops and keeps
    what it has learned."""

    steps: int | None = None
    seconds: float | None = None  # of training; reading the model and the data is not counted
    cost: float | None = None  # in the currency of prices.yaml
    hour_price: float = 0.0  # of the machine, in the same

    def reached(self, steps: int, seconds: float, step_seconds: float = 0.0) -> str:
        """The limit that leaves no room for another step of `step_seconds`: steps, seconds or cost; "" while there is."""
        if self.steps is not None and steps >= self.steps:
            return "steps"
        if self.seconds is not None and seconds + step_seconds > self.seconds:
            return "seconds"
        if self.cost is not None and (seconds + step_seconds) * self.hour_price / 3600 > self.cost:
            return "cost"
        return ""


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Settings:
    """What every training has. The learning rate rises linearly over the first `warmup` of the steps, then falls to 0."""

    learning_rate: float = 2e-5
    epochs: float = 1.0
    batch: int = 32  # rows of a step and device
    warmup: float = 0.1  # share of the steps
    max_tokens: int | None = None  # longer texts are cut while training; None: the model's own limit
    seed: int = 1
    checkpoint_steps: int = 50

    def __post_init__(self) -> None:
        for name, sound in {
            "learning_rate": 0 < self.learning_rate < 1,
            "epochs": 0 < self.epochs <= 1000,
            "batch": self.batch >= 2,
            "warmup": 0 <= self.warmup < 1,
            "max_tokens": self.max_tokens is None or self.max_tokens >= 8,
            "checkpoint_steps": self.checkpoint_steps >= 1,
        }.items():
            require(sound, name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class EncoderSettings(Settings):
    """Of rung two."""

    negatives: int = 1  # hard ones a question at most; the rest of the batch are negatives too
    in_pieces: int | None = None  # compute a batch in pieces of so many rows (slower, less memory); None: at once
    scale: float = 20.0  # of the cosine in the loss
    replay_share: float = 0.25  # of all rows, where replay has so many
    distillation: float = 0.5  # weight of staying where the parent puts replayed texts; 0: none
    matryoshka: tuple[int, ...] = ()  # dimensions that shall serve by themselves, besides all of them

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        for name, sound in {
            "negatives": 0 <= self.negatives <= 20,
            "in_pieces": self.in_pieces is None or 1 <= self.in_pieces <= self.batch,
            "scale": self.scale > 0,
            "replay_share": 0 <= self.replay_share <= 0.9,
            "distillation": self.distillation >= 0,
            "matryoshka": all(size >= 1 for size in self.matryoshka),
        }.items():
            require(sound, name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class LoraSettings(Settings):
    """Of rung three. `learning_rate` is ten times that of a whole model, as is usual for so few numbers."""

    learning_rate: float = 2e-4
    batch: int = 8
    max_tokens: int | None = 1024  # of prompt and answer together
    rank: int = 16
    strength: int = 32  # LoRA's alpha; the change is multiplied by strength / rank
    dropout: float = 0.05
    four_bit: bool = False  # QLoRA: the frozen weights in 4 bits; needs CUDA and bitsandbytes
    merged: bool = False  # also write the whole model with the adapter added to it

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        for name, sound in {
            "rank": 1 <= self.rank <= 1024,
            "strength": self.strength >= 1,
            "dropout": 0 <= self.dropout < 1,
        }.items():
            require(sound, name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class Example:
    """What a language model is asked, and what it should have answered."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Progress:
    """One point of the loss curve."""

    step: int
    steps: int  # in all
    epoch: float
    loss: float  # mean since the point before
    learning_rate: float
    seconds: float  # of training so far, earlier attempts included
    peak_bytes: int  # of the process, or of its device where there is one

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a training has left."""

    folder: Path  # of the model, or of the adapter
    steps: int
    planned: int  # steps without a limit
    stopped: str  # the limit that ended it: steps, seconds, cost; "" when it ended by itself
    seconds: float
    peak_bytes: int
    rows: dict[str, int]  # what it was trained on, by data set
    resumed: int | None  # the step that this attempt began at, where an earlier one had got somewhere
    aside: tuple[str, ...]  # checkpoints that could not be read
    curve: tuple[Progress, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "folder": str(self.folder)}


def require(sound: bool, name: str, value: object) -> None:
    """FixConfiguration that names a setting and its value."""
    if not sound:
        raise FixConfiguration(f"training: {name} {value!r} is out of its range; see pipelines/train/tuning.py")

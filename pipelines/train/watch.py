"""What every trainer is given: arguments in common, a callback that reports, seals checkpoints and keeps the limits, and a
check that the loss is a number."""

from __future__ import annotations

import math
import resource
import time
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback
from transformers.utils import logging as transformers_logging

from pipelines.errors import FailRun
from pipelines.train.run_folder import RunFolder, step_of
from pipelines.train.tuning import Limits, Progress, Report, Settings, Tuned

POINTS = 200  # of a loss curve, about


class FiniteLoss:
    """Mixed in before a trainer: a loss that is no finite number ends the run."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """The trainer's. Raises FailRun."""
        result = super().compute_loss(*args, **kwargs)  # type: ignore[misc]  # the trainer's
        loss = float((result[0] if isinstance(result, tuple) else result).detach())
        if not math.isfinite(loss):
            raise FailRun(not_finite("the loss", loss, self.state.global_step, self.args))  # type: ignore[attr-defined]
        return result


class Watch(TrainerCallback):
    """Reports points of the curve, seals checkpoints, and stops at a limit."""

    def __init__(self, run: RunFolder, limits: Limits, report: Report, spent: float) -> None:
        self.stopped = ""
        self.seconds = spent
        self.peak_bytes = 0
        self._run, self._limits, self._report = run, limits, report
        self._spent, self._begun, self._first = spent, 0.0, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The clock starts: model and data are read."""
        self._begun, self._first = time.monotonic(), state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop where the next step would pass a limit; what was learned is saved first."""
        worked = time.monotonic() - self._begun
        self.seconds = self._spent + worked
        self.peak_bytes = max(self.peak_bytes, peak_bytes())
        mean = worked / max(1, state.global_step - self._first)
        reached = _agreed(self._limits.reached(state.global_step, self.seconds, mean))
        if reached and state.global_step < state.max_steps:
            self.stopped = reached
            control.should_training_stop = control.should_save = control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """A point of the curve. Raises FailRun for gradients that are no finite numbers."""
        if not logs or "loss" not in logs:
            return
        norm = float(logs.get("grad_norm", 0.0))
        if not math.isfinite(norm):
            raise FailRun(not_finite("the gradient", norm, state.global_step, args))
        if state.is_world_process_zero:
            point = Progress(
                step=state.global_step,
                steps=state.max_steps,
                epoch=round(float(state.epoch or 0.0), 4),
                loss=float(logs["loss"]),
                learning_rate=float(logs.get("learning_rate", 0.0)),
                seconds=round(self.seconds, 3),
                peak_bytes=self.peak_bytes,
            )
            self._run.add(point)
            self._report(point)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The checkpoint is complete."""
        if state.is_world_process_zero:
            self._run.seal(state.global_step)


def quiet() -> None:
    """The library draws no progress bars: `report` tells how it goes."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def arguments(settings: Settings, run: RunFolder) -> dict[str, Any]:
    """What the arguments of all trainers have in common."""
    return {
        "output_dir": str(run.checkpoints),
        "learning_rate": settings.learning_rate,
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.batch,
        "lr_scheduler_type": "linear",
        "seed": settings.seed,
        "data_seed": settings.seed,
        "logging_nan_inf_filter": False,  # it would show the last finite loss instead
        "save_strategy": "steps",
        "save_steps": settings.checkpoint_steps,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def train(trainer: Any, run: RunFolder, settings: Settings, limits: Limits, report: Report) -> Tuned:
    """Train to the end or to a limit, from the last sound checkpoint on. The result's `folder` is not written yet.

    Raises FailRun for a loss or gradient that is no finite number.
    """
    steps_an_epoch = math.ceil(len(trainer.get_train_dataloader()) / trainer.args.gradient_accumulation_steps)
    planned = max(1, math.ceil(settings.epochs * steps_an_epoch))
    steps = planned if limits.steps is None else max(1, min(planned, limits.steps))
    trainer.args.max_steps = steps
    trainer.args.warmup_steps = math.ceil(settings.warmup * steps)
    trainer.args.logging_steps = max(1, steps // POINTS)
    checkpoint = run.last()
    begun = 0 if checkpoint is None else step_of(checkpoint)
    watch = Watch(run, limits, report, run.begin_at(begun))
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(watch)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return Tuned(
        folder=run.model,
        steps=trainer.state.global_step,
        planned=planned,
        stopped=watch.stopped or ("steps" if trainer.state.global_step < planned else ""),
        seconds=round(watch.seconds, 3),
        peak_bytes=watch.peak_bytes,
        rows={},
        resumed=None if checkpoint is None else begun,
        aside=tuple(run.set_aside),
        curve=run.curve(),
    )


def not_finite(what: str, value: float, step: int, args: Any) -> str:
    """One line with value and remedy."""
    return (
        f"training: {what} is {value} after step {step}; lower the learning rate ({args.learning_rate:g}) or look at the "
        "data; no model was written"
    )


def peak_bytes() -> int:
    """The most memory used so far: of the device where there is one, else of the process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _agreed(reached: str) -> str:
    """The limit that any process of a distributed training has reached: all of them stop at the same step."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return reached
    said: list[str] = [""] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(said, reached)
    return next((name for name in said if name), "")

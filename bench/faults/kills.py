"""SIGKILL at a chosen point of the victim's own making: the n-th stage boundary, rename or system call, or a moment.

The countdowns change the process that they are put into; use them in a forked child. Kills at database messages are
`pg_proxy`'s.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.context import Context, Step

CALLS = ("write", "sendto", "fsync", "rename")


class Countdown:
    """Ends this process at the `nth` tick, after noting that tick's name in a file; never for 0."""

    def __init__(self, nth: int, note: Path) -> None:
        self.nth, self.note, self.ticks = nth, note, 0

    def tick(self, point: str) -> None:
        """Pass a point."""
        self.ticks += 1
        if self.ticks == self.nth:
            self.note.write_text(point)
            os.kill(os.getpid(), signal.SIGKILL)


def at_boundaries(ctx: Context, countdown: Countdown) -> None:
    """Tick before and after the begin and the end of every stage of every shard are recorded."""
    recorded = ctx.step

    @contextmanager
    def step(run_id: int, stage: str, shard: str = "", total: int = 0) -> Iterator[Step]:
        name = f"{stage} {shard}".strip()
        countdown.tick(f"before {name}")
        with recorded(run_id, stage, shard, total) as entered:
            countdown.tick(f"{name} begun")
            yield entered
            countdown.tick(f"{name} done")
        countdown.tick(f"after {name}")

    ctx.step = step  # type: ignore[method-assign]


def at_renames(countdown: Countdown) -> None:
    """Tick before and after each file is renamed to its place: a stage file, a manifest, a page of Data Docs."""
    rename = os.replace

    def replace(source: Any, target: Any, **places: Any) -> None:
        name = "/".join(Path(target).parts[-2:])
        countdown.tick(f"before the rename to {name}")
        rename(source, target, **places)
        countdown.tick(f"after the rename to {name}")

    os.replace = replace  # type: ignore[assignment]


def at_call(nth: int, command: Sequence[str], calls: Sequence[str] = CALLS) -> list[str]:
    """The command, killed at the `nth` of these system calls of its first thread; empty where strace cannot do it.

    Only the first thread is traced: it does all the writing, and the parse children are not what is killed.
    """
    names = ",".join(calls)
    tracer = [shutil.which("strace") or "", "-qq", "-o", os.devnull, "-e", f"trace={names}"]
    if not tracer[0] or subprocess.run([*tracer, "true"], capture_output=True, check=False).returncode:
        return []
    return [*tracer, "-e", f"inject={names}:signal=SIGKILL:when={nth}", *command]


def after_seconds(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Kill the process once it has run for so long; False when it ended before."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait() == -signal.SIGKILL


def processes_in(folder: Path, patience: float = 0.0) -> list[int]:
    """The processes that work in a folder, such as the parse children of a killed run, after up to `patience` seconds."""
    deadline = time.monotonic() + patience
    while (found := [pid for pid in _pids() if _folder_of(pid).startswith(f"{folder}/")]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _folder_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:  # it has ended
        return ""

"""Temporary folders that do not outlive their process for long.

Each has a lock beside it that its process holds; the kernel frees it when the process is killed, and the next folder of any
process takes what was left away. A killed sync would otherwise leave the text of documents in the temporary directory.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

PREFIX = "millrace-scratch-"


class Scratch:
    """An empty folder, for this user only, until `close`. A context manager that gives its path."""

    def __init__(self) -> None:
        _sweep()
        descriptor, name = tempfile.mkstemp(prefix=PREFIX, suffix=".lock")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor, self._lock = descriptor, Path(name)
        self.path = self._lock.with_suffix("")
        self.path.mkdir(mode=0o700)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder and what is in it."""
        _remove(self._lock)
        os.close(self._descriptor)


def _sweep() -> None:
    """Remove the folders whose process is gone."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*.lock"):
        try:
            with lock.open("rb") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(lock)
        except OSError:  # in use, somebody else's, or just removed
            continue


def _remove(lock: Path) -> None:
    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
    lock.unlink(missing_ok=True)

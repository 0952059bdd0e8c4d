"""The way to the validation worker: one warm process per state folder, shared by every task and command on this machine.

Importing great_expectations costs three seconds or more of one core; a sync needs it in two stages, and Airflow runs each in
a process of its own. So the worker outlives its first client: it is spawned detached, listens on a Unix socket, answers one
request at a time and ends after IDLE_SECONDS without one. The socket lies in a folder of this user alone, named after the
state folder and the code, so that another project or version never meets it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pipelines.errors import FixConfiguration, Retry

IDLE_SECONDS = 60.0
REQUEST_SECONDS = 600.0  # a shard's suite takes well under one
START_SECONDS = 60.0
STOP_SECONDS = 10.0
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT")


class Link:
    """Finds, spawns and asks the worker of one state folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        name = hashlib.sha256(f"{folder.resolve()}\0{_code_version()}".encode()).hexdigest()[:16]
        self._base = _private_folder() / name
        self._spawned: int | None = None  # pid of the worker that this object started

    @property
    def address(self) -> Path:
        """Where the worker listens; a sibling `.lock` holds its pid, `.log` what it says."""
        return self._base.with_suffix(".sock")

    def start(self) -> None:
        """Spawn the worker unless one listens; returns at once, while it still imports."""
        if not self._listening():
            self._spawn()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request, one reply. Raises Retry when the worker dies, hangs or cannot start."""
        message = json.dumps(request).encode() + b"\n"
        try:
            try:
                reply = self._exchange(message)
            except (ConnectionResetError, BrokenPipeError):  # it went idle just as we came
                reply = self._exchange(message)
        except TimeoutError:
            self.stop()
            raise Retry(self._stopped(f"no answer within {REQUEST_SECONDS:.0f} s")) from None
        except (OSError, EOFError, json.JSONDecodeError) as error:
            raise Retry(self._stopped(str(error) or type(error).__name__)) from None
        return reply

    def stop(self) -> bool:
        """End the worker now; False when none ran."""
        pid = self._pid()
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self._reap(os.WEXITED)
        deadline = time.monotonic() + STOP_SECONDS
        while self._pid() == pid and time.monotonic() < deadline:  # gone when it has let go of its lock
            time.sleep(0.01)
        self.address.unlink(missing_ok=True)
        return True

    def _exchange(self, message: bytes) -> dict[str, Any]:
        with self._connect() as stream:
            stream.settimeout(REQUEST_SECONDS)
            stream.sendall(message)
            reply: dict[str, Any] = json.loads(_line(stream))
            return reply

    def _connect(self) -> socket.socket:
        """A connection to the listening worker, spawned if need be; it may still be importing behind it."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            stream = socket.socket(socket.AF_UNIX)
            try:
                stream.connect(str(self.address))
            except (FileNotFoundError, ConnectionRefusedError):
                stream.close()
                self._await_spawned()
                time.sleep(0.02)
            else:
                return stream
        raise EOFError(f"it did not listen within {START_SECONDS:.0f} s")

    def _await_spawned(self) -> None:
        """Spawn a worker unless one is on its way; EOFError when ours died before it listened."""
        code = self._reap(os.WEXITED | os.WNOHANG)
        if code:
            raise EOFError(f"exit {code}")
        if self._spawned is None:  # or it left the place to another that was quicker
            self._spawn()

    def _reap(self, options: int) -> int | None:
        """The exit status of the worker that we started, once it ended; None while it runs or when it was not ours."""
        if self._spawned is None:
            return None
        with contextlib.suppress(ChildProcessError):
            ended = os.waitid(os.P_PID, self._spawned, options)
            if ended is None:
                return None
            self._spawned = None
            return int(ended.si_status)
        self._spawned = None
        return None

    def _spawn(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pipelines.quality.worker", str(self._base), str(self._folder), str(IDLE_SECONDS)]
        with self._base.with_suffix(".log").open("wb") as log:
            # Not subprocess: its objects complain when their process outlives them, which is the point here.
            self._spawned = os.posix_spawn(
                sys.executable,
                command,
                _environment(),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
                ],
                setsid=True,
            )

    def _listening(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.address)) == 0

    def _pid(self) -> int | None:
        """The worker's pid while it holds its lock; a number in a file alone may be somebody else's by now."""
        try:
            with self._base.with_suffix(".lock").open("r+") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(lock.read() or 0) or None
        except (FileNotFoundError, ValueError):
            return None
        return None

    def _stopped(self, what: str) -> str:
        return f"the validation worker stopped ({what}): {self._last_words()}; the task may be retried"

    def _last_words(self) -> str:
        try:
            lines = self._base.with_suffix(".log").read_bytes()[-4096:].decode("utf-8", "replace").splitlines()
        except FileNotFoundError:
            lines = []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")[:500]


def _line(stream: socket.socket) -> bytes:
    """What the worker answers up to the end of its line; EOFError when it ends before."""
    parts: list[bytes] = []
    while not (parts and parts[-1].endswith(b"\n")):
        data = stream.recv(1 << 16)
        if not data:
            raise EOFError("it ended in the middle of a request")
        parts.append(data)
    return b"".join(parts)


def _private_folder() -> Path:
    """A short folder (a socket's path may have 107 bytes) that only this user may enter."""
    folder = Path(tempfile.gettempdir()) / f"millrace-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise FixConfiguration(f"{folder} belongs to somebody else or is open to others; remove it or set TMPDIR")
    return folder


def _code_version() -> str:
    """Changes with the worker's code and interpreter: a newer caller never talks to an older worker."""
    here = Path(__file__).parent
    stamps = (f"{path.name}:{path.stat().st_mtime_ns}" for path in sorted(here.glob("*.py")))
    return "|".join((sys.executable, *stamps))


def _environment() -> dict[str, str]:
    """No credentials, no telemetry, and the same `pipelines` as the caller's."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    root = str(Path(__file__).resolve().parents[2])
    return kept | {"PYTHONPATH": root, "GX_ANALYTICS_ENABLED": "false", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

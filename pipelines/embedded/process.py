"""Detached processes that outlive their starter: each in a session of its own, with a record and a log file.

The record holds pid and identity, so `stop` ends exactly what was started: the leader, then whatever of its session is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from pipelines.embedded.files import read_json, write_json
from pipelines.embedded.identity import identity, processes_in, session_members
from pipelines.errors import Retry

TAIL_BYTES = 4000


class Detached:
    """One named process; its record is `<folder>/run/<name>.json`, its log `<folder>/logs/<name>.log`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.record = folder / "run" / f"{name}.json"
        self.log = folder / "logs" / f"{name}.log"

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the command unless the recorded process still runs; its output is appended to the log.

        Its working folder is that of the records, by which `strays` knows it even when the record is lost.
        """
        if self.running():
            return
        self.stop()  # children of a dead leader would hold its port
        for folder in (self.record.parent, self.log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=self.record.parent,
                start_new_session=True,
            )
        process.returncode = 0  # not ours to wait for: silences Popen's warning about a living child
        token = identity(process.pid)
        if token is None:
            raise Retry(f"{self.name} ended at once: {self.tail()} (see {self.log})")
        write_json(self.record, {"pid": process.pid, "identity": token, "command": list(command)})

    def pid(self) -> int | None:
        """The pid of the running leader, or None."""
        recorded = read_json(self.record)
        pid = recorded.get("pid")
        return pid if isinstance(pid, int) and _alive(pid) == recorded.get("identity") else None

    def running(self) -> bool:
        """Whether the recorded process, not another one with its pid, is alive."""
        return self.pid() is not None

    def members(self) -> list[int]:
        """Pids of the recorded process and of everything it started in its session."""
        recorded = read_json(self.record)
        session = recorded.get("pid")
        return _members(session, str(recorded.get("identity"))) if isinstance(session, int) else []

    def stop(self, seconds: float = 15.0) -> bool:
        """End the process and its session, by SIGTERM and then SIGKILL; False when nothing was left of it."""
        recorded = read_json(self.record)
        session, token = recorded.get("pid"), str(recorded.get("identity"))
        if not isinstance(session, int):
            return False
        leader = self.pid()
        if leader is not None:
            _signal(leader, signal.SIGTERM)
            _until(lambda: _alive(leader) != token, seconds)
        found = leader is not None
        for number in (signal.SIGTERM, signal.SIGKILL):
            members = _members(session, token)
            found = found or bool(members)
            for pid in members:
                _signal(pid, number)
            _until(lambda: not _members(session, token), 3.0 if members else 0.0)
        self.record.unlink(missing_ok=True)
        return found

    def await_ready(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready()`; Retry with the log's last line when the process dies or takes longer than `seconds`."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running():
                raise Retry(f"{self.name} ended while starting: {self.tail()} (see {self.log})")
            if time.monotonic() > deadline:
                raise Retry(f"{self.name} not ready after {seconds:.0f} s: {self.tail()} (see {self.log})")
            time.sleep(0.1)

    def tail(self) -> str:
        """The log's last line that is not empty."""
        try:
            with self.log.open("rb") as handle:
                handle.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
                lines = handle.read().decode("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return "no log"
        return next((line.strip() for line in reversed(lines) if line.strip()), "empty log")


def end_strays(folder: Path, owned: Collection[int]) -> int:
    """End the processes that were started below `folder` and that no record names; returns how many there were.

    Such are left when the state folder was deleted while they ran.
    """
    records = folder / "run"
    strays = [pid for pid in processes_in(records) if pid not in owned]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in set(strays).intersection(processes_in(records)):
            _signal(pid, number)
        _until(lambda: not set(strays).intersection(processes_in(records)), 5.0 if strays else 0.0)
    return len(strays)


def _alive(pid: int) -> str | None:
    """The identity of a process; a zombie child of ours is reaped and gone."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return identity(pid)


def _members(session: int, token: str) -> list[int]:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(session, os.WNOHANG)
    return session_members(session, token)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _until(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.05)

"""Detached processes are ended whole, and nobody else is."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.embedded.files import locked, read_json, write_json
from pipelines.embedded.identity import identity
from pipelines.embedded.ports import free_port
from pipelines.embedded.process import Detached, end_strays
from pipelines.errors import Retry

pytestmark = pytest.mark.integration

SLEEP = [sys.executable, "-c", "import time; time.sleep(120)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(120)",
]
# A child in a process group of its own, as Airflow's tasks are: a signal to the parent's group does not reach it.
PARENT = [
    sys.executable,
    "-c",
    "import os, time, pathlib\n"
    "child = os.fork()\n"
    "if child == 0:\n"
    "    os.setpgid(0, 0)\n"
    "    time.sleep(120)\n"
    "pathlib.Path('child').write_text(str(child))\n"
    "time.sleep(120)\n",
]


def eventually(check: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def started(folder: Path, command: list[str]) -> Detached:
    process = Detached(folder, "service")
    process.start(command, os.environ)
    return process


def test_stop_ends_the_process_and_forgets_it(tmp_path: Path) -> None:
    process = started(tmp_path, SLEEP)
    pid = process.pid()
    assert pid is not None
    assert process.stop()
    assert identity(pid) is None
    assert not process.stop()


def test_start_keeps_a_running_process(tmp_path: Path) -> None:
    process = started(tmp_path, SLEEP)
    pid = process.pid()
    started(tmp_path, SLEEP)
    assert process.pid() == pid
    process.stop()


def test_stop_escalates(tmp_path: Path) -> None:
    process = started(tmp_path, STUBBORN)
    eventually(lambda: process.tail() == "up")
    pid = process.pid()
    assert pid is not None
    assert process.stop(seconds=0.3)
    assert identity(pid) is None


def test_stop_ends_children_in_other_process_groups(tmp_path: Path) -> None:
    process = started(tmp_path, PARENT)
    note = tmp_path / "run" / "child"
    eventually(lambda: note.exists() and note.read_text())
    child = int(note.read_text())
    process.stop()
    assert identity(child) is None


def test_children_of_a_dead_leader_are_ended(tmp_path: Path) -> None:
    process = started(tmp_path, PARENT)
    note = tmp_path / "run" / "child"
    eventually(lambda: note.exists() and note.read_text())
    leader, child = process.pid(), int(note.read_text())
    assert leader is not None
    os.kill(leader, 9)
    eventually(lambda: not process.running())
    assert identity(child) is not None
    process.stop()
    assert identity(child) is None


def test_recycled_pid_is_never_killed(tmp_path: Path) -> None:
    """The record's number now belongs to a process that started at another moment."""
    process = Detached(tmp_path, "service")
    with subprocess.Popen(SLEEP, start_new_session=True) as stranger:
        boot, _, tick = str(identity(stranger.pid)).rpartition(":")
        write_json(process.record, {"pid": stranger.pid, "identity": f"{boot}:{int(tick) - 1}", "command": SLEEP})
        assert not process.running()
        process.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_stray_without_a_record_is_found_by_its_folder(tmp_path: Path) -> None:
    process = started(tmp_path, SLEEP)
    pid = process.pid()
    assert pid is not None
    assert end_strays(tmp_path, process.members()) == 0
    shutil.rmtree(tmp_path / "run")
    with subprocess.Popen(SLEEP, cwd=tmp_path) as neighbour:
        assert end_strays(tmp_path, []) == 1
        assert neighbour.poll() is None
        neighbour.kill()
    eventually(lambda: identity(pid) is None)


def test_death_while_starting_names_the_last_line_and_the_log(tmp_path: Path) -> None:
    process = started(tmp_path, [sys.executable, "-c", "print('port 1 is not allowed'); raise SystemExit(3)"])
    with pytest.raises(Retry, match=r"port 1 is not allowed.*service\.log"):
        process.await_ready(lambda: False, 10)


def test_lock_waits_and_gives_up(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"), pytest.raises(Retry, match="held"), locked(tmp_path / "lock", seconds=0.2):
        pass
    with locked(tmp_path / "lock", seconds=0.2):
        pass


def test_damaged_state_file_reads_as_empty(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"pid": 12')
    assert read_json(tmp_path / "state.json") == {}


def test_free_port_is_the_next_one_when_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as owner:
        taken = owner.getsockname()[1]
        found = free_port(taken)
        assert found != taken
        with socket.create_server(("127.0.0.1", found)):
            pass
    assert free_port(taken) == taken

"""Each injector ends the process that it is put into, at the point that it names and nowhere else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.faults import archive, kills
from bench.faults.aftermath import Snapshot, differences, inflated, mixed
from bench.faults.archive import CHANGED, FIRST, Archive
from bench.faults.lab import in_child
from pipelines.objects import Folder

WRITER = [sys.executable, "-c", "import os\nfor n in range(5): os.write(1, b'%d' % n)"]


def bare_context() -> Any:
    """A context whose step records nothing."""

    @contextmanager
    def step(*given: Any) -> Iterator[None]:
        yield

    return SimpleNamespace(step=step)


@pytest.mark.parametrize(("nth", "point"), [(1, "before embed 0001"), (3, "embed 0001 done"), (4, "after embed 0001")])
def test_a_boundary_is_named_and_kills(tmp_path: Path, nth: int, point: str) -> None:
    note = tmp_path / "note"

    def work() -> None:
        ctx = bare_context()
        kills.at_boundaries(ctx, kills.Countdown(nth, note))
        with ctx.step(1, "embed", "0001", 0):
            pass

    assert in_child(work) == -signal.SIGKILL
    assert note.read_text() == point


@pytest.mark.parametrize(("nth", "there"), [(1, False), (2, True)])
def test_a_rename_kills_before_and_after_the_file_is_in_its_place(tmp_path: Path, nth: int, there: bool) -> None:
    objects = Folder(tmp_path / "objects")

    def work() -> None:
        kills.at_renames(kills.Countdown(nth, tmp_path / "note"))
        objects.put("stage/plan.json", b"{}")

    assert in_child(work) == -signal.SIGKILL
    assert objects.exists("stage/plan.json") is there


def test_a_countdown_of_none_lets_everything_pass(tmp_path: Path) -> None:
    countdown = kills.Countdown(0, tmp_path / "note")
    for _ in range(5):
        countdown.tick("point")
    assert countdown.ticks == 5


def test_strace_kills_at_the_call_and_not_before() -> None:
    command = kills.at_call(3, WRITER, ["write"])
    if not command:
        pytest.skip("strace is missing or may not trace here")
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert done.stdout == b"01"


def test_a_moment_kills_only_what_still_runs() -> None:
    assert kills.after_seconds(subprocess.Popen(["sleep", "30"]), 0.05)
    assert not kills.after_seconds(subprocess.Popen(["true"]), 10)


def test_processes_that_work_in_a_folder_are_found(tmp_path: Path) -> None:
    inside = tmp_path / "home"
    inside.mkdir()
    process = subprocess.Popen(["sleep", "30"], cwd=inside)
    try:
        deadline = time.monotonic() + 5
        while kills.processes_in(tmp_path) != [process.pid] and time.monotonic() < deadline:
            time.sleep(0.01)
        assert kills.processes_in(tmp_path) == [process.pid]
    finally:
        process.kill()
        process.wait()
    assert not kills.processes_in(tmp_path)
    assert os.getpid() not in kills.processes_in(tmp_path)


def test_an_archive_moves_a_version_without_its_bytes(tmp_path: Path) -> None:
    first, changed = Archive(FIRST), Archive(CHANGED)
    uri = first.uri("b08.txt")
    assert first.objects["b08.txt"] == changed.objects["b08.txt"]
    assert first.versions()[uri] != changed.versions()[uri]
    archive.write(tmp_path / "docs", FIRST)
    before = (tmp_path / "docs/b08.txt").stat().st_mtime_ns
    archive.write(tmp_path / "docs", CHANGED)
    assert (tmp_path / "docs/b08.txt").stat().st_mtime_ns > before
    assert {path.name for path in (tmp_path / "docs").iterdir()} == set(CHANGED)


def snapshot(*served: tuple[Any, ...], orphans: int = 0) -> Snapshot:
    ledger = Counter({(row[0], row[1], "loaded"): 1 for row in served})
    return Snapshot(Counter(served), ledger, Counter(), Counter(), {("u", "", "v"): (2, 1)}, orphans, 0, 0)


def test_lost_doubled_and_mixed_rows_are_told_apart() -> None:
    old, new = snapshot(("u", "", 0, "old"), ("u", "", 1, "old")), snapshot(("u", "", 0, "new"), ("u", "", 1, "new"))
    half = snapshot(("u", "", 0, "new"), ("u", "", 1, "old"), orphans=1)
    assert not mixed(old, old, new)
    assert not mixed(new, old, new)
    assert mixed(half, old, new) == [("u", "")]
    found = differences(half, new)
    assert (found["lost_rows"], found["duplicate_rows"], found["orphan_rows"]) == (1, 1, 1)
    assert found["mixed_documents"] == 1
    assert not any(differences(new, new).values())


def test_more_quarantine_entries_than_tries_are_inflated() -> None:
    before = Snapshot(Counter(), Counter(), Counter(), Counter(), {}, 0, 0, 0)
    assert inflated(snapshot(), before, Counter({"u": 1})) == 1
    assert inflated(snapshot(), before, Counter({"u": 2})) == 0

"""Temporary folders go with their process, killed or not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipelines.scratch import Scratch

KILLED = """
import os, signal, sys, tempfile
tempfile.tempdir = sys.argv[1]
from pipelines.scratch import Scratch
(Scratch().path / "text").write_text("of a document")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_private_and_gone_afterwards(temporary: Path) -> None:
    with Scratch() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "inner").mkdir()
        (folder / "inner/file").write_text("x")
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_and_nothing_else(temporary: Path) -> None:
    (temporary / "somebody-elses").mkdir()
    with Scratch() as mine:
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(temporary)], check=False, env={**os.environ, "PYTHONPATH": "."}
        )
        assert done.returncode == -signal.SIGKILL
        assert len(list(temporary.glob("*/text"))) == 1
        with Scratch():
            assert list(temporary.glob("*/text")) == []
            assert mine.is_dir()
    assert [path.name for path in temporary.iterdir()] == ["somebody-elses"]

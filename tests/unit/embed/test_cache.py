"""Converted models appear whole or not at all, once, however many ask and whatever died before."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.embed import cache
from pipelines.embed.card import ModelCard
from pipelines.errors import Retry

CARD = ModelCard(Path("/m"), Path("/m"), "tiny", "ab" * 32, 32, 128, "mean", (), True, "", "", "cd" * 32, 0)


@pytest.fixture
def conversions(monkeypatch):
    """The converter replaced by one that writes two files slowly; the list of folders it wrote."""
    made: list[Path] = []

    def write(card: ModelCard, out: Path) -> None:
        (out / "model.xml").write_text("<graph/>")
        time.sleep(0.05)
        (out / "model.bin").write_bytes(b"w" * 1000)
        made.append(out)

    monkeypatch.setattr(cache, "_run_converter", write)
    return made


def test_made_once_and_found_again(conversions, tmp_path):
    first = cache.converted(CARD, tmp_path / "deep" / "cache")
    assert cache.converted(CARD, tmp_path / "deep" / "cache") == first
    assert sorted(path.name for path in first.iterdir()) == ["model.bin", "model.xml", "sizes.json"]
    assert len(conversions) == 1


def test_concurrent_callers_convert_once(conversions, tmp_path):
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(cache.converted(CARD, tmp_path))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(conversions) == 1
    assert len(set(found)) == 1
    assert len(found) == 6


@pytest.mark.parametrize(
    "damage", ["truncated", "no weights", "no manifest", "manifest not json", "folder empty", "leftover partial"]
)
def test_a_half_made_cache_is_made_again(conversions, tmp_path, damage):
    folder = cache.converted(CARD, tmp_path)
    match damage:
        case "truncated":
            (folder / "model.bin").write_bytes(b"w" * 999)
        case "no weights":
            (folder / "model.bin").unlink()
        case "no manifest":
            (folder / "sizes.json").unlink()
        case "manifest not json":
            (folder / "sizes.json").write_text("[1")
        case "folder empty":
            shutil.rmtree(folder)
            folder.mkdir()
        case _:
            folder.rename(folder.with_suffix(".partial1"))
    assert (cache.converted(CARD, tmp_path) / "model.bin").stat().st_size == 1000
    assert len(conversions) == 2
    assert not list(tmp_path.glob("*.partial*"))


def test_other_weights_or_pooling_are_another_graph(conversions, tmp_path):
    cards = [CARD, replace(CARD, revision="ef" * 32), replace(CARD, pooling="cls"), replace(CARD, max_tokens=64)]
    assert len({cache.converted(card, tmp_path) for card in cards}) == 3


def test_a_failing_converter_is_a_retry_with_its_last_line_and_leaves_nothing_usable(monkeypatch, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho Traceback >&2\necho 'MemoryError: 90 MB' >&2\necho >&2\nexit 7\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(Retry, match=r"converting tiny failed \(exit 7\): MemoryError: 90 MB"):
        cache.converted(CARD, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir() and ".partial" not in path.name]


def test_a_late_converter_is_a_retry(monkeypatch, tmp_path):
    def late(*args: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("convert", 900)

    monkeypatch.setattr(subprocess, "run", late)
    with pytest.raises(Retry, match="took over"):
        cache.converted(CARD, tmp_path)

"""What is kept is what was given, and what was altered in the store is never loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import FailRun, Retry
from pipelines.objects import Memory
from pipelines.registry import artifacts
from pipelines.registry.folder import inspect
from tests.unit.registry.folders import sound


class Forgetful(Memory):
    """Says that it wrote, and gives back something else."""

    def get(self, path: str) -> bytes:
        return super().get(path)[:-1]


def test_a_kept_model_comes_back_under_its_name_and_is_fetched_once(tmp_path: Path) -> None:
    folder, objects = sound(tmp_path / "model"), Memory()
    files = inspect(folder)
    prefix = artifacts.keep(objects, folder, files)
    assert artifacts.keep(objects, folder, files) == prefix
    assert artifacts.lost(objects, prefix, files) == []
    fetched = artifacts.fetch(objects, prefix, files, tmp_path / "cache", "handbook")
    assert fetched.name == "handbook"
    assert inspect(fetched) == files
    assert artifacts.fetch(Memory(), prefix, files, tmp_path / "cache", "handbook") == fetched


def test_an_altered_or_missing_file_is_named_and_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    folder, objects = sound(tmp_path / "model"), Memory()
    files = inspect(folder)
    prefix = artifacts.keep(objects, folder, files)
    objects.put(f"{prefix}/config.json", b"{}")
    with pytest.raises(FailRun, match=r"config\.json: altered"):
        artifacts.fetch(objects, prefix, files, tmp_path / "cache", "handbook")
    objects.delete(f"{prefix}/vocab.txt")
    assert artifacts.lost(objects, prefix, files) == ["config.json", "vocab.txt"]
    artifacts.keep(objects, folder, files)
    assert artifacts.lost(objects, prefix, files) == []
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_a_store_that_gives_back_other_bytes_is_noticed_before_a_row_names_them(tmp_path: Path) -> None:
    folder = sound(tmp_path / "model")
    with pytest.raises(Retry, match="other bytes"):
        artifacts.keep(Forgetful(), folder, inspect(folder))


def test_the_identity_is_of_names_and_bytes_whatever_the_order(tmp_path: Path) -> None:
    files = inspect(sound(tmp_path / "model"))
    assert artifacts.fingerprint(files) == artifacts.fingerprint(files[::-1])
    assert artifacts.fingerprint(files) != artifacts.fingerprint(files[1:])


def test_what_no_version_names_is_found(tmp_path: Path) -> None:
    folder, objects = sound(tmp_path / "model"), Memory()
    prefix = artifacts.keep(objects, folder, inspect(folder))
    assert artifacts.orphans(objects, set()) == [prefix]
    assert artifacts.orphans(objects, {prefix}) == []

"""What is particular to files: links, special files, hidden folders, races, rights and missing days."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import FolderSource
from pipelines.errors import FixConfiguration, Retry, SkipDocument
from pipelines.records import RawObject, Reason
from pipelines.sources import folder as module
from pipelines.sources import open_source, relative
from pipelines.sources.folder import Folder


def names(source: Folder, prefix: str = "") -> set[str]:
    return {relative(source.root(), listed.uri) for listed in source.list(prefix)}


def only(source: Folder) -> RawObject:
    (listed,) = source.list()
    return listed


def reason(source: Folder, listed: RawObject) -> Reason:
    with pytest.raises(SkipDocument) as caught:
        source.read(listed, 1000)
    return caught.value.reason


def test_links_special_files_and_dot_folders_are_not_listed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "sub", root / ".git/objects", outside):
        folder.mkdir(parents=True)
    for file in (root / "a.txt", root / "sub/b.txt", root / ".hidden-file", root / ".git/objects/c", outside / "secret"):
        file.write_text("x")
    (root / "link").symlink_to(outside / "secret")
    (root / "linked-folder").symlink_to(outside)
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "pipe")

    assert names(Folder("docs", root)) == {"a.txt", "sub/b.txt", ".hidden-file"}


def test_the_root_itself_may_be_a_link_and_its_address_stays(tmp_path: Path) -> None:
    (tmp_path / "release-1").mkdir()
    (tmp_path / "release-1/a.txt").write_text("x")
    (tmp_path / "current").symlink_to("release-1")
    source = Folder("docs", tmp_path / "current")
    assert only(source).uri == f"file://{tmp_path}/current/a.txt"
    assert source.read(only(source), 10).data == b"x"


@pytest.mark.parametrize("become", ["link", "folder", "pipe", "linked parent", "nothing"])
def test_a_file_replaced_after_its_listing_is_gone_and_the_replacement_not_followed(tmp_path: Path, become: str) -> None:
    secret, file = tmp_path / "secret", tmp_path / "root/sub/a.txt"
    secret.mkdir()
    (secret / "a.txt").write_text("secret")
    file.parent.mkdir(parents=True)
    file.write_text("x")
    source = Folder("docs", tmp_path / "root")
    listed = only(source)
    file.unlink()
    if become == "link":
        file.symlink_to(secret / "a.txt")
    elif become == "folder":
        file.mkdir()
    elif become == "pipe":
        os.mkfifo(file)
    elif become == "linked parent":
        file.parent.rmdir()
        file.parent.symlink_to(secret)

    assert reason(source, listed) is Reason.SOURCE_VANISHED
    assert source.current_version(listed.uri) is None


@pytest.mark.parametrize("tail", ["../secret", "sub/../../secret", "%2e%2e/secret", "..%2fsecret", "a.txt%00", "/a.txt", ""])
def test_an_address_cannot_leave_the_folder(tmp_path: Path, tail: str) -> None:
    (tmp_path / "root/sub").mkdir(parents=True)
    (tmp_path / "root/a.txt").write_text("x")
    (tmp_path / "secret").write_text("secret")
    source = Folder("docs", tmp_path / "root")
    forged = RawObject(source.root() + tail, "v", 1)
    assert reason(source, forged) is Reason.SOURCE_VANISHED
    assert reason(source, RawObject(f"file://{tmp_path}/secret", "v", 1)) is Reason.SOURCE_VANISHED


@pytest.mark.parametrize("times", [1, 2, 99])
def test_a_file_written_during_the_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"version 0")
    source = Folder("docs", tmp_path)
    listed = only(source)
    writes = iter(range(1, times + 1))

    def write_meanwhile(info: os.stat_result) -> None:
        for number in writes:
            file.write_bytes(b"version %d" % number)
            break

    monkeypatch.setattr(module, "_wait_out_tick", write_meanwhile)
    if times > module.TRIES:
        assert reason(source, listed) is Reason.SOURCE_CHANGED
    else:
        content = source.read(listed, 100)
        assert content.data == b"version %d" % times
        assert content.version == source.current_version(listed.uri)


def test_same_size_and_restored_mtime_is_still_another_version(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"one")
    source = Folder("docs", tmp_path)
    before, times = only(source), os.stat(file)
    source.read(before, 10)
    file.write_bytes(b"two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert only(source).version != before.version


def test_a_writer_of_equal_sizes_never_hides_behind_a_version(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"000000")
    source = Folder("docs", tmp_path)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.001):
            number += 1
            file.write_bytes(b"%06d" % number)

    writer = threading.Thread(target=write)
    writer.start()
    seen: dict[str, bytes] = {}
    reasons: set[Reason] = set()
    try:
        for _ in range(30):
            try:
                content = source.read(only(source), 100)
            except SkipDocument as skipped:
                reasons.add(skipped.reason)
            else:
                assert seen.setdefault(content.version, content.data) == content.data
    finally:
        stop.set()
        writer.join()
    assert reasons <= {Reason.SOURCE_CHANGED}
    content = source.read(only(source), 100)
    assert content.data == file.read_bytes()


@pytest.mark.parametrize("what", ["missing", "file"])
def test_a_root_that_is_no_folder_is_a_configuration_error(tmp_path: Path, what: str) -> None:
    root = tmp_path / "root"
    if what == "file":
        root.write_text("x")
    source = Folder("docs", root)
    for call in (lambda: list(source.list()), lambda: source.current_version(source.root() + "a.txt")):
        with pytest.raises(FixConfiguration, match=r"source 'docs': .*/root: no.* folder.*correct `path` in .*sources.yaml"):
            call()


def test_a_day_without_a_folder_is_empty_but_a_missing_tree_is_an_error(tmp_path: Path) -> None:
    config = FolderSource(kind="folder", path=f"{tmp_path}/raw/dt={{{{ ds }}}}/")
    source = open_source("docs", config, {}, date(2026, 10, 1))
    with pytest.raises(FixConfiguration, match="raw: no such folder"):
        list(source.list())
    (tmp_path / "raw").mkdir()
    assert list(source.list()) == []
    (tmp_path / "raw/dt=2026-10-01").mkdir()
    (tmp_path / "raw/dt=2026-10-01/a.txt").write_text("x")
    (tmp_path / "raw/dt=2026-10-02").mkdir()
    (tmp_path / "raw/dt=2026-10-02/b.txt").write_text("x")
    assert [listed.uri for listed in source.list()] == [f"file://{tmp_path}/raw/dt%3D2026-10-01/a.txt"]


@pytest.mark.parametrize(
    ("failure", "expected"), [(PermissionError, FixConfiguration), (FileNotFoundError, Retry), (OSError, Retry)]
)
def test_a_level_that_cannot_be_listed_fails_the_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[OSError], expected: type[Exception]
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "a.txt").write_text("x")
    real = os.scandir

    def scandir(path: str) -> Any:
        if path.endswith("bad"):
            raise failure(5, "no")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(expected, match="/bad: "):
        list(Folder("docs", tmp_path).list())


def test_a_listing_that_breaks_in_the_middle_of_a_level_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("x")

    class Breaking:
        def __init__(self, path: str) -> None:
            with real(path) as level:
                self.first = next(level)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            yield self.first
            raise OSError(5, "Input/output error")

        def __exit__(self, *_: object) -> None:
            """Nothing is open."""

    real = os.scandir
    monkeypatch.setattr(os, "scandir", Breaking)
    with pytest.raises(Retry, match="incomplete listing, Input/output error"):
        list(Folder("docs", tmp_path).list())


def test_one_unreadable_file_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "denied.txt").write_text("x")
    source = Folder("docs", tmp_path)
    listed = only(source)
    real = os.open

    def deny(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if path == "denied.txt":
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", deny)
    assert reason(source, listed) is Reason.DEPENDENCY_DOWN


def test_a_failing_disk_is_no_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("x")
    source = Folder("docs", tmp_path)
    listed = only(source)
    real = os.open

    def fail(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if path == "a.txt":
            raise OSError(5, "Input/output error")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", fail)
    for call in (lambda: source.read(listed, 10), lambda: source.current_version(listed.uri)):
        with pytest.raises(Retry, match="Input/output error"):
            call()


def test_reading_leaves_no_descriptor_open(tmp_path: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc/self/fd")
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c.txt").write_text("x")
    source = Folder("docs", tmp_path)
    listed = only(source)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        source.read(listed, 10)
        source.current_version(source.root() + "a/x/y")
        with pytest.raises(SkipDocument):
            source.read(listed, 0)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_days_folder_that_cannot_be_asked_for_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = FolderSource(kind="folder", path=f"{tmp_path}/{{{{ ds }}}}/in")
    source = open_source("days", config, {}, date(2026, 1, 2))
    assert list(source.list()) == []
    real = os.stat

    def stat(path: Any, *arguments: Any, **named: Any) -> os.stat_result:
        if str(path).endswith("/in"):
            raise OSError(116, "Stale file handle")
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(Retry, match="2026-01-02/in: Stale file handle"):
        list(source.list())


def test_a_file_on_a_bad_sector_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("x")
    source = Folder("docs", tmp_path)
    listed = only(source)

    def broken(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module, "_read_still", broken)
    assert reason(source, listed) is Reason.DEPENDENCY_DOWN

"""What every object store promises, asked of every adapter over its real service."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from pipelines import aws
from pipelines.config import Connection
from pipelines.errors import FailRun, FixConfiguration
from pipelines.objects import Folder, Memory, S3Objects
from pipelines.ports import Objects

TRAVERSALS = ["", "/", "/etc/passwd", "..", "../x", "a/../../x", "a/./b", "a//b", "a/", "a\\..\\b", "a\0b", "a\nb", ".tmp/x"]


def s3_client(endpoint: str) -> Any:
    extra = {"endpoint_url": endpoint, "region_name": "eu-central-1"}
    return aws.client(Connection(conn_id="c", conn_type="aws", login="x", password="y", extra=extra))


FILES = ["run/1/b", "run/1/a", "run/10/a", "other"]


@pytest.fixture(params=["memory", "folder", pytest.param("s3", marks=pytest.mark.integration)])
def objects(request: pytest.FixtureRequest) -> Objects:
    if request.param == "memory":
        return Memory()
    if request.param == "folder":
        return Folder(request.getfixturevalue("tmp_path") / "not yet" / "there")
    endpoint, bucket = request.getfixturevalue("bucket")
    client = s3_client(endpoint)
    client.put_object(Bucket=bucket, Key="stage files 2/outside", Body=b"of another prefix")
    return S3Objects(client, bucket, "stage files")


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_what_was_put_comes_back(objects: Objects, size: int) -> None:
    data = random.Random(size).randbytes(size)
    uri = objects.put("run/7/ünï code %41+.parquet", data)
    assert objects.get("run/7/ünï code %41+.parquet") == data
    assert objects.exists("run/7/ünï code %41+.parquet")
    assert uri == objects.uri("run/7/ünï code %41+.parquet")
    assert unquote(urlsplit(uri).path).count("run/7/ünï code ") == 1


def test_putting_again_replaces(objects: Objects) -> None:
    objects.put("a/b", b"long enough to leave a tail")
    objects.put("a/b", b"short")
    assert objects.get("a/b") == b"short"
    assert objects.list("") == ["a/b"]


def test_what_is_absent_is_a_key_error(objects: Objects) -> None:
    objects.put("a/b", b"x")
    for path in ("missing", "a", "a/b/c", "a/bb"):
        assert not objects.exists(path)
        with pytest.raises(KeyError):
            objects.get(path)


def test_lists_whole_names_sorted(objects: Objects) -> None:
    paths = FILES if isinstance(objects, Folder) else [*FILES, "run/1"]  # a file cannot be a folder too
    for path in paths:
        objects.put(path, b"x")
    assert objects.list("") == sorted(paths)
    assert (
        objects.list("run/1") == objects.list("run/1/") == sorted(p for p in paths if p == "run/1" or p.startswith("run/1/"))
    )
    assert objects.list("run") == sorted(path for path in paths if path.startswith("run/"))
    assert objects.list("ru") == objects.list("run/2") == objects.list("other/x") == []


def test_deletes_whole_names_and_counts_them(objects: Objects) -> None:
    for path in FILES:
        objects.put(path, b"x")
    assert objects.delete("run/1") == 2
    assert objects.list("") == ["other", "run/10/a"]
    assert objects.delete("run/1") == 0
    assert objects.delete("other") == 1
    objects.put("run/1", b"a name that was a folder is free again")
    assert objects.list("run") == ["run/1", "run/10/a"]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_a_path_that_could_leave_the_store_is_refused(objects: Objects, path: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    for attempt in (lambda: objects.put(path, b"x"), lambda: objects.get(path), lambda: objects.exists(path)):
        with pytest.raises(ValueError, match="object path"):
            attempt()
    if path not in {"a/"}:
        with pytest.raises(ValueError, match="object path"):
            objects.delete(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_writers_of_one_path_never_mix(objects: Objects) -> None:
    contents = [bytes([letter]) * 200_000 for letter in b"abcdefgh"]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda data: objects.put("hot", data), contents))
        seen = set(threads.map(lambda _: objects.get("hot"), range(8)))
    assert seen <= set(contents)
    assert objects.list("") == ["hot"]


def test_a_crash_while_writing_leaves_the_old_bytes_and_no_listed_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = Folder(tmp_path)
    objects.put("a/b", b"old")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        objects.put("a/b", b"new")
    (tmp_path / ".tmp/left-by-a-killed-process").write_bytes(b"half")

    assert objects.get("a/b") == b"old"
    assert objects.list("") == ["a/b"]


@pytest.fixture
def full_disk() -> Path:
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("no /dev/full on this system")
    return device


def test_a_full_disk_fails_the_run_and_keeps_the_old_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_disk: Path
) -> None:
    objects = Folder(tmp_path)
    objects.put("a", b"old")
    real_open = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r": real_open(full_disk, "wb") if mode == "xb" else real_open(path, mode)
    )
    with pytest.raises(FailRun, match="^disk_full: .*free space"):
        objects.put("a", b"new" * 100_000)
    monkeypatch.undo()
    assert objects.get("a") == b"old"


def test_a_folder_that_is_a_file_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FixConfiguration, match="file"):
        Folder(tmp_path / "file").put("a", b"x")


@pytest.mark.integration
def test_a_missing_bucket_is_a_configuration_error_and_never_an_absent_object(s3_endpoint: str) -> None:
    objects = S3Objects(s3_client(s3_endpoint), "no-such-bucket")
    for call in (objects.get, objects.exists, objects.list, objects.delete, lambda path: objects.put(path, b"x")):
        with pytest.raises(FixConfiguration, match="no-such-bucket.*create the bucket"):
            call("a")


@pytest.mark.integration
def test_deletes_more_than_one_batch(bucket: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.objects._DELETED_AT_ONCE", 10)
    endpoint, name = bucket
    objects = S3Objects(s3_client(endpoint), name)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: objects.put(f"many/{number}", b""), range(25)))
    assert objects.delete("many") == 25
    assert objects.list("") == []

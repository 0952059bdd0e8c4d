"""Stage files, artifacts and reports by relative path: in a folder, in S3, or in memory for tests.

A path is `name/name/name`: relative, without `.` or `..`, so it cannot leave the store. Listing and deleting work by whole
names: `run/1` covers `run/1` and what lies below `run/1/`, never `run/10`. Writing replaces the whole object at once.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelines import aws
from pipelines.errors import FailRun, FixConfiguration, MillraceError, Retry

_TEMPORARY = ".tmp"  # half-written files lie here, on the same file system, and are never listed
_FULL = {errno.ENOSPC, errno.EDQUOT}
_WRONG = (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError)
_DELETED_AT_ONCE = 1000  # S3's limit


class Folder:
    """Objects as files below a folder, which is created when first written to; see `ports.Objects`."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))

    def put(self, path: str, data: bytes) -> str:
        """Write beside, flush to disk, rename: a reader or a crash sees the old bytes or the new. Returns the uri."""
        target = self._file(path)
        beside = self._root / _TEMPORARY / uuid.uuid4().hex
        with self._failures(path):
            beside.parent.mkdir(parents=True, exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _write_flushed(beside, data)
                os.replace(beside, target)
            finally:
                beside.unlink(missing_ok=True)
            _flush_folder(target.parent)
        return self.uri(path)

    def get(self, path: str) -> bytes:
        """The bytes; KeyError when there is no such file."""
        with self._failures(path):
            try:
                return self._file(path).read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise KeyError(path) from None

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        return self._file(path).is_file()

    def list(self, prefix: str) -> list[str]:
        """Paths of the files at or below `prefix`, sorted; "" is everything."""
        name = _checked_prefix(prefix)
        start = self._root / name
        if start.is_file():
            return [name]
        with self._failures(prefix):
            return sorted(self._below(start))

    def delete(self, prefix: str) -> int:
        """Remove what `list(prefix)` names and the folders left empty; returns how many files."""
        paths = self.list(_required(prefix))
        for path in paths:
            with self._failures(path):
                file = self._file(path)
                file.unlink(missing_ok=True)
                self._prune(file.parent)
        return len(paths)

    def uri(self, path: str) -> str:
        """`file:///folder/path`."""
        return self._file(path).as_uri()

    def _file(self, path: str) -> Path:
        return self._root / checked(path)

    def _below(self, start: Path) -> Iterator[str]:
        for folder, folders, files in os.walk(start, onerror=_raise_unless_missing):
            if Path(folder) == self._root and _TEMPORARY in folders:
                folders.remove(_TEMPORARY)
            for file in files:
                yield (Path(folder) / file).relative_to(self._root).as_posix()

    def _prune(self, folder: Path) -> None:
        with suppress(OSError):  # not empty, or being filled by another writer
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent

    @contextmanager
    def _failures(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failure(error, path) from error

    def _failure(self, error: OSError, path: str) -> MillraceError:
        where = f"{self._root}: {path!r}: {error.strerror}"
        if error.errno in _FULL:
            return FailRun(f"disk_full: {where}; free space there, then run again")
        if isinstance(error, _WRONG):
            return FixConfiguration(f"{where}; make the folder writable for this user, or name another")
        return Retry(f"{where}; try again later")


class S3Objects:
    """Objects as keys below a prefix of a bucket; see `ports.Objects`. `client` is made by `aws.client`."""

    def __init__(self, client: Any, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._where = f"object store, bucket {bucket!r}"

    def put(self, path: str, data: bytes) -> str:
        """One PUT, which S3 applies whole. Returns the uri."""
        with aws.translated(self._where):
            self._client.put_object(Bucket=self._bucket, Key=self._key(path), Body=data)
        return self.uri(path)

    def get(self, path: str) -> bytes:
        """The bytes; KeyError when there is no such key."""
        key = self._key(path)
        with aws.translated(self._where):
            try:
                data: bytes = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            except self._client.exceptions.NoSuchKey:
                raise KeyError(path) from None
        return data

    def exists(self, path: str) -> bool:
        """Whether there is such a key; by listing, because a missing bucket answers HEAD like a missing key."""
        return checked(path) in self.list(path)

    def list(self, prefix: str) -> list[str]:
        """Paths of the keys at or below `prefix`, sorted; "" is everything."""
        name = _checked_prefix(prefix)
        found: list[str] = []
        with aws.translated(self._where):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix + name)
            for page in pages:
                found += [entry["Key"][len(self._prefix) :] for entry in page.get("Contents", [])]
        return sorted(path for path in found if _below(path, name))

    def delete(self, prefix: str) -> int:
        """Remove what `list(prefix)` names; returns how many. Raises Retry when S3 kept any."""
        paths = self.list(_required(prefix))
        for start in range(0, len(paths), _DELETED_AT_ONCE):
            batch = [{"Key": self._prefix + path} for path in paths[start : start + _DELETED_AT_ONCE]]
            with aws.translated(self._where):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True})
            for kept in answer.get("Errors", []):  # a 200 answer may say that single keys were kept
                raise Retry(f"{self._where}: {kept.get('Key')!r} not deleted: {kept.get('Code')}; run again")
        return len(paths)

    def uri(self, path: str) -> str:
        """`s3://bucket/prefix/path`."""
        return f"s3://{self._bucket}/{self._key(path)}"

    def _key(self, path: str) -> str:
        return self._prefix + checked(path)


class Memory:
    """Objects in a dictionary: the fake for tests."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, path: str, data: bytes) -> str:
        """Returns the uri."""
        self.objects[checked(path)] = bytes(data)
        return self.uri(path)

    def get(self, path: str) -> bytes:
        """The bytes; KeyError when absent."""
        return self.objects[checked(path)]

    def exists(self, path: str) -> bool:
        """Whether it was put."""
        return checked(path) in self.objects

    def list(self, prefix: str) -> list[str]:
        """Paths at or below `prefix`, sorted; "" is everything."""
        name = _checked_prefix(prefix)
        return sorted(path for path in self.objects if _below(path, name))

    def delete(self, prefix: str) -> int:
        """Remove what `list(prefix)` names; returns how many."""
        paths = self.list(_required(prefix))
        for path in paths:
            del self.objects[path]
        return len(paths)

    def uri(self, path: str) -> str:
        """`memory:///path`."""
        return "memory:///" + quote(checked(path))


def checked(path: str) -> str:
    """The path itself; ValueError for one that is empty, absolute, has `.`, `..` or empty parts, backslashes or controls."""
    parts = path.split("/")
    odd = any(part in {"", ".", ".."} for part in parts) or parts[0] == _TEMPORARY
    if odd or "\\" in path or any(ord(character) < 32 or ord(character) == 127 for character in path):
        raise ValueError(f"object path {path!r}: must be name/name/name, relative, without '.', '..', backslash or controls")
    return path


def _checked_prefix(prefix: str) -> str:
    name = prefix.rstrip("/")
    return checked(name) if name else checked(prefix) if prefix else ""


def _required(prefix: str) -> str:
    return checked(prefix.rstrip("/"))  # an empty prefix is refused: it would delete everything


def _below(path: str, name: str) -> bool:
    return not name or path == name or path.startswith(name + "/")


def _write_flushed(file: Path, data: bytes) -> None:
    with file.open("xb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error

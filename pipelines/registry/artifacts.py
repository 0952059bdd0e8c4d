"""The files of a model version in the object store, under the hash of what they are.

Keeping is write, read back, compare; only then may a row name them, so that none points at missing bytes. Fetching compares
again: what was altered in the store is never loaded.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pipelines.errors import FailRun, Retry
from pipelines.ports import Objects
from pipelines.records import sha256
from pipelines.registry.folder import File, within

ROOT = "models"


def fingerprint(files: Sequence[File]) -> str:
    """Hex identity of a set of files, whatever their order."""
    parts = [part for file in sorted(files, key=lambda file: file.path) for part in (file.path, file.sha256)]
    return sha256("artifact", *parts).hex()


def keep(objects: Objects, folder: Path, files: Sequence[File], root: str = ROOT) -> str:
    """Write the files below `<root>/<fingerprint>` and read each back; returns that path.

    Files that are there already are compared only. Raises Retry when the store is unreachable or gave back other bytes.
    """
    prefix = f"{root}/{fingerprint(files)}"
    for file in files:
        path = f"{prefix}/{within(file.path)}"
        if _stored(objects, path) != file.sha256:
            objects.put(path, (folder / file.path).read_bytes())
            if _stored(objects, path) != file.sha256:
                raise Retry(f"{objects.uri(path)}: the store gave back other bytes than were written; try again later")
    return prefix


def fetch(objects: Objects, prefix: str, files: Sequence[File], cache: Path, name: str) -> Path:
    """The files in a folder called `name` below `cache`, from the store unless they are there; each compared by its hash.

    Safe for several processes at once. Raises FailRun when a file is missing or altered, Retry when the store is
    unreachable.
    """
    target = cache / "models" / fingerprint(files) / name
    if target.is_dir():
        return target
    beside = target.parent.parent / f".{uuid.uuid4().hex}"
    try:
        for file in files:
            path = beside / within(file.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_compared(objects, f"{prefix}/{file.path}", file))
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # another process was quicker; its files are the same
            beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def lost(objects: Objects, prefix: str, files: Sequence[File]) -> list[str]:
    """The paths of files that are missing or altered in the store."""
    return [file.path for file in files if _stored(objects, f"{prefix}/{within(file.path)}") != file.sha256]


def orphans(objects: Objects, named: set[str]) -> list[str]:
    """Prefixes in the store that no version names: of a process that ended between writing and inserting its row."""
    kept = {"/".join(path.split("/")[:2]) for path in objects.list(ROOT)}
    return sorted(kept - named)


def _stored(objects: Objects, path: str) -> str:
    try:
        return hashlib.sha256(objects.get(path)).hexdigest()
    except KeyError:
        return ""


def _compared(objects: Objects, path: str, file: File) -> bytes:
    try:
        data = objects.get(path)
    except KeyError:
        raise FailRun(f"{objects.uri(path)}: missing; restore it, or register the model again") from None
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise FailRun(f"{objects.uri(path)}: altered, its hash is not {file.sha256[:12]}…; restore it from a backup")
    return data

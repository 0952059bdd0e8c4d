"""Files of a folder, recursively.

An address is a `file://` uri, percent-encoded from the name's bytes, so a name that is not UTF-8 survives as plain text.
Symbolic links and special files are not followed and not listed; neither are folders whose name starts with a dot (.git).
The change token is size, mtime, ctime and inode: a restored or renamed-over file differs in one of them even when its
mtime was set back. A file written within the clock's last tick is read only after that tick, so that a later write cannot
carry the same token.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pipelines.config import DAY, Connection, FolderSource, project_root
from pipelines.errors import FixConfiguration, Retry, SkipDocument
from pipelines.records import Content, RawObject, Reason
from pipelines.sources import render

TRIES = 3
_TICK, _COARSE_TICK = 0.02, 2.0  # seconds; the coarse one for file systems that keep no fraction
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # non-blocking: a pipe must not hang the open
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG}  # nothing a listing would yield


class Folder:
    """The files below a folder; see `ports.Source`."""

    format: str | None = None

    def __init__(self, name: str, folder: Path, anchor: Path | None = None) -> None:
        """`anchor` is the part of a dated path that must exist; a day's folder below it may be missing and is then empty."""
        self.name = name
        self._root = os.path.abspath(folder)
        self._anchor = os.path.abspath(anchor or folder)

    @classmethod
    def open(cls, name: str, config: FolderSource, connections: Mapping[str, Connection], day: date | None) -> Folder:
        """The adapter of a sources.yaml entry; a relative path is relative to the project."""
        base = project_root()
        fixed = config.path.partition(DAY)[0].rpartition("/")[0] if config.dated else config.path
        return cls(name, base / render(name, config.path, day), base / fixed)

    def root(self, prefix: str = "") -> str:
        """`file:///folder/prefix`: what every address that `list(prefix)` yields starts with."""
        return _uri(os.path.join(self._root, "")) + _quoted(prefix)

    def list(self, prefix: str = "") -> Iterator[RawObject]:
        """Every regular file whose path below the folder starts with `prefix`."""
        self._require_root()
        wanted = os.path.join(self._root, "") + prefix
        pending = [self._root] if self._present() else []
        while pending:
            folders, files = _scan(pending.pop(), wanted)
            pending += folders
            yield from files

    def read(self, listed: RawObject, max_bytes: int) -> Content:
        """The bytes of a file that did not change while it was read."""
        for _ in range(TRIES):
            with _unreadable_is_skipped(), self._opened(listed.uri) as file:
                if file is None:
                    raise SkipDocument(Reason.SOURCE_VANISHED, "deleted after it was listed")
                content = _read_still(file, listed.uri, max_bytes)
            if content:
                return content
        raise SkipDocument(Reason.SOURCE_CHANGED, f"changed during each of {TRIES} reads; the next run tries again")

    def current_version(self, uri: str) -> str | None:
        """The token as of now; None only when the folder is there and the file is not."""
        self._require_root()
        with _unreadable_is_skipped(), self._opened(uri) as file:
            return None if file is None else _token(os.fstat(file))

    def _present(self) -> bool:
        """Whether the folder itself is there; a day's may not be. One that cannot be asked for raises."""
        try:
            return stat.S_ISDIR(os.stat(self._root).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            self._require_root()  # gone since it was there
            return False
        except OSError as error:
            raise Retry(f"source {self.name!r}: {_printable(self._root)}: {error.strerror}; try again later") from error

    def _require_root(self) -> None:
        try:
            mode = os.stat(self._anchor).st_mode
        except FileNotFoundError:
            raise self._wrong_root("no such folder; create or mount it, or correct `path`") from None
        except PermissionError:
            raise self._wrong_root("not readable; allow this user to read it") from None
        except OSError as error:
            raise Retry(f"source {self.name!r}: {self._anchor}: {error.strerror}; try again later") from error
        if not stat.S_ISDIR(mode):
            raise self._wrong_root("not a folder; correct `path`")

    def _wrong_root(self, what: str) -> FixConfiguration:
        return FixConfiguration(f"source {self.name!r}: {_printable(self._anchor)}: {what} in include/config/sources.yaml")

    @contextmanager
    def _opened(self, uri: str) -> Iterator[int | None]:
        """A descriptor of the regular file at `uri`, no link followed at any level below the root; None when it is gone."""
        path = os.fsdecode(unquote_to_bytes(uri.removeprefix(self.root()))) if uri.startswith(self.root()) else ""
        descriptor = _descend(self._root, path.split("/"))
        try:
            regular = descriptor is not None and stat.S_ISREG(os.fstat(descriptor).st_mode)
            yield descriptor if regular else None
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _scan(folder: str, wanted: str) -> tuple[list[str], list[RawObject]]:
    """One level: the folders to go on with and the files listed; a level that cannot be read whole raises."""
    folders, files = [], []
    try:
        with os.scandir(folder) as level:
            for entry in level:
                if entry.is_dir(follow_symlinks=False):
                    below = entry.path + "/"
                    if not entry.name.startswith(".") and (below.startswith(wanted) or wanted.startswith(below)):
                        folders.append(entry.path)
                elif entry.path.startswith(wanted) and (listed := _listed(entry)):
                    files.append(listed)
    except PermissionError:
        raise FixConfiguration(f"{_printable(folder)}: not readable; allow this user to read and enter it") from None
    except OSError as error:
        raise Retry(
            f"{_printable(folder)}: incomplete listing, {error.strerror}; nothing was decided from it, run again"
        ) from error
    return folders, files


def _listed(entry: os.DirEntry[str]) -> RawObject | None:
    if not entry.is_file(follow_symlinks=False):
        return None
    try:
        info = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # deleted since the level was opened: the listing is complete without it
        return None
    return RawObject(_uri(entry.path), _token(info), info.st_size, datetime.fromtimestamp(info.st_mtime, UTC))


def _read_still(descriptor: int, uri: str, max_bytes: int) -> Content | None:
    """The file's bytes, or None when it changed meanwhile."""
    before = os.fstat(descriptor)
    if before.st_size > max_bytes:
        raise SkipDocument(
            Reason.TOO_LARGE,
            f"{before.st_size} bytes, limit {max_bytes}; raise max_object_bytes in limits.yaml or exclude it",
        )
    _wait_out_tick(before)
    with open(descriptor, "rb", closefd=False) as file:
        data = file.read(before.st_size + 1)
    token = _token(before)
    if len(data) != before.st_size or _token(os.fstat(descriptor)) != token:
        return None
    return Content(uri, token, data)


def _wait_out_tick(info: os.stat_result) -> None:
    tick = _TICK if info.st_ctime_ns % 1_000_000_000 else _COARSE_TICK
    age = time.time() - info.st_ctime
    if 0 <= age < tick:
        time.sleep(tick - age)


@contextmanager
def _unreadable_is_skipped() -> Iterator[None]:
    """One unreadable file must not hold up its siblings; it is tried again in every run."""
    try:
        yield
    except PermissionError:
        raise SkipDocument(Reason.DEPENDENCY_DOWN, "permission denied: allow this user to read it, or exclude it") from None
    except OSError as error:  # such as a bad sector
        raise SkipDocument(Reason.DEPENDENCY_DOWN, f"{error.strerror}: check the disk or mount, or exclude it") from error


def _descend(root: str, parts: list[str]) -> int | None:
    """Opens root/part/part… one level at a time; None when a part is missing, a link or no plain name."""
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        return None
    at: int | None = None
    for depth, part in enumerate([root, *parts]):
        flags = _OPEN if depth == len(parts) else _OPEN | os.O_DIRECTORY
        try:
            below = os.open(part, flags if depth else flags & ~os.O_NOFOLLOW, dir_fd=at)
        except OSError as error:
            if error.errno in _GONE:
                return None
            if isinstance(error, PermissionError):
                raise
            raise Retry(f"{_printable(os.path.join(root, *parts))}: {error.strerror}; try again later") from error
        finally:
            if at is not None:
                os.close(at)
        at = below
    return at


def _token(info: os.stat_result) -> str:
    return f"{info.st_size:x}-{info.st_mtime_ns:x}-{info.st_ctime_ns:x}-{info.st_ino:x}"


def _uri(path: str) -> str:
    return "file://" + _quoted(path)


def _quoted(text: str) -> str:
    return quote_from_bytes(os.fsencode(text), safe="/")


def _printable(path: str) -> str:
    return repr(path) if not path.isprintable() else path

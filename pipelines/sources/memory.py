"""A source in memory whose failures can be set: the fake for tests and fault benches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import quote, unquote

from pipelines.errors import Retry, SkipDocument
from pipelines.records import Content, RawObject, Reason, sha256


class Memory:
    """Objects by relative name. Change `objects` and the fault fields at will between calls; see `ports.Source`.

    fail_after: a listing raises Retry after this many objects. empty: a listing yields nothing, though reads still work.
    vanish: names gone by the time they are read. change: name -> bytes it holds by the time it is read.
    unsteady: names that change during every read. errors: name -> what its read raises. `reads` records the names read.
    """

    def __init__(
        self, objects: Mapping[str, bytes] | None = None, name: str = "memory", root: str = "memory://test/"
    ) -> None:
        self.name = name
        self.format: str | None = None
        self.objects = dict(objects or {})
        self.fail_after: int | None = None
        self.empty = False
        self.vanish: set[str] = set()
        self.change: dict[str, bytes] = {}
        self.unsteady: set[str] = set()
        self.errors: dict[str, Exception] = {}
        self.reads: list[str] = []
        self._root = root

    def root(self, prefix: str = "") -> str:
        """What every address that `list(prefix)` yields starts with."""
        return self._root + quote(prefix)

    def uri(self, name: str) -> str:
        """The address of an object."""
        return self._root + quote(name)

    def list(self, prefix: str = "") -> Iterator[RawObject]:
        """Every object whose name starts with `prefix`, or Retry after `fail_after` of them."""
        names = [] if self.empty else [name for name in self.objects if name.startswith(prefix)]
        for count, name in enumerate(names):
            if count == self.fail_after:
                break
            data = self.objects[name]
            yield RawObject(self.uri(name), _token(data), len(data))
        if self.fail_after is not None and self.fail_after <= len(names):
            raise Retry(f"memory: listing failed after {self.fail_after} objects, as told to; run again")

    def read(self, listed: RawObject, max_bytes: int) -> Content:
        """The newest bytes, after the faults set for the object."""
        name = unquote(listed.uri.removeprefix(self._root))
        self.reads.append(name)
        self._meet_faults(name)
        data = self.objects[name]
        if len(data) > max_bytes:
            raise SkipDocument(Reason.TOO_LARGE, f"{len(data)} bytes, limit {max_bytes}")
        return Content(listed.uri, _token(data), data)

    def current_version(self, uri: str) -> str | None:
        """The token as of now, None when the object is gone."""
        data = self.objects.get(unquote(uri.removeprefix(self._root)))
        return None if data is None else _token(data)

    def _meet_faults(self, name: str) -> None:
        if name in self.errors:
            raise self.errors[name]
        if name in self.change:
            self.objects[name] = self.change.pop(name)
        if name in self.vanish:
            self.objects.pop(name, None)
        if name not in self.objects:
            raise SkipDocument(Reason.SOURCE_VANISHED, "deleted after it was listed")
        if name in self.unsteady:
            raise SkipDocument(Reason.SOURCE_CHANGED, "changed during each read")


def _token(data: bytes) -> str:
    return f"{sha256(data).hex()[:16]}:{len(data)}"

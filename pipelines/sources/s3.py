"""Objects of an S3 bucket, through boto3.

An address is `s3://bucket/key` with the key as it is, except that `%` and control characters are percent-encoded: any key
becomes printable text and back, and no key is ever used as a path. The change token is `<etag>:<size>`. Folder markers
(empty keys ending in `/`) are not objects. One adapter may be read from many threads.

Bytes are believed when their version and length are those asked for and they match the store's checksum or, where the store
names none, an ETag that is an MD5. An object is gone when HEAD answers 404 and a listing of its very key does not hold it.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from functools import partial
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import (
    ClientError,
    FlexibleChecksumError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.httpchecksum import StreamingChecksumBody

from pipelines import aws
from pipelines.config import Connection, S3Source
from pipelines.errors import MillraceError, Retry, SkipDocument
from pipelines.records import Content, RawObject, Reason
from pipelines.sources import render
from pipelines.sources.s3_listing import Page, checked, entries

TRIES = 3  # reads of one object: the listed version, then the newest
BLOCK = 1 << 20
SLOWEST = 1 << 16  # bytes a second below which a body counts as stalled, after four read timeouts of grace
PATIENCE = 8  # objects of one opened source that the service may fail to deliver before it counts as down
_GONE = {"NoSuchKey", "404"}
_CHANGED = {"PreconditionFailed", "412"}
_DENIED = {"AccessDenied", "403", "InvalidObjectState"}
_THROTTLED = {429, 503}
_ENCODED = re.compile(r"[%\x00-\x1f\x7f]")
_MD5 = re.compile(r"[0-9a-f]{32}")


class _Garbled(Exception):
    """An answer whose bytes are not those of the version asked for."""


class _Other(Exception):
    """The store delivers another version than asked for."""


_BROKEN = (IncompleteReadError, ResponseStreamingError, FlexibleChecksumError, ReadTimeoutError, _Garbled)


class S3:
    """A bucket's objects below a prefix; see `ports.Source`."""

    format: str | None = None

    def __init__(
        self,
        name: str,
        client: Any,
        bucket: str,
        prefix: str = "",
        connection: str = "",
        read_timeout: float = aws.READ_SECONDS,
    ) -> None:
        """`read_timeout` is the client's, in seconds."""
        self.name = name
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._where = f"connection {connection!r}, bucket {bucket!r}"
        self._grace = 4 * read_timeout
        self._undelivered = 0

    @classmethod
    def open(cls, name: str, config: S3Source, connections: Mapping[str, Connection], day: date | None) -> S3:
        """The adapter of a sources.yaml entry."""
        prefix = render(name, config.prefix, day)
        client = aws.client(connections[config.connection])
        return cls(name, client, config.bucket, prefix, config.connection, client.meta.config.read_timeout)

    def root(self, prefix: str = "") -> str:
        """`s3://bucket/prefix`: what every address that `list(prefix)` yields starts with."""
        return self._uri(self._prefix + prefix)

    def list(self, prefix: str = "") -> Iterator[RawObject]:
        """Every object below the source's prefix, from a listing whose pages were all checked."""
        full = self._prefix + prefix
        for entry in entries(partial(self._page, full), full, self._where):
            size = entry["Size"]
            yield RawObject(self._uri(entry["Key"]), _token(entry["ETag"], size), size, entry.get("LastModified"))

    def read(self, listed: RawObject, max_bytes: int) -> Content:
        """The listed version by If-Match, or the newest one if the object changed since."""
        version = listed.version
        broken: Exception | None = None
        for _ in range(TRIES):
            try:
                return self._get(listed.uri, version, max_bytes)
            except _BROKEN as error:
                broken = error
            except _Other:
                version = self._newest(listed.uri)
            except ClientError as error:
                if aws.code(error) not in _CHANGED:
                    raise self._unreadable(error) from error
                version = self._newest(listed.uri)
            except aws.errors(ValueError) as error:
                raise self._undeliverable(aws.failure(error, self._where)) from error
        if broken:
            raise self._broken(broken) from broken
        raise SkipDocument(Reason.SOURCE_CHANGED, f"changed during each of {TRIES} reads; the next run tries")

    def current_version(self, uri: str) -> str | None:
        """The token as of now; None only when HEAD answers 404, the bucket answers and does not list the key."""
        key = self._key(uri)
        try:
            head = self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if aws.status(error) != 404 or aws.code(error) not in _GONE:
                raise aws.failure(error, self._where) from error
        except aws.errors(ValueError) as error:
            raise aws.failure(error, self._where) from error
        else:
            if not head.get("ETag") or "ContentLength" not in head:
                raise Retry(f"{self._where}: HEAD of {uri} answered without ETag or length; run again")
            return _token(head["ETag"], head["ContentLength"])
        # A missing bucket answers HEAD with the same bare 404, and so does a gateway that lost its way.
        if key in (entry.get("Key") for entry in self._answer(key).get("Contents") or []):
            raise Retry(f"{self._where}: HEAD says that {uri} is gone and the listing holds it; run again")
        return None

    def _page(self, prefix: str, token: str | None) -> Page:
        more = {"ContinuationToken": token} if token else {}
        with aws.translated(self._where, ValueError):  # botocore asks for EncodingType=url and decodes the keys
            page: Page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, **more)
        return page

    def _answer(self, prefix: str) -> Page:
        """The first key below `prefix`. Raises unless this is a bucket's own answer."""
        with aws.translated(self._where, ValueError):
            page: Page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, MaxKeys=1)
        checked(page, prefix, self._where)
        return page

    def _get(self, uri: str, version: str, max_bytes: int) -> Content:
        etag, size = version.rpartition(":")[0], int(version.rpartition(":")[2])
        if size > max_bytes:  # as the listing or HEAD says: a wrong header of one answer must not condemn the object
            raise _too_large(size, max_bytes)
        answer = self._client.get_object(
            Bucket=self._bucket, Key=self._key(uri), IfMatch=f'"{etag}"', ChecksumMode="ENABLED"
        )
        body = answer["Body"]
        try:
            if _token(answer.get("ETag") or "", size) != version:
                raise _Other if answer.get("ETag") else _Garbled("an answer without ETag")
            with _hurried(body, self._grace + size / SLOWEST):
                data = _drain(body, size)
        finally:
            body.close()
        if not isinstance(body, StreamingChecksumBody) and _is_md5(answer, etag):
            found = hashlib.md5(data, usedforsecurity=False).hexdigest()
            if found != etag:
                raise _Garbled(f"the bytes have MD5 {found}, their ETag is {etag}")
        return Content(uri, version, data, answer.get("VersionId"))

    def _newest(self, uri: str) -> str:
        version = self.current_version(uri)
        if version is None:
            raise SkipDocument(Reason.SOURCE_VANISHED, "deleted after it was listed")
        return version

    def _unreadable(self, error: ClientError) -> Exception:
        name = aws.code(error)
        if name in _GONE:
            return SkipDocument(Reason.SOURCE_VANISHED, "deleted after it was listed")
        if name in _DENIED:  # one archived or separately encrypted object must not hold up its siblings
            remedy = "restore it from the archive" if name == "InvalidObjectState" else "allow s3:GetObject and its KMS key"
            return SkipDocument(Reason.DEPENDENCY_DOWN, f"{name}: {remedy}, or exclude it")
        failure = aws.failure(error, self._where)
        return failure if aws.status(error) in _THROTTLED else self._undeliverable(failure)

    def _broken(self, error: Exception) -> Exception:
        if isinstance(error, (ReadTimeoutError, ResponseStreamingError)):
            stopped = Retry(f"{self._where}: {aws.line(error)}; the service stopped answering, try again later")
            return self._undeliverable(stopped)
        return SkipDocument(Reason.CHECKSUM_MISMATCH, f"{TRIES} reads failed, the last with: {aws.line(error)}")

    def _undeliverable(self, failure: MillraceError) -> MillraceError:
        """The failure, or the object's own: what one object's read fails with must not hold up its siblings for ever."""
        if not isinstance(failure, Retry) or self._undelivered >= PATIENCE:
            return failure
        try:
            self._answer(self._prefix)
        except MillraceError as error:
            return error
        self._undelivered += 1
        return SkipDocument(Reason.DEPENDENCY_DOWN, f"the service answers, but not with this object: {failure}")

    def _uri(self, key: str) -> str:
        return f"s3://{self._bucket}/" + _ENCODED.sub(lambda found: f"%{ord(found[0]):02X}", key)

    def _key(self, uri: str) -> str:
        return unquote(uri.removeprefix(f"s3://{self._bucket}/"))


def _token(etag: str, size: int) -> str:
    return f"{etag.strip(chr(34))}:{size}"


def _is_md5(answer: Mapping[str, Any], etag: str) -> bool:
    """Whether the ETag must be the MD5 of the bytes: not when they came in parts or are encrypted with another key."""
    keyed = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms") or answer.get("SSECustomerAlgorithm")
    return bool(_MD5.fullmatch(etag)) and not keyed


@contextmanager
def _hurried(body: Any, seconds: float) -> Iterator[None]:
    """Hang up after `seconds`: a byte now and then keeps every read timeout from ever passing."""

    def hang_up() -> None:
        with suppress(ValueError, RuntimeError, OSError):  # read to its end in this very moment
            body.__enter__().shutdown()  # the stream below; closing it would not wake a thread that waits for it

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _drain(body: Any, size: int) -> bytes:
    """The whole body of `size` bytes; reading it to the end is what makes botocore compare length and checksum."""
    parts: list[bytes] = []
    left = size
    while block := body.read(BLOCK):
        left -= len(block)
        if left < 0:
            break
        parts.append(block)
    if left:
        raise _Garbled(f"the object has {size} bytes, the answer {'more' if left < 0 else size - left}")
    return b"".join(parts)


def _too_large(size: int, limit: int) -> SkipDocument:
    return SkipDocument(
        Reason.TOO_LARGE, f"{size} bytes, limit {limit}; raise max_object_bytes in limits.yaml or exclude it"
    )

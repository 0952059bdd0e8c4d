"""Objects of an S3 bucket, through boto3.

An address is `s3://bucket/key` with the key as it is, except that `%` and control characters are percent-encoded: any key
becomes printable text and back, and no key is ever used as a path. The change token is `<etag>:<size>`. Folder markers
(empty keys ending in `/`) are not objects. One adapter may be read from many threads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from functools import partial
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from pipelines import aws
from pipelines.config import Connection, S3Source
from pipelines.errors import Retry, SkipDocument
from pipelines.records import Content, RawObject, Reason
from pipelines.sources import render
from pipelines.sources.s3_listing import Page, entries

TRIES = 3  # reads of one object: the listed version, then the newest
BLOCK = 1 << 20
_BROKEN = (IncompleteReadError, ResponseStreamingError, FlexibleChecksumError, ReadTimeoutError)
_GONE = {"NoSuchKey", "404", "MethodNotAllowed"}  # 405 is a delete marker
_CHANGED = {"PreconditionFailed", "412"}
_DENIED = {"AccessDenied", "403", "InvalidObjectState"}
_ENCODED = re.compile(r"[%\x00-\x1f\x7f]")


class S3:
    """A bucket's objects below a prefix; see `ports.Source`."""

    format: str | None = None

    def __init__(self, name: str, client: Any, bucket: str, prefix: str = "", connection: str = "") -> None:
        self.name = name
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._where = f"connection {connection!r}, bucket {bucket!r}"

    @classmethod
    def open(cls, name: str, config: S3Source, connections: Mapping[str, Connection], day: date | None) -> S3:
        """The adapter of a sources.yaml entry."""
        prefix = render(name, config.prefix, day)
        return cls(name, aws.client(connections[config.connection]), config.bucket, prefix, config.connection)

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
        etag = listed.version.rpartition(":")[0]
        problem: Exception = SkipDocument(Reason.SOURCE_CHANGED, f"changed during each of {TRIES} reads; the next run tries")
        for _ in range(TRIES):
            try:
                return self._get(listed.uri, etag, max_bytes)
            except _BROKEN as error:
                problem = self._broken(error)
            except ClientError as error:
                if aws.code(error) not in _CHANGED:
                    raise self._unreadable(error) from error
                etag = self._newest(listed.uri)
            except BotoCoreError as error:
                raise aws.failure(error, self._where) from error
        raise problem

    def current_version(self, uri: str) -> str | None:
        """The token as of now; None only when the bucket answers and the key is gone."""
        try:
            head = self._client.head_object(Bucket=self._bucket, Key=self._key(uri))
        except ClientError as error:
            if aws.code(error) not in _GONE:
                raise aws.failure(error, self._where) from error
        except BotoCoreError as error:
            raise aws.failure(error, self._where) from error
        else:
            return _token(head["ETag"], head["ContentLength"])
        with aws.translated(self._where):  # a missing bucket answers HEAD with the same bare 404
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        return None

    def _page(self, prefix: str, token: str | None) -> Page:
        more = {"ContinuationToken": token} if token else {}
        with aws.translated(self._where):  # botocore asks for EncodingType=url and decodes the keys
            page: Page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, **more)
        return page

    def _get(self, uri: str, etag: str, max_bytes: int) -> Content:
        answer = self._client.get_object(
            Bucket=self._bucket, Key=self._key(uri), IfMatch=f'"{etag}"', ChecksumMode="ENABLED"
        )
        body = answer["Body"]
        try:
            if answer["ContentLength"] > max_bytes:
                raise _too_large(answer["ContentLength"], max_bytes)
            data = _drain(body, max_bytes)
        finally:
            body.close()
        return Content(uri, _token(answer["ETag"], len(data)), data, answer.get("VersionId"))

    def _newest(self, uri: str) -> str:
        version = self.current_version(uri)
        if version is None:
            raise SkipDocument(Reason.SOURCE_VANISHED, "deleted after it was listed")
        return version.rpartition(":")[0]

    def _unreadable(self, error: ClientError) -> Exception:
        name = aws.code(error)
        if name in _GONE:
            return SkipDocument(Reason.SOURCE_VANISHED, "deleted after it was listed")
        if name in _DENIED:  # one archived or separately encrypted object must not hold up its siblings
            remedy = "restore it from the archive" if name == "InvalidObjectState" else "allow s3:GetObject and its KMS key"
            return SkipDocument(Reason.DEPENDENCY_DOWN, f"{name}: {remedy}, or exclude it")
        return aws.failure(error, self._where)

    def _broken(self, error: Exception) -> Exception:
        if isinstance(error, ReadTimeoutError):
            return Retry(f"{self._where}: {aws.line(error)}; the service stopped answering, try again later")
        return SkipDocument(Reason.CHECKSUM_MISMATCH, f"{TRIES} reads failed, the last with: {aws.line(error)}")

    def _uri(self, key: str) -> str:
        return f"s3://{self._bucket}/" + _ENCODED.sub(lambda found: f"%{ord(found[0]):02X}", key)

    def _key(self, uri: str) -> str:
        return unquote(uri.removeprefix(f"s3://{self._bucket}/"))


def _token(etag: str, size: int) -> str:
    return f"{etag.strip(chr(34))}:{size}"


def _drain(body: Any, max_bytes: int) -> bytes:
    """The whole body; reading it to the end is what makes botocore compare length and checksum."""
    parts: list[bytes] = []
    size = 0
    while block := body.read(BLOCK):
        size += len(block)
        if size > max_bytes:
            raise _too_large(size, max_bytes)
        parts.append(block)
    return b"".join(parts)


def _too_large(size: int, limit: int) -> SkipDocument:
    return SkipDocument(
        Reason.TOO_LARGE, f"{size} bytes, limit {limit}; raise max_object_bytes in limits.yaml or exclude it"
    )

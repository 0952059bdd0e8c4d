"""As much of an S3 client as the adapter calls, over dictionaries, able to lie in its listings. No network."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

PAGE = 10
STATUS = {"AccessDenied": 403, "403": 403, "404": 404, "SlowDown": 503, "NoSuchBucket": 404, "NoSuchKey": 404, "412": 412}


class FakeS3:
    """`buckets[bucket][key]` are the objects; see `lying` for the faults."""

    def __init__(self, buckets: dict[str, dict[str, bytes]]) -> None:
        self.buckets = buckets
        self._lost_page = -1
        self._tokens = True
        self._refused: Mapping[str, str] = {}

    @contextmanager
    def lying(self, *, lost_page: int = -1, tokens: bool = True, refused: Mapping[str, str] | None = None) -> Iterator[None]:
        """Inside: a page of every listing comes empty, pages lack their token, or `list`, `head` or `get` answer a code."""
        self._lost_page, self._tokens, self._refused = lost_page, tokens, refused or {}
        yield
        self._lost_page, self._tokens, self._refused = -1, True, {}

    def list_objects_v2(self, Bucket: str, Prefix: str, ContinuationToken: str = "0", **_: Any) -> dict[str, Any]:
        """A page of ten, whatever MaxKeys says."""
        objects = self._bucket("list", Bucket)
        keys = sorted(key for key in objects if key.startswith(Prefix))
        number = int(ContinuationToken)
        on_page = keys[number * PAGE : (number + 1) * PAGE] if number != self._lost_page else []
        more = (number + 1) * PAGE < len(keys)
        page: dict[str, Any] = {
            "Name": Bucket,
            "IsTruncated": more,
            "KeyCount": len(on_page),
            "Contents": [{"Key": key, "ETag": _etag(objects[key]), "Size": len(objects[key])} for key in on_page],
        }
        return page | ({"NextContinuationToken": str(number + 1)} if more and self._tokens else {})

    def head_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        """ETag and length."""
        data = self._object("head", Bucket, Key, "404")
        return {"ETag": _etag(data), "ContentLength": len(data)}

    def get_object(self, Bucket: str, Key: str, IfMatch: str, **_: Any) -> dict[str, Any]:
        """The object, if it still has this ETag."""
        data = self._object("get", Bucket, Key, "NoSuchKey")
        if _etag(data) != IfMatch:
            raise _refusal("412", "get")
        return {"ETag": _etag(data), "ContentLength": len(data), "Body": io.BytesIO(data)}

    def _object(self, operation: str, bucket: str, key: str, absent: str) -> bytes:
        objects = self._bucket(operation, bucket)
        if key not in objects:
            raise _refusal(absent, operation)
        return objects[key]

    def _bucket(self, operation: str, bucket: str) -> dict[str, bytes]:
        if operation in self._refused:
            raise _refusal(self._refused[operation], operation)
        if bucket not in self.buckets:
            raise _refusal("404" if operation == "head" else "NoSuchBucket", operation)
        return self.buckets[bucket]


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _refusal(code: str, operation: str) -> ClientError:
    answer = {"Error": {"Code": code, "Message": "as told to"}, "ResponseMetadata": {"HTTPStatusCode": STATUS[code]}}
    return ClientError(answer, operation)

"""A complete listing of a bucket's prefix, or an error: never a short one.

S3 and what imitates it can end a listing early in several quiet ways (a truncated page without a token, a token served
twice, a page with fewer keys than it declares). Deletions are decided from listings, so each page is checked before its keys
are believed. One page is fetched ahead of the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipelines.errors import Retry

Page = dict[str, Any]
Fetch = Callable[[str | None], Page]  # continuation token -> the answer of list_objects_v2


def entries(fetch: Fetch, prefix: str, where: str) -> Iterator[dict[str, Any]]:
    """Every object of the listing once, folder markers left out. Raises Retry when a page cannot be complete."""
    seen: set[str] = set()
    for page in _pages(fetch, prefix, where):
        for entry in page:
            key = entry["Key"]
            if key not in seen and not (key.endswith("/") and not entry["Size"]):
                seen.add(key)
                yield entry


def _pages(fetch: Fetch, prefix: str, where: str) -> Iterator[list[dict[str, Any]]]:
    tokens: set[str] = set()
    with ThreadPoolExecutor(1, thread_name_prefix="s3-listing") as ahead:
        pending = ahead.submit(fetch, None)
        while True:
            page = pending.result()
            token = _next_token(page, tokens, where)
            if token:
                pending = ahead.submit(fetch, token)
            yield _checked(page, prefix, where)
            if not token:
                return


def _next_token(page: Page, tokens: set[str], where: str) -> str | None:
    """The token of the page after this one, None after the last."""
    token = page.get("NextContinuationToken")
    if "IsTruncated" not in page:
        raise _incomplete(where, "a page does not say whether it is the last")
    if bool(page["IsTruncated"]) != bool(token):
        raise _incomplete(where, f"IsTruncated is {page['IsTruncated']} but the next token is {token!r}")
    if token in tokens:
        raise _incomplete(where, f"the continuation token {token!r} came twice")
    if token:
        tokens.add(token)
    return token or None


def _checked(page: Page, prefix: str, where: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.get("Contents") or []
    declared = page.get("KeyCount", len(found))
    if declared != len(found):
        raise _incomplete(where, f"a page declares {declared} keys and holds {len(found)}")
    for entry in found:
        if not entry.get("ETag") or "Size" not in entry:
            raise _incomplete(where, f"key {entry.get('Key')!r} has no ETag or size")
        if not entry["Key"].startswith(prefix):
            raise _incomplete(where, f"key {entry['Key']!r} is outside prefix {prefix!r}")
    return found


def _incomplete(where: str, what: str) -> Retry:
    return Retry(f"{where}: incomplete listing, {what}; nothing was decided from it, run again")

"""A complete listing of a bucket's prefix, or an error: never a short one.

S3 and what imitates it can end a listing early in several quiet ways (a truncated page without a token, a token or a page
served twice, a page with fewer keys than it declares, a page of something that is no listing). Deletions are decided from
listings, so each page is checked before its keys are believed. Order is not: some stores have another one, and it loses no
key. One page is fetched ahead of the reader. A page that is missing with its token cannot be seen here; `stages/confirm.py`
finds it when the documents it should have held turn out to be alive.
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
    last = ""  # a store may begin a page with the key that the one before ended with
    for page in _pages(fetch, prefix, where):
        here = {entry["Key"]: entry for entry in page}
        again = next((key for key in here if key in seen and key != last), None)
        if again is not None:
            raise _incomplete(where, f"a page holds {again!r} as an earlier one did, perhaps in place of another page")
        yield from (entry for key, entry in here.items() if key not in seen and not _is_marker(entry))
        seen |= here.keys()
        last = page[-1]["Key"] if page else last


def _is_marker(entry: dict[str, Any]) -> bool:
    return bool(entry["Key"].endswith("/")) and not entry["Size"]


def _pages(fetch: Fetch, prefix: str, where: str) -> Iterator[list[dict[str, Any]]]:
    tokens: set[str] = set()
    with ThreadPoolExecutor(1, thread_name_prefix="s3-listing") as ahead:
        pending = ahead.submit(fetch, None)
        while True:
            page = pending.result()
            token = _next_token(page, tokens, where)
            if token:
                pending = ahead.submit(fetch, token)
            yield checked(page, prefix, where)
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


def checked(page: Page, prefix: str, where: str) -> list[dict[str, Any]]:
    """The entries of one page. Raises Retry for a page that is not a whole answer about `prefix`."""
    found: list[dict[str, Any]] = page.get("Contents") or []
    if "Name" not in page or "KeyCount" not in page:
        raise _incomplete(where, "a page does not name its bucket or does not count its keys")
    if page["KeyCount"] != len(found):
        raise _incomplete(where, f"a page declares {page['KeyCount']} keys and holds {len(found)}")
    for entry in found:
        if not entry.get("Key") or not entry.get("ETag") or "Size" not in entry:
            raise _incomplete(where, f"key {entry.get('Key')!r} has no name, ETag or size")
        if not entry["Key"].startswith(prefix):
            raise _incomplete(where, f"key {entry['Key']!r} is outside prefix {prefix!r}")
    return found


def _incomplete(where: str, what: str) -> Retry:
    return Retry(f"{where}: incomplete listing, {what}; nothing was decided from it, run again")

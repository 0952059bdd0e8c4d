"""A listing page as it travels: its objects can be taken, moved and doubled, its elements replaced."""

from __future__ import annotations

import re
from urllib.parse import unquote

from bench.faults.s3_proxy import Exchange

_ENTRY = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
_KEY = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)


def keys(page: Exchange) -> list[str]:
    """The keys of the page, in its order."""
    return [unquote(_KEY.search(entry)[1].decode()) for entry in _ENTRY.findall(page.body)]  # type: ignore[index]


def entries(page: Exchange) -> list[bytes]:
    """The `Contents` elements of the page."""
    return _ENTRY.findall(page.body)


def keep(page: Exchange, kept: list[bytes]) -> None:
    """Put these elements in the place of the page's own, and count them."""
    rest = _ENTRY.sub(b"", page.body)
    page.body = rest.replace(b"<Name>", b"".join(kept) + b"<Name>", 1)
    element(page, "KeyCount", str(len(kept)))


def drop(page: Exchange, gone: set[str]) -> None:
    """Leave keys out, and count the rest as if they never were."""
    named = zip(keys(page), entries(page), strict=True)
    keep(page, [entry for key, entry in named if key not in gone])


def element(page: Exchange, name: str, value: str | None) -> None:
    """Give every such element this text; None removes it."""
    new = b"" if value is None else f"<{name}>{value}</{name}>".encode()
    page.body = re.sub(f"<{name}>.*?</{name}>".encode(), lambda _: new, page.body, flags=re.DOTALL)


def truncated(page: Exchange) -> bool:
    """Whether the page says that more follow."""
    return b"<IsTruncated>true" in page.body

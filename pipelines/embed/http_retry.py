"""Which answers of a server are worth asking again, after how long, and what the others mean."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx

from pipelines.errors import FixConfiguration, Retry

BUSY = {408, 409, 425, 429, 500, 502, 503, 504}
REFUSED = {401: "refuses the credentials", 403: "refuses the credentials", 404: "is not there", 405: "takes no POST"}
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds
T = TypeVar("T")


class Garbled(Exception):
    """A 200 that holds something else than what was asked for, such as a proxy's page."""


class Busy(Exception):
    """An answer that may be another one later; `pause` is how long the server asks to wait, in seconds."""

    def __init__(self, detail: str, pause: float | None = None) -> None:
        super().__init__(detail)
        self.pause = pause


def judge(response: httpx.Response, url: str, file: str = "models.yaml") -> None:
    """Raises Busy for what may pass, FixConfiguration for what only a person can change; other answers are the caller's."""
    status = response.status_code
    if status in BUSY:
        raise Busy(f"{status}: {said(response)}", _pause(response.headers.get("retry-after")))
    if status in REFUSED or 300 <= status < 400:
        what = REFUSED.get(status, "redirects elsewhere")
        raise FixConfiguration(f"{url} {what} ({status}): {said(response)}; correct the url or the connection of {file}")


def persist(send: Callable[[], T], attempts: int, url: str) -> T:
    """The first answer of at most `attempts` tries, with growing pauses. Raises Retry naming the last failure."""
    for attempt in range(attempts):
        try:
            return send()
        except (Busy, Garbled, httpx.TransportError) as error:
            if attempt + 1 == attempts:
                raise Retry(
                    f"{url} failed {attempts} times, at last: {' '.join(str(error).split())[:300] or type(error).__name__}"
                ) from None
            asked = error.pause if isinstance(error, Busy) else None
            grown = FIRST_PAUSE * 2**attempt * random.uniform(0.8, 1.2)  # so that clients do not return together
            time.sleep(min(LONGEST_PAUSE, grown if asked is None else asked))
    raise ValueError("attempts must be at least 1")


def said(response: httpx.Response) -> str:
    """The beginning of an answer's text, in one line."""
    return " ".join(response.text[:2000].split())[:200] or "no text"


def _pause(header: str | None) -> float | None:
    """Retry-After in seconds: a number or a date; None when absent or nonsense."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return None

"""Whether an answer is of a version that was current while it was read.

Independent of the product's parsers: a passage belongs to a version when each of its paragraphs, of letters and digits
alone, stands in that version's raw text.
"""

from __future__ import annotations

import html
import mmap
import random
import re
import unicodedata
from collections.abc import Iterable, Sequence

from bench.flow.feed import State

_NOISE = re.compile(r"[\W_]+")


class Turn:
    """A number that all processes see: 2n after sync n, 2n + 1 while sync n + 1 runs; negative: stop."""

    def __init__(self) -> None:
        self._slot = memoryview(mmap.mmap(-1, 4096)).cast("q")

    def set(self, number: int) -> None:
        """Say which."""
        self._slot[0] = number

    def get(self) -> int:
        """Which it is."""
        return int(self._slot[0])


class Judge:
    """Knows what the source held at each sync."""

    def __init__(self, states: Sequence[State]) -> None:
        self._states = states
        self._bare: dict[str, str] = {}
        self.names = {name for state in states for name in state}

    def words(self, name: str, rng: random.Random) -> str:
        """A few successive words of some version of a document."""
        found = next(state[name] for state in self._states if name in state).split()
        place = rng.randrange(len(found))
        return re.sub(r"\W+", " ", " ".join(found[place : place + 6])) + " document"

    def wrong(self, name: str, passages: Iterable[str], before: int, after: int) -> str | None:
        """None, or `gap`, `gone` or `stale` for what was read of `name` between two turns.

        gap: nothing, though it was there all the time. gone: something, though it was not there at any time. stale: the
        passages are not all of one version that was current.
        """
        texts = {self._states[number].get(name) for number in range(before // 2, min((after + 1) // 2, self.last) + 1)}
        read = list(passages)
        if not read:
            return None if None in texts else "gap"
        bare = [_bare(part) for passage in read for part in passage.split("\n\n")]
        versions = [self._bared(name, text) for text in texts if text is not None]
        if not versions:
            return "gone"
        return None if any(all(passage in version for passage in bare) for version in versions) else "stale"

    @property
    def last(self) -> int:
        """The number of the last sync."""
        return len(self._states) - 1

    def _bared(self, name: str, text: str) -> str:
        if text not in self._bare:
            self._bare[text] = _bare(text)
            if name.endswith(".html"):  # some peers serve the markup, too
                self._bare[text] += "\n" + _bare(html.unescape(re.sub(r"<[^>]*>", " ", text)))
        return self._bare[text]


def _bare(text: str) -> str:
    return _NOISE.sub("", unicodedata.normalize("NFKC", text)).lower()

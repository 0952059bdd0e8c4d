"""How many items to try at once when some may be refused and a refusal says nothing about which. Pure.

All of them, as long as nothing is refused. A refused portion is tried again in quarters from its beginning, down to the item
at fault; afterwards portions grow again, but no further than the share of refused items makes worth while: with one in n
refused, portions of about the square root of n waste least (Dorfman, 1943).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

SHRINK = GROW = 4
SPAN = 3.0  # times the square root: a try costs more than an item does, and engines like company


@dataclass(slots=True)
class Portions:
    """Remembers what was refused, across the batches of a shard."""

    tried: int = 0
    refused: int = 0
    _next: int = 0
    _suspects: int = 0  # of the items to come, so many are known to hold one that is refused

    def size(self, left: int) -> int:
        """How many of the items that are left to try next, at least 1."""
        if self._suspects:
            return min(left, self._next, self._suspects)
        most = ceil(SPAN * sqrt(self.tried / self.refused)) if self.refused else left
        return max(1, min(left, most, self._next or left))

    def passed(self, count: int) -> None:
        """These were taken."""
        self.tried += count
        self._suspects = max(0, self._suspects - count)
        if not self._suspects:
            self._next = GROW * count
        elif self._suspects <= self._next:  # together they would only be refused again
            self._next = ceil(self._suspects / SHRINK)

    def failed(self, count: int) -> bool:
        """These were refused together; whether that settles it, because it is one."""
        if count > 1:
            self._suspects, self._next = count, ceil(count / SHRINK)
            return False
        self.tried += 1
        self.refused += 1
        self._suspects, self._next = 0, GROW
        return True

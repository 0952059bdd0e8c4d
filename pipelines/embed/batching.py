"""Batches by token budget: what a batch costs is its longest text times its size, padding included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil


def batches(token_counts: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indexes into `token_counts`, each once, longest texts first so that neighbours are of like length.

    No batch of two or more exceeds `budget` tokens, padding included; a single text longer than the budget is its own batch.
    """
    order = sorted(range(len(token_counts)), key=lambda index: (-token_counts[index], index))
    start = 0
    while start < len(order):
        longest = max(1, token_counts[order[start]])
        size = max(1, budget // longest)
        yield order[start : start + size]
        start += size


def even_budget(token_counts: Sequence[int], budget: int, streams: int) -> int:
    """The least budget that needs no more rounds of the streams, so that none idles while another has the odd last batch."""
    most = streams * ceil(_count(token_counts, budget) / streams)
    low, high = 1, budget
    while low < high:
        middle = (low + high) // 2
        if _count(token_counts, middle) <= most:
            high = middle
        else:
            low = middle + 1
    return high


def _count(token_counts: Sequence[int], budget: int) -> int:
    return sum(1 for _ in batches(token_counts, budget))

"""Batches by token budget: what a batch costs is its longest text times its size, padding included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

LEAST = 512  # tokens; below it a batch costs more than its share


def batches(token_counts: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indexes into `token_counts`, each once, longest texts first so that neighbours are of like length.

    No batch of two or more exceeds `budget` tokens, padding included; a single text longer than the budget is its own batch.
    """
    return _cut(token_counts, lambda left: budget)


def tapered(token_counts: Sequence[int], budget: int, streams: int) -> Iterator[list[int]]:
    """The same for streams that take batches as they become free: towards the end they grow small, so that no stream idles
    long while another has the last one (guided self-scheduling, Polychronopoulos and Kuck, 1987)."""
    return _cut(token_counts, lambda left: min(budget, max(LEAST, left // (2 * streams))))


def _cut(token_counts: Sequence[int], budget_of: Callable[[int], int]) -> Iterator[list[int]]:
    """`budget_of` says how many tokens a batch may have when so many are left."""
    order = sorted(range(len(token_counts)), key=lambda index: (-token_counts[index], index))
    left, start = sum(token_counts), 0
    while start < len(order):
        size = max(1, budget_of(left) // max(1, token_counts[order[start]]))
        batch = order[start : start + size]
        yield batch
        left -= sum(token_counts[index] for index in batch)
        start += size

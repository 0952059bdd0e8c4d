"""Weigh a challenger beside the champion: how long a question takes, how much is stored, what embedding everything costs.

Both are timed in turns in this process, so that whatever else the machine does slows both; limits are set on ratios.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from pipelines.evaluate import sets
from pipelines.evaluate.promotion import Pair, Weights
from pipelines.search import hybrid
from pipelines.search.lengths import fitting
from pipelines.search.query import clean_text
from pipelines.stages import search
from pipelines.store import benchmarks, fill, promotions, registry

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.stages.search import Reading
    from pipelines.store.spaces import Space

QUESTIONS = 100  # timed, of the benchmarks
PASSAGES, BATCH = 64, 16  # timed
BYTES = {"vector": 4, "halfvec": 2}  # of a dimension
HEADER = 8  # bytes of a vector beside its dimensions


def run(ctx: Context, champion: Space, challenger: Space) -> Weights:
    """What can be measured; without questions or passages there is no latency or no cost. Raises what embedders raise."""
    reads = search.reading(ctx, champion), search.reading(ctx, challenger)
    return Weights(
        latency_ms=_latency(reads, _questions(ctx, champion.collection)),
        vector_bytes=Pair(_stored(ctx, champion), _stored(ctx, challenger)),
        file_bytes=_files(ctx, champion, challenger),
        cost=_cost(ctx, reads),
    )


def in_turns(rounds: Sequence[Sequence[Callable[[], object]]]) -> tuple[list[float], list[float]]:
    """Seconds of the first and of the second call of each round; who begins changes from round to round."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number, calls in enumerate(rounds):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            begun = perf_counter()
            calls[side]()
            seconds[side].append(perf_counter() - begun)
    return seconds


def p95(values: Sequence[float]) -> float:
    """The smallest value that at least 95 % do not exceed."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def _latency(reads: tuple[Reading, Reading], questions: Sequence[str]) -> Pair | None:
    """p95 in milliseconds of embedding a question, as search does it."""
    if not questions:
        return None

    def embed(text: str, read: Reading) -> Callable[[], object]:
        return lambda: search.embedded(hybrid.Query(text, read.space.collection), read)

    for read in reads:
        embed(questions[0], read)()  # opens the model
    champion, challenger = in_turns([[embed(text, read) for read in reads] for text in questions])
    return Pair(1000 * p95(champion), 1000 * p95(challenger))


def _questions(ctx: Context, collection: str) -> list[str]:
    asked = [
        entry.text
        for found in benchmarks.current(ctx.pool, collection)
        for entry in benchmarks.questions(ctx.pool, found.id)
    ]
    usable = dict.fromkeys(text for text in asked if len(text) <= sets.MAX_QUESTION and clean_text(text))
    return list(usable)[:QUESTIONS]


def _stored(ctx: Context, space: Space) -> float:
    return float(fill.texts(ctx.pool, space) * (HEADER + BYTES[space.storage] * space.dim))


def _files(ctx: Context, champion: Space, challenger: Space) -> Pair | None:
    """Bytes of both models' files, where the registry has both."""
    kept = {
        number: sum(int(file["bytes"]) for file in version.files)
        for version in registry.versions(ctx.pool)
        if version.artifact
        for number in version.spaces
    }
    if champion.id not in kept or challenger.id not in kept:
        return None
    return Pair(kept[champion.id], kept[challenger.id])


def _cost(ctx: Context, reads: tuple[Reading, Reading]) -> Pair | None:
    """Of embedding every passage of each space anew, by the price of an hour. Their passages may differ."""
    samples = [fitting(promotions.passages(ctx.pool, read.space, PASSAGES), read.tokenizer) for read in reads]
    if not all(samples):
        return None

    def embed(read: Reading, texts: list[str]) -> Callable[[], object]:
        return lambda: read.embedder.embed(texts)

    batches = [[texts[start : start + BATCH] for start in range(0, len(texts), BATCH)] for texts in samples]
    count = min(len(entry) for entry in batches)
    for read, entry in zip(reads, batches, strict=True):
        embed(read, entry[0][:1])()
    seconds = in_turns(
        [[embed(read, entry[place]) for read, entry in zip(reads, batches, strict=True)] for place in range(count)]
    )
    costs = []
    for read, entry, spent in zip(reads, batches, seconds, strict=True):
        timed = sum(len(batch) for batch in entry[:count])
        costs.append(sum(spent) / timed * fill.texts(ctx.pool, read.space) / 3600 * ctx.settings.prices.cpu_hour)
    return Pair(*costs)

"""What a plan will cost before any byte is read: chunks, tokens, embeddings, time, money, each with an interval. Pure.

Chunks and tokens scale with bytes by format. A format's rates come from past runs of the source, mixed with a prior worth
`PRIOR_BYTES`; the interval is 80 %, from the spread seen between runs or, before any, a factor of two either way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.config import Prices

# Chunks and tokens per byte of source, measured on the sample corpus; binary formats carry little text per byte.
PRIOR = {
    "text": (0.0016, 0.22),
    "markdown": (0.0022, 0.24),
    "html": (0.0016, 0.16),
    "docx": (0.0002, 0.02),
    "pdf": (0.0008, 0.08),
    "csv": (0.0022, 0.35),
    "json": (0.0020, 0.28),
    "jsonl": (0.0020, 0.30),
    "eml": (0.0016, 0.18),
}
PRIOR_BYTES = 50_000
SECONDS_PER_CHUNK = 0.02  # parse to publish, two cores, f32
FIXED_SECONDS = 6.0  # imports, model load, validation
Z80 = 1.2816


@dataclass(frozen=True, slots=True)
class Range:
    """An estimate with its 80 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """The price of a plan. `exact` when the documents were read and parsed instead."""

    chunks: Range
    tokens: Range
    embeddings: Range
    seconds: Range
    cost: Range
    currency: str
    exact: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def estimate(bytes_by_format: Mapping[str, int], history: Iterable[Mapping[str, Any]], prices: Prices) -> Estimate:
    """Estimate from bytes by format and the `stats` of past runs (newest first)."""
    past = [stats for stats in history if stats.get("formats")]
    chunks = tokens = variance = 0.0
    for fmt, size in bytes_by_format.items():
        chunk_rate, token_rate, spread = _rates(fmt, past)
        chunks += size * chunk_rate
        tokens += size * token_rate
        variance += (size * chunk_rate * spread) ** 2
    relative = math.sqrt(variance) / chunks if chunks else 0.0
    share = _computed_share(past)
    per_chunk = _seconds_per_chunk(past)
    seconds = (FIXED_SECONDS + chunks * per_chunk) if chunks else 1.0
    return Estimate(
        chunks=_range(chunks, relative),
        tokens=_range(tokens, relative),
        embeddings=_range(chunks * share, relative),
        seconds=_range(seconds, relative),
        cost=_range(seconds / 3600 * prices.cpu_hour, relative),
        currency=prices.currency,
    )


def measured(chunks: int, tokens: int, embeddings: int, history: Iterable[Mapping[str, Any]], prices: Prices) -> Estimate:
    """The estimate of `plan --exact`: counts are true, only time and cost are still estimated."""
    seconds = (
        (FIXED_SECONDS + chunks * _seconds_per_chunk([stats for stats in history if stats.get("formats")]))
        if chunks
        else 1.0
    )
    return Estimate(
        chunks=Range(chunks, chunks, chunks),
        tokens=Range(tokens, tokens, tokens),
        embeddings=Range(embeddings, embeddings, embeddings),
        seconds=_range(seconds, 0.5),
        cost=_range(seconds / 3600 * prices.cpu_hour, 0.5),
        currency=prices.currency,
        exact=True,
    )


def _rates(fmt: str, past: list[Mapping[str, Any]]) -> tuple[float, float, float]:
    """Chunks per byte, tokens per byte, relative spread of the chunk rate."""
    chunk_prior, token_prior = PRIOR.get(fmt, PRIOR["text"])
    seen = [stats["formats"][fmt] for stats in past if fmt in stats["formats"] and stats["formats"][fmt]["bytes"] > 0]
    size = sum(entry["bytes"] for entry in seen)
    chunk_rate = (chunk_prior * PRIOR_BYTES + sum(entry["chunks"] for entry in seen)) / (PRIOR_BYTES + size)
    token_rate = (token_prior * PRIOR_BYTES + sum(entry["tokens"] for entry in seen)) / (PRIOR_BYTES + size)
    if len(seen) < 2:
        return chunk_rate, token_rate, 0.54  # exp(0.54 * Z80) is a factor of two
    rates = [entry["chunks"] / entry["bytes"] for entry in seen]
    mean = sum(rates) / len(rates)
    deviation = math.sqrt(sum((rate - mean) ** 2 for rate in rates) / (len(rates) - 1))
    return chunk_rate, token_rate, max(0.1, deviation / mean if mean else 0.54)


def _computed_share(past: list[Mapping[str, Any]]) -> float:
    chunks = sum(stats.get("chunks", 0) for stats in past)
    embedded = sum(stats.get("embedded", 0) for stats in past)
    return min(1.0, float(embedded + 50) / (chunks + 50)) if chunks else 1.0


def _seconds_per_chunk(past: list[Mapping[str, Any]]) -> float:
    chunks = sum(stats.get("chunks", 0) for stats in past)
    seconds = sum(max(0.0, stats.get("seconds", 0.0) - FIXED_SECONDS) for stats in past)
    return (SECONDS_PER_CHUNK * 200 + float(seconds)) / (200 + float(chunks))


def _range(value: float, relative: float) -> Range:
    factor = math.exp(Z80 * relative)
    return Range(round(value, 4), round(value / factor, 4), round(value * factor, 4))

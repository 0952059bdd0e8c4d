"""Interleaved rounds: every engine once a round, in turn forwards and backwards, so that a busy neighbour meets them all."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.embedding.engines import Engine

STEAL_LIMIT = 0.02  # of a round's time, taken by other machines on this host


@dataclass(slots=True)
class Rounds:
    """What was measured of one mix, by engine name."""

    rates: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # real tokens per second
    thrift: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # real tokens per CPU-second
    peaks: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # FLOP/s by precision
    discarded: int = 0

    def rate(self, name: str) -> float:
        """Median tokens per second."""
        return statistics.median(self.rates[name])

    def spread(self, name: str) -> float:
        """Interquartile range of the rate over its median."""
        low, _, high = statistics.quantiles(self.rates[name], n=4) if len(self.rates[name]) > 1 else (1.0, 1.0, 1.0)
        return (high - low) / self.rate(name)


def measure(engines: Sequence[Engine], texts: Path, rounds: int, precisions: Sequence[str]) -> Rounds:
    """`rounds` rounds of one file of texts; the matrix products' own rate is asked in each, of the engine that can tell.

    Raises RuntimeError when engines read different numbers of tokens. Rounds with stolen time are repeated, up to twice as
    many rounds in all.
    """
    found = Rounds()
    tokens: set[int] = set()
    done = tried = 0
    while done < rounds:
        tried += 1
        stolen = steal()
        results: dict[str, Mapping[str, Any]] = {}
        peaks = {precision: engines[0].ask(gemm=precision)["flops_per_second"] for precision in precisions}
        for engine in engines if tried % 2 else reversed(engines):
            results[engine.kind.name] = engine.ask(texts=str(texts))
        if steal(stolen) > STEAL_LIMIT and tried < 2 * rounds:
            found.discarded += 1
            continue
        done += 1
        for precision, peak in peaks.items():
            found.peaks[precision].append(peak)
        for name, result in results.items():
            tokens.add(result["tokens"])
            found.rates[name].append(result["tokens"] / result["seconds"])
            found.thrift[name].append(result["tokens"] / max(result["cpu_seconds"], 1e-9))
    if len(tokens) != 1:
        raise RuntimeError(f"the engines read different numbers of tokens of the same texts: {sorted(tokens)}")
    return found


Ticks = tuple[int, int]


def steal(since: Ticks | None = None) -> Any:
    """(stolen, all) ticks so far or, given those of an earlier call, the share stolen since."""
    fields = [int(value) for value in Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]]
    now = (fields[7], sum(fields))
    if since is None:
        return now
    return (now[0] - since[0]) / max(1, now[1] - since[1])

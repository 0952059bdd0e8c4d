"""Which share of known drifts becomes an alarm, beside Evidently's methods at the same rate of false alarms?

`python -m bench drift_power [DIR]`: documents of real text, Python's own reference or DIR's, in PASSAGES passages each, with
the packaged model's vectors; five drifts whose magnitudes the seed draws (`bench/drift/world.py`). Ours is the whole alarm
as it is served: p at 0.05, and an effect beyond the 95th percentile of half a year's daily windows. A method of Evidently,
in its own environment, is given the same windows, its own score, and the threshold that as many of the same null windows
exceed as alarm ours, but 5 % at least. The source that brought a drift must come first in all trials that have one, alarmed
or not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import comb
from pathlib import Path

import numpy as np

from bench.drift import texts
from bench.drift.vectors import embedded, packaged
from bench.drift.world import DRIFTS, Trial, World, trial
from bench.embedding.engines import Engine, peer
from bench.harness import Limit, Options, Result
from pipelines.drift import attribution, effect
from pipelines.drift.engine import Outcome, compare

ALPHA = 0.05
ENVIRONMENT = ".venv-peers-drift"
PASSAGES = 4
DOCUMENTS, SIZE = 2400, 400  # at most; of a window
QUICK_DOCUMENTS = 700
TOPICS, ELSEWHERE_TOPICS = 16, 8
PERMUTATIONS = 499
HISTORY, NULLS, TRIALS = 180, 200, 60  # windows for the floor; for the rates of false alarms; trials of each drift
QUICK_HISTORY, QUICK_NULLS, QUICK_TRIALS = 20, 12, 6
POWER, FIRST = 0.80, 0.95
PEERS = ("power_margin", "behind_a_peer")


@dataclass(frozen=True, slots=True)
class Judged:
    """One trial: what ours says, whether the source that brought the drift has the largest share, and the peers' scores."""

    outcome: Outcome
    first: bool | None  # None where no source brought it
    scores: Mapping[str, float]


class Bench:
    """The world, the peers, and how a trial is judged."""

    def __init__(self, world: World, size: int, rng: np.random.Generator, peers: Engine | None, folder: Path) -> None:
        self._world, self._size, self._rng, self._peers = world, size, rng, peers
        self._file = folder / "windows.npz"

    def judged(self, kind: str, count: int) -> list[Judged]:
        """So many trials of a kind."""
        return [self._judged(trial(self._world, kind, self._size, self._rng)) for _ in range(count)]

    def effects(self, count: int) -> list[float]:
        """Of null windows, as a history of reports holds them."""
        drawn = [trial(self._world, "null", self._size, self._rng) for _ in range(count)]
        return [outcome.effect for outcome in map(self._outcome, drawn) if outcome.effect is not None]

    def _judged(self, made: Trial) -> Judged:
        if self._peers is None:
            return _judged(made, self._outcome(made), {})
        np.savez(self._file, reference=made.reference.vectors, current=made.current.vectors)
        with ThreadPoolExecutor(1) as beside:
            scores = beside.submit(self._peers.ask, windows=str(self._file))
            return _judged(made, self._outcome(made), scores.result())

    def _outcome(self, made: Trial) -> Outcome:
        return compare(made.reference, made.current, permutations=PERMUTATIONS, seed=int(self._rng.integers(2**31)))


def run(options: Options) -> Result:
    """Measure; `--quick` takes few trials, smaller windows and no peers, and holds the mean power and the attribution alone:
    to what so few trials exceed in 99 of 100 cases where the floor's own rate is the true one."""
    rng = np.random.default_rng(options.seed)
    world = _world(options, rng)
    size = min(SIZE, int(0.42 * len(world.vectors)))
    history, nulls, trials = (QUICK_HISTORY, QUICK_NULLS, QUICK_TRIALS) if options.quick else (HISTORY, NULLS, TRIALS)
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as name, ExitStack() as stack:
        peers = None if options.quick else _peers(stack)
        bench = Bench(world, size, rng, peers, Path(name))
        floor = effect.floor(bench.effects(history))
        quiet = bench.judged("null", nulls)
        found = {kind: bench.judged(kind, trials) for kind in DRIFTS}
    return _result(options, world, size, floor, quiet, found)


def _world(options: Options, rng: np.random.Generator) -> World:
    with packaged() as (embedder, tokenizer):
        base = texts.texts(options.corpus) if options.corpus else texts.manual()
        made = texts.documents(base, PASSAGES, QUICK_DOCUMENTS if options.quick else DOCUMENTS, rng)
        other = texts.documents(texts.sample(), PASSAGES, QUICK_DOCUMENTS // 2 if options.quick else DOCUMENTS, rng)
        vectors, elsewhere = (embedded(one, embedder, tokenizer) for one in (made, other))
    return World.of(vectors, elsewhere, TOPICS, ELSEWHERE_TOPICS, options.seed)


def _peers(stack: ExitStack) -> Engine | None:
    kind = peer("evidently", "drift", ENVIRONMENT, "drift_evidently.py")
    if not Path(kind.command[0]).exists():
        return None
    engine = stack.enter_context(Engine(kind))
    engine.ready()
    return engine


def _judged(made: Trial, outcome: Outcome, scores: Mapping[str, float]) -> Judged:
    shares = attribution.shares(outcome, made.source_of)
    first = bool(shares) and shares[0][0] == made.source
    return Judged(replace(outcome, contributions={}), first if made.source else None, scores)


def _alarmed(judged: Judged, floor: float | None) -> bool:
    return bool(effect.alarmed(judged.outcome, floor, ALPHA))


def _rate(alarms: Sequence[bool]) -> float:
    return round(sum(alarms) / len(alarms), 4)


def _result(
    options: Options, world: World, size: int, floor: float | None, quiet: list[Judged], found: dict[str, list[Judged]]
) -> Result:
    level = _rate([judged.outcome.p is not None and judged.outcome.p <= ALPHA for judged in quiet])
    false = _rate([_alarmed(judged, floor) for judged in quiet])
    ours = {kind: _rate([_alarmed(one, floor) for one in judged]) for kind, judged in found.items()}
    theirs = _powers(quiet, found, max(ALPHA, false))
    sourced = [one for judged in found.values() for one in judged if one.first is not None]
    mean = round(float(np.mean(list(ours.values()))), 4)
    figures: dict[str, float | int] = {
        "documents": len(world.vectors),
        "documents_a_window": size,
        "trials_a_drift": len(found["topic"]),
        "false_alarms_before_floor": level,
        "false_alarms": false,
        **{f"power_{kind}": power for kind, power in ours.items()},
        "power_mean": mean,
        "attributed_first": _rate([bool(one.first) for one in sourced]),
        "attributed_first_of_alarms": _rate([bool(one.first) for one in sourced if _alarmed(one, floor)] or [False]),
    }
    if theirs:
        best = max(float(np.mean(list(powers.values()))) for powers in theirs.values())
        figures["power_best_peer"] = round(best, 4)
        figures["power_margin"] = round(mean - best, 4)
        figures["behind_a_peer"] = round(max(powers[kind] - ours[kind] for powers in theirs.values() for kind in ours), 4)
    drawn = sum(map(len, found.values()))
    power, first = (_least(drawn, POWER), _least(len(sourced), FIRST)) if options.quick else (POWER, FIRST)
    return Result(
        "drift_power",
        figures,
        floors=(
            Limit("power_mean", at_least=power),
            Limit("power_margin", at_least=0.15),
            Limit("behind_a_peer", at_most=0.10),
            Limit("attributed_first", at_least=first),
        ),
        left_out=PEERS if options.quick else (),
        rows=[
            ("who", *DRIFTS, "mean"),
            *(
                (who, *(f"{powers[kind]:.2f}" for kind in DRIFTS), f"{np.mean(list(powers.values())):.2f}")
                for who, powers in {"ours": ours, **theirs}.items()
            ),
        ],
        notes=_notes(options, bool(theirs), f"{max(ALPHA, false):.1%} of {len(quiet)} null windows", floor),
    )


def _least(trials: int, rate: float) -> float:
    """The share of so many trials that is exceeded or met in 99 of 100 cases where `rate` is true."""
    below = 0.0
    for count in range(trials + 1):
        below += comb(trials, count) * rate**count * (1 - rate) ** (trials - count)
        if below > 0.01:
            return round(count / trials, 4) if trials else 0.0
    return rate


def _notes(options: Options, compared: bool, passing: str, floor: float | None) -> list[str]:
    notes = [f"effect floor {floor or 0:.5f}"]
    if compared:
        notes.append(f"the peers' thresholds let {passing} pass")
    elif not options.quick:
        notes.append(f"{ENVIRONMENT} is missing, so nothing was compared; run make bench-peers")
    return notes


def _powers(quiet: list[Judged], found: dict[str, list[Judged]], rate: float) -> dict[str, dict[str, float]]:
    """By method of the peer and drift, with the threshold that this rate of the null windows exceeds."""
    return {
        method: {kind: _rate([one.scores[method] > limit for one in judged]) for kind, judged in found.items()}
        for method in quiet[0].scores
        for limit in [float(np.quantile([one.scores[method] for one in quiet], 1 - rate))]
    }

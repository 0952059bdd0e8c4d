"""The rows that an encoder is trained on: pairs of the new domain, and pairs of before so that it forgets less."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from datasets import Dataset

from pipelines.errors import FixConfiguration
from pipelines.records import TrainingPair, sha256
from pipelines.train.tuning import EncoderSettings

QUESTION, POSITIVE = "question", "positive"  # columns; negatives follow as negative_1 ...
REPLAY = "replay"  # what the names of replayed data sets begin with


def rows(
    pairs: Sequence[TrainingPair], replay: Mapping[str, Sequence[TrainingPair]], settings: EncoderSettings
) -> dict[str, list[TrainingPair]]:
    """Data set -> its pairs, in an order of the seed. A pair of weight w is taken with probability w.

    Replay sets are drawn from evenly, until they make up their share or are used up. Pairs with different numbers of hard
    negatives are different sets, since a batch has columns. Raises FixConfiguration for fewer than two pairs.
    """
    taken = believed(pairs, settings.seed)
    if len(taken) < 2:
        raise FixConfiguration(f"training: {len(taken)} pairs of {len(pairs)} given; at least 2 are needed, mine more")
    sets = {"pairs": taken}
    if settings.replay_share and replay:
        wanted = round(len(taken) * settings.replay_share / (1 - settings.replay_share))
        usable = {name: believed(found, settings.seed) for name, found in sorted(replay.items())}
        for name, count in evenly({name: len(found) for name, found in usable.items()}, wanted).items():
            sets[f"{REPLAY} {name}"] = usable[name][:count]
    made: dict[str, list[TrainingPair]] = {}
    for name, found in sets.items():
        for pair in found:
            made.setdefault(f"{name}, {_negatives(pair, settings)} negatives", []).append(pair)
    return made


def dataset(pairs: Sequence[TrainingPair], settings: EncoderSettings) -> Dataset:
    """One set as columns: question, positive, negative_1 ..."""
    columns = {QUESTION: [pair.question for pair in pairs], POSITIVE: [pair.positive for pair in pairs]}
    for number in range(_negatives(pairs[0], settings)):
        columns[f"negative_{number + 1}"] = [pair.negatives[number] for pair in pairs]
    return Dataset.from_dict(columns)


def believed(pairs: Sequence[TrainingPair], seed: int) -> list[TrainingPair]:
    """The pairs that are trained on, shuffled: each with the probability of its weight, the same for the same seed."""
    kept = [pair for pair in pairs if _chance(pair, seed) < pair.weight]
    random.Random(seed).shuffle(kept)
    return kept


def evenly(sizes: Mapping[str, int], wanted: int) -> dict[str, int]:
    """How many to take of each, so that small ones are used up and the others give equally; at most `wanted` in all."""
    taken: Counter[str] = Counter()
    left = wanted
    for number, name in enumerate(sorted(sizes, key=lambda name: (sizes[name], name))):
        taken[name] = min(sizes[name], left // (len(sizes) - number))
        left -= taken[name]
    return {name: count for name, count in taken.items() if count}


def identity(pairs: Sequence[TrainingPair], replay: Mapping[str, Sequence[TrainingPair]]) -> str:
    """Hex hash of all the data."""
    parts: list[str] = []
    for name, found in {"": pairs, **dict(sorted(replay.items()))}.items():
        parts.append(name)
        for pair in found:
            parts += [pair.question, pair.positive, *pair.negatives, repr(pair.weight)]
    return sha256("pairs", *parts).hex()


def _negatives(pair: TrainingPair, settings: EncoderSettings) -> int:
    return min(len(pair.negatives), settings.negatives)


def _chance(pair: TrainingPair, seed: int) -> float:
    return int.from_bytes(sha256("weight", str(seed), pair.question, pair.positive)[:8], "big") / 2**64

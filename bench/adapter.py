"""How much of what fine-tuning an encoder gains does a query adapter gain, in how many seconds, without a vector changed?

`python -m bench adapter [DIR]`: corpora, the invented domain and all that judges are those of `bench finetune`. For each of
three seeds the same pairs teach both rungs: the encoder with replay, distillation and sweep, and the adapter, whose seconds
are those of embedding the questions and fitting (the passages' vectors are there in a corpus that serves).
`share_of_encoder` is the adapter's gain by the encoder's, `vectors_changed` how many passages the adapted model embeds
otherwise than the base.

What the encoder learns of a word, a linear map of whole questions cannot: how large the share is depends on the domain, and
this one is made of invented words. The null is an adapter fitted to questions and passages put together at random; it is
accepted when the lower 95 % bound of its gain on the questions that choose is above 0.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.finetune import (
    FULL,
    NEW,
    QUICK,
    Size,
    World,
    clusters_of,
    decision,
    difference,
    mean_of,
    pairs_of,
    train,
    world_of,
)
from bench.harness import Limit, Options, Result
from bench.tuning import domain
from bench.tuning.domain import Asked
from bench.tuning.scores import scored
from pipelines.config import Model
from pipelines.embed import adapter as adapters
from pipelines.embed import open_embedder
from pipelines.evaluate import significance
from pipelines.ports import Embedder
from pipelines.records import TrainingPair
from pipelines.train import adapter
from pipelines.train.adapter import Fitted, Passages, Questions

KEPT = "short questions"  # which the adapter may not lose


@dataclass(frozen=True, slots=True)
class Learned:
    """One adapter: what it scores on what judges, and what it took."""

    fitted: Fitted
    scores: dict[str, dict[str, float]]
    seconds: float


class Bench:
    """The base model with the vectors of all passages that are taught or choose."""

    def __init__(self, world: World, place: Path) -> None:
        self.world, self.place = world, place
        self.embedder: Embedder = open_embedder(Model(path=str(world.base)), place / "cache")
        passages = [*world.parts.train, *world.parts.validation]
        numbers: dict[str, int] = {}
        documents = [numbers.setdefault(passage.document, len(numbers)) for passage in passages]
        self.row = {passage.text: row for row, passage in reversed(list(enumerate(passages)))}
        self.first = {passage.document: row for row, passage in reversed(list(enumerate(passages)))}
        vectors = self.embedder.embed([passage.text for passage in passages])
        self.passages = Passages(vectors, np.asarray(documents, np.int64))

    def learn(self, pairs: Sequence[TrainingPair], seed: int) -> Learned:
        """Fit an adapter, write it, and score it as it is served."""
        began = time.monotonic()
        world = self.world
        fitted = adapter.fit(
            self.passages,
            self._questions([pair.question for pair in pairs], [self.row[pair.positive] for pair in pairs]),
            self._asked(world.choosing[NEW]),
            self._asked(world.choosing[KEPT]),
            adapter.Settings(seed=seed),
        )
        folder = self.place / f"adapter-{seed}-{pairs[0].origin}"
        adapters.write(adapters.Adapter(fitted.weight, fitted.bias, self.embedder.fingerprint), folder)
        seconds = time.monotonic() - began
        return Learned(fitted, scored(world.base, world.parts.test, world.judging, folder), seconds)

    def changed(self, seed: int) -> int:
        """Passages whose vector the adapted model gives otherwise than the base, bit for bit."""
        texts = [passage.text for passage in self.world.parts.validation]
        folder = self.place / f"adapter-{seed}-domain"
        adapted = open_embedder(Model(path=str(self.world.base), adapter=str(folder)), self.place / "cache")
        same = adapted.fingerprint == self.embedder.fingerprint
        differ = np.any(adapted.embed(texts) != self.embedder.embed(texts), axis=1)
        return int(differ.sum()) if same else len(texts)

    def _asked(self, asked: Sequence[Asked]) -> Questions:
        return self._questions([one.text for one in asked], [self.first[one.documents[0]] for one in asked])

    def _questions(self, texts: list[str], rows: list[int]) -> Questions:
        vectors = self.embedder.embed(texts, query=True)
        return Questions(vectors, np.asarray(rows, np.int64), np.ones(len(rows), np.float32))


def run(options: Options) -> Result:
    """Three adapters and a null one beside three encoders; `--quick` is one small adapter without an encoder beside it."""
    size = QUICK if options.quick else FULL
    seeds = [options.seed * 100 + number for number in range(size.seeds)]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        world = world_of(options, size)
        bench = Bench(world, place)
        learned = [bench.learn(pairs_of(world, size, seed), seed) for seed in seeds]
        null = bench.learn(domain.shuffled(pairs_of(world, size, seeds[0]), seeds[0]), seeds[0])
        figures: dict[str, object] = _figures(world, learned, null) | {"vectors_changed": bench.changed(seeds[0])}
        if not options.quick:
            figures |= _beside(world, size, seeds, place, learned)
    judged = ("share_of_encoder", "gain_low") if options.quick else ()
    floors = (
        Limit("share_of_encoder", at_least=0.5),
        Limit("gain_low", at_least=0.0),
        Limit("vectors_changed", at_most=0),
        Limit("seconds", at_most=60),
        Limit("null_accepted", at_most=0),
    )
    notes = ["--quick: one small adapter, no encoder beside it"] if options.quick else []
    kept = {key: value for key, value in figures.items() if key not in judged}
    return Result("adapter", kept, floors, left_out=judged, notes=tuple(notes), rows=_rows(world, learned, null))


def _figures(world: World, learned: Sequence[Learned], null: Learned) -> dict[str, object]:
    gains = [difference(world, one.scores, NEW) for one in learned]
    mean = {question: float(np.mean([gain[question] for gain in gains])) for question in gains[0]}
    low, high = significance.interval(significance.paired(mean, clusters_of(world, NEW)))
    base = mean_of(world.before[NEW])
    return {
        "base_ndcg_at_10": round(base, 4),
        "gain": round(mean_of(mean), 4),
        "gain_low": round(low, 4),
        "gain_high": round(high, 4),
        "gain_relative": round(mean_of(mean) / base, 3) if base else 0.0,
        "share_by_seed": [one.fitted.share for one in learned],
        "seconds": round(max(one.seconds for one in learned), 1),
        "null_accepted": int(null.fitted.bound > 0),
        "null_gain": round(mean_of(difference(world, null.scores, NEW)), 4),
    }


def _beside(world: World, size: Size, seeds: Sequence[int], place: Path, learned: Sequence[Learned]) -> dict[str, object]:
    """The encoders, taught by the same pairs."""
    tuned = [train(world, size, seed, place, null=False) for seed in seeds]
    encoder = float(np.mean([mean_of(difference(world, one.mixed, NEW)) for one in tuned]))
    adapted = float(np.mean([mean_of(difference(world, one.scores, NEW)) for one in learned]))
    return {
        "encoder_gain": round(encoder, 4),
        "encoder_minutes": round(float(np.mean([one.minutes for one in tuned])), 1),
        "share_of_encoder": round(adapted / encoder, 3) if encoder > 0 else 0.0,
    }


def _rows(world: World, learned: Sequence[Learned], null: Learned) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("adapter", "share", "seconds", "slice", "change", "verdict")]
    entries = [*((f"seed {number + 1}", one) for number, one in enumerate(learned)), ("null", null)]
    for name, one in entries:
        change = difference(world, one.scores, NEW)
        rows.append((name, f"{one.fitted.share:g}", f"{one.seconds:.1f}", NEW, f"{mean_of(change):+.4f}", ""))
        for judged in decision(world, one.scores).slices:
            told = "" if judged.difference is None else f"{judged.difference:+.4f}"
            rows.append((name, f"{one.fitted.share:g}", "", judged.slice, told, judged.verdict))
    return rows

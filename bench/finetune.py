"""Does fine-tuning an encoder teach it a new domain without forgetting, and is a worthless training refused?

`python -m bench finetune [DIR]`: DIR is any corpus: a BEIR folder, files, or an archive base.tar.xz of them; without it the
sample. Only its texts are used; the judgments of a BEIR folder are not. Its documents are divided by identity into those
trained on, those that choose, and those that judge.

What is made up is the domain (`bench/tuning/domain.py`): its users ask with four words of a passage, two of which they
replace by invented ones from a lexicon. So the base model is weak on it by construction, and what there is to learn is the
lexicon: the questions and documents that judge were never trained on, their invented words were. It measures whether words
are learned from pairs and carried to other documents, not whether a real company's jargon is as regular as this one. "In
everybody's words" the same questions show how far the base model could get.

Three trainings by seed, each on pairs of its own, with replay, distillation and a sweep of mixtures, through
`pipelines.train`. The gain is that of the mixture which validation chose, on the documents that judge: the mean over
questions and seeds, with a 95 % bootstrap interval over documents. Frozen slices (sentences that find their document by
other passages, and short questions in everybody's words) are judged by `pipelines.evaluate.gate` at 2 points of nDCG@10,
for each training by itself. A training is promoted when the gate says so of every frozen slice and the lower 95 % bound of
its gain is above 0. The null is the same training on questions and passages that were put together at random; it must be
refused, both as validation leaves it and without any mixing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import Limit, Options, Result
from bench.tuning import corpus, domain
from bench.tuning.domain import Asked
from bench.tuning.scores import scored
from pipelines import config
from pipelines.embed.card import card
from pipelines.embed.files import digest
from pipelines.errors import FixConfiguration
from pipelines.evaluate import gate, significance
from pipelines.evaluate.builders import Passage
from pipelines.records import TrainingPair
from pipelines.train import encoder, merge
from pipelines.train.tuning import EncoderSettings, Tuned

MARGIN, LEAST_QUESTIONS = 0.02, 970
NEW, PLAIN = "new domain", "everybody's words"  # sets; PLAIN asks as NEW does, without the lexicon
FROZEN = ("crops", "short questions")


@dataclass(frozen=True, slots=True)
class Size:
    """How much is trained and asked."""

    seeds: int
    pairs: int
    questions: int  # of each set that judges
    choosing: int  # questions of each set that chooses
    lexicon: int
    documents: int | None  # of the corpus; None: all
    settings: EncoderSettings
    alphas: tuple[float, ...]


FULL = Size(
    3, 640, 1000, 200, 80, None, EncoderSettings(learning_rate=5e-5, epochs=1, max_tokens=96), (0.25, 0.5, 0.75, 1.0)
)
QUICK = Size(1, 32, 40, 20, 60, 50, EncoderSettings(learning_rate=5e-5, batch=16, max_tokens=48), (1.0,))


@dataclass(frozen=True, slots=True)
class World:
    """What one seed of the bench makes of a corpus."""

    base: Path  # the folder of the model that is tuned
    parts: corpus.Parts
    words: dict[str, str]
    judging: dict[str, list[Asked]]
    choosing: dict[str, list[Asked]]
    before: dict[str, dict[str, float]]  # what the base model scores on `judging`
    chosen_by: dict[str, dict[str, float]]  # and on `choosing`


@dataclass(frozen=True, slots=True)
class Trained:
    """One training: the mixture that was chosen, and what it and the unmixed model score on `judging`."""

    tuned: Tuned
    best: merge.Tried
    minutes: float
    mixed: dict[str, dict[str, float]]
    whole: dict[str, dict[str, float]]


def run(options: Options) -> Result:
    """Three trainings and a null one; `--quick` is one small one of each, by which no gain is judged."""
    size = QUICK if options.quick else FULL
    world = world_of(options, size)
    with tempfile.TemporaryDirectory() as place:
        trained = [train(world, size, options.seed * 100 + number, Path(place), null=False) for number in range(size.seeds)]
        null = train(world, size, options.seed * 100, Path(place), null=True)
    figures = _figures(world, trained, null)
    judged = ("gain_relative", "gain_low", "promoted_share", "frozen_questions")
    floors = (
        Limit("gain_relative", at_least=0.10),
        Limit("gain_low", at_least=0.0),
        Limit("promoted_share", at_least=1.0),
        Limit("frozen_questions", at_least=LEAST_QUESTIONS),
        Limit("null_promoted", at_most=0),
    )
    notes = (
        *(["--quick: one small training; its gain and the frozen slices are shown and not judged"] if options.quick else []),
        f"corpus: {options.corpus.name if options.corpus else 'sample'}; {len(world.parts.train)} passages to train on, "
        f"{len(world.parts.validation)} to choose, {len(world.parts.test)} to judge",
    )
    quick_only = judged if options.quick else ()
    figures = {name: value for name, value in figures.items() if name not in quick_only}
    return Result("finetune", figures, floors, left_out=quick_only, notes=notes, rows=_rows(world, trained, null))


def world_of(options: Options, size: Size) -> World:
    """The corpus in three parts, its questions, and what the base model scores on them."""
    parts = corpus.parts(options.corpus, options.seed, size.documents)
    words = domain.lexicon(parts.train, size.lexicon, options.seed)
    judging = _sets(parts.test, words, size.questions, options.seed)
    if len(judging[NEW]) < 2:
        raise FixConfiguration(f"{options.corpus or 'the sample'}: too few English texts to make questions of; give more")
    base = card(config.load().models["minilm"]).folder
    choosing = _sets(parts.validation, words, size.choosing, options.seed)
    before = scored(base, parts.test, judging)
    return World(base, parts, words, judging, choosing, before, scored(base, parts.validation, choosing))


def _sets(passages: Sequence[Passage], words: Mapping[str, str], count: int, seed: int) -> dict[str, list[Asked]]:
    meant = {invented: word for word, invented in words.items()}

    def plain(asked: Sequence[Asked]) -> list[Asked]:
        return [
            Asked(" ".join(meant.get(word, word) for word in entry.text.split()), entry.documents, entry.cluster)
            for entry in asked
        ]

    def short(seed: int) -> list[Asked]:
        made = domain.questions(passages, dict(words), count, seed)
        return [Asked(text, (passage.document,), passage.document) for text, passage in made]

    new = short(seed)
    return {
        NEW: new,
        PLAIN: plain(new),
        "crops": domain.before(passages, "crops", count, seed),
        "short questions": plain(short(seed + 1)),
    }


def train(world: World, size: Size, seed: int, place: Path, *, null: bool) -> Trained:
    """Train, sweep, score. `null` puts questions and passages together at random."""
    begun = time.monotonic()
    settings = EncoderSettings(**{**_fields(size.settings), "seed": seed})
    pairs = pairs_of(world, size, seed)
    replay = {"crops": domain.mined(world.parts.train, "crops", size.pairs, seed)}
    out = place / f"{'null' if null else 'seed'}-{seed}"
    given = domain.shuffled(pairs, seed) if null else pairs
    tuned = encoder.tune(world.base, given, replay, out, settings, _ignored)

    def score(folder: Path) -> tuple[float, dict[str, float]]:
        same = digest(folder / merge.WEIGHTS) == digest(world.base / merge.WEIGHTS)
        values = world.chosen_by if same else scored(folder, world.parts.validation, world.choosing)
        found = {name: mean_of(of) for name, of in values.items()}
        return found[NEW], {frozen: found[frozen] for frozen in FROZEN}

    mixed, best, _ = merge.sweep(world.base, tuned.folder, out / "mixed", score, alphas=size.alphas)
    minutes = (time.monotonic() - begun) / 60
    after = scored(mixed, world.parts.test, world.judging) if best.alpha else world.before
    whole = after if best.alpha == 1 else scored(tuned.folder, world.parts.test, world.judging)
    return Trained(tuned, best, minutes, after, whole)


def pairs_of(world: World, size: Size, seed: int) -> list[TrainingPair]:
    """What a training of this seed is taught."""
    return domain.pairs(domain.questions(world.parts.train, world.words, size.pairs, seed))


def _ignored(point: object) -> None:
    """The curve is in the folder."""


def _fields(settings: EncoderSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


def _figures(world: World, trained: Sequence[Trained], null: Trained) -> dict[str, Any]:
    gains = [difference(world, entry.mixed, NEW) for entry in trained]
    mean = {question: float(np.mean([gain[question] for gain in gains])) for question in gains[0]}
    low, high = significance.interval(significance.paired(mean, clusters_of(world, NEW)))
    base = mean_of(world.before[NEW])
    return {
        "base_ndcg_at_10": round(base, 4),
        "base_in_everybodys_words": round(mean_of(world.before[PLAIN]), 4),
        "tuned_ndcg_at_10": round(base + mean_of(mean), 4),
        "gain": round(mean_of(mean), 4),
        "gain_low": round(low, 4),
        "gain_high": round(high, 4),
        "gain_by_seed": [round(mean_of(gain), 4) for gain in gains],
        "gain_relative": round(mean_of(mean) / base, 3),
        "alpha_by_seed": [entry.best.alpha for entry in trained],
        "gain_unmixed": round(float(np.mean([mean_of(difference(world, entry.whole, NEW)) for entry in trained])), 4),
        "promoted_share": round(float(np.mean([_promoted(world, entry.mixed) for entry in trained])), 3),
        "null_promoted": int(_promoted(world, null.mixed)) + int(_promoted(world, null.whole)),
        "null_alpha": null.best.alpha,
        "null_gain_unmixed": round(mean_of(difference(world, null.whole, NEW)), 4),
        "frozen_questions": min(len(world.judging[name]) for name in FROZEN),
        "pairs": sum(trained[0].tuned.rows.values()),
        "steps": trained[0].tuned.steps,
        "training_minutes": round(float(np.mean([entry.tuned.seconds / 60 for entry in trained])), 2),
        "training_and_sweep_minutes": round(float(np.mean([entry.minutes for entry in trained])), 2),
        "peak_memory_mb": max(entry.tuned.peak_bytes for entry in (*trained, null)) >> 20,
    }


def _promoted(world: World, after: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether the gate lets every frozen slice pass, and the new domain is won."""
    won = significance.lower_bound(significance.paired(difference(world, after, NEW), clusters_of(world, NEW)))
    return won > 0 and decision(world, after).verdict == "promote"


def decision(world: World, after: Mapping[str, Mapping[str, float]]) -> gate.Decision:
    """The gate, on the frozen slices."""
    sides = {name: gate.Side(world.before[name], after[name], clusters_of(world, name)) for name in FROZEN}
    return gate.decide(sides, margin=MARGIN)


def _rows(world: World, trained: Sequence[Trained], null: Trained) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("training", "alpha", "slice", "questions", "base", "change", "bound", "verdict")]
    entries = [(f"seed {number + 1}", entry.best.alpha, entry.mixed) for number, entry in enumerate(trained)]
    entries += [("null", null.best.alpha, null.mixed), ("null, unmixed", 1.0, null.whole)]
    for name, alpha, after in entries:
        change = difference(world, after, NEW)
        bound = significance.lower_bound(significance.paired(change, clusters_of(world, NEW)))
        said = "won" if bound > 0 else "not won"
        rows.append((name, f"{alpha:g}", NEW, *_cells(len(change), world.before[NEW], mean_of(change), bound), said))
        for judged in decision(world, after).slices:
            cells = _cells(judged.questions, world.before[judged.slice], judged.difference, judged.bound)
            rows.append((name, f"{alpha:g}", judged.slice, *cells, judged.verdict))
    return rows


def _cells(count: int, base: Mapping[str, float], change: float | None, bound: float | None) -> tuple[str, ...]:
    return (str(count), f"{mean_of(base):.3f}", *("" if value is None else f"{value:+.4f}" for value in (change, bound)))


def difference(world: World, after: Mapping[str, Mapping[str, float]], name: str) -> dict[str, float]:
    """What was gained over the base model, by question of a set."""
    return significance.differences(after[name], world.before[name])


def clusters_of(world: World, name: str) -> dict[str, str]:
    """The document of each question of a set."""
    return {str(number): entry.cluster for number, entry in enumerate(world.judging[name])}


def mean_of(values: Mapping[str, float]) -> float:
    """Of all questions; 0 for none."""
    return float(np.mean(list(values.values()))) if values else 0.0

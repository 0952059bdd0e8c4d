"""Does the gate keep its word? Simulated challengers, through the real `pipelines.evaluate.gate.decide`.

Inferior ones lose exactly the margin on one of three slices and equal the champion on the others; equal ones differ from it
by chance only; better ones gain up to the margin somewhere. Each is measured on as many questions a slice as the gate's own
formula states for 80 % power.

Per-question values come from ranks, as real ones do: many 1 and 0, and steps between. A question's difficulty has a part of
its document, which a few questions share, and one of its own; champion and challenger add independent luck, so equal ones
are exchangeable. Losing is a rank that doubles, with the probability that makes the mean loss the margin exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.harness import Limit, Options, Result
from pipelines.evaluate import gate, significance

Floats = npt.NDArray[np.float64]
SLICES = ("frozen", "rolling", "challenge")
MARGIN, ALPHA, POWER = 0.02, 0.05, 0.80
CLUSTERS = 20_000  # documents of the population
LUCK = 0.45  # of one system on one question, beside difficulty parts of 1 each


@dataclass(frozen=True, slots=True)
class Population:
    """Every question there is: its document, the ranks that champion and an equal challenger give the right answer."""

    starts: npt.NDArray[np.int64]  # (documents,): its first question
    sizes: npt.NDArray[np.int64]  # (documents,): how many questions it has
    champion: Floats  # (questions,) ranks, 1 is best
    equal: Floats

    def loss(self) -> float:
        """The mean loss when every rank doubles."""
        return float(np.mean(ndcg(self.equal) - ndcg(2 * self.equal)))

    def gain(self) -> float:
        """The mean gain when every rank halves."""
        return float(np.mean(ndcg(np.ceil(self.equal / 2)) - ndcg(self.equal)))


def ndcg(ranks: Floats) -> Floats:
    """nDCG@10 of questions with one right answer."""
    return np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0)


def population(rng: np.random.Generator) -> Population:
    """Documents with one to five questions; every pair of ranks is there both ways round, so equal is exactly equal."""
    sizes = rng.integers(1, 6, size=CLUSTERS)
    document = np.repeat(np.arange(CLUSTERS), sizes)
    difficulty = rng.normal(size=CLUSTERS)[document] + rng.normal(size=len(document))
    ranks = [np.floor(np.exp(1.2 * (difficulty + LUCK * rng.normal(size=len(document))))) + 1 for _ in range(2)]
    both = np.concatenate([sizes, sizes])
    starts = np.concatenate([[0], np.cumsum(both)[:-1]])
    return Population(starts, both, np.concatenate(ranks), np.concatenate(ranks[::-1]))


def run(options: Options) -> Result:
    """1,000 challengers of each kind; `--quick` tries 200 inferior and 100 others."""
    rng = np.random.default_rng(options.seed)
    people = population(rng)
    spread = _spread(people, rng)
    questions = gate.needed(spread, MARGIN, slices=len(SLICES), alpha=ALPHA, power=POWER)
    tries = (200, 100) if options.quick else (1000, 1000)
    inferior = [_promoted(people, rng, questions, {SLICES[number % 3]: -MARGIN}) for number in range(tries[0])]
    equal = [_promoted(people, rng, questions, {}) for _ in range(tries[1])]
    gains = [{SLICES[number % 3]: MARGIN * rng.uniform()} for number in range(tries[1])]
    better = [_promoted(people, rng, questions, gain) for gain in gains]
    figures = {
        "inferior_challengers": len(inferior),
        "inferior_promoted_share": round(float(np.mean(inferior)), 4),
        "equal_promoted_share": round(float(np.mean(equal)), 4),
        "better_promoted_share": round(float(np.mean(better)), 4),
        "stated_questions_a_slice": questions,
        "margin": MARGIN,
        "spread_with_design_effect": round(spread, 4),
        "slices": len(SLICES),
    }
    # --quick cannot tell 5 % from 7 %: it judges with the two standard errors that 200 tries leave.
    slack = 2 * math.sqrt(ALPHA * (1 - ALPHA) / tries[0]) if options.quick else 0.0
    floors = (
        Limit("inferior_promoted_share", at_most=round(ALPHA + slack, 3)),
        Limit("equal_promoted_share", at_least=POWER - (0.08 if options.quick else 0)),
        Limit("better_promoted_share", at_least=POWER - (0.08 if options.quick else 0)),
    )
    return Result("gate_honesty", figures, floors=floors)


def _spread(people: Population, rng: np.random.Generator) -> float:
    """Standard deviation of a difference with the design effect of shared documents, from a pilot of 5,000 documents."""
    pairs = significance.paired(*_sides(people, rng, 5000, 0.0)[1:])
    return pairs.error * math.sqrt(pairs.questions)


def _promoted(people: Population, rng: np.random.Generator, questions: int, shifts: dict[str, float]) -> bool:
    documents = math.ceil(questions / float(np.mean(people.sizes)))
    sides = {}
    for name in SLICES:
        champion, differences, clusters = _sides(people, rng, documents, shifts.get(name, 0.0))
        challenger = {question: champion[question] + difference for question, difference in differences.items()}
        sides[name] = gate.Side(champion, challenger, clusters)
    return gate.decide(sides, margin=MARGIN, alpha=ALPHA).verdict == "promote"


def _sides(
    people: Population, rng: np.random.Generator, documents: int, shift: float
) -> tuple[dict[str, float], dict[str, float], dict[str, str]]:
    """The champion's values, the challenger's differences and the documents of the questions of documents drawn."""
    drawn = rng.integers(0, len(people.starts), size=documents)
    rows = np.concatenate([np.arange(people.starts[d], people.starts[d] + people.sizes[d]) for d in drawn])
    cluster = np.repeat(np.arange(documents), people.sizes[drawn])
    ranks = people.equal[rows]
    moved = rng.uniform(size=len(rows)) < abs(shift) / (people.loss() if shift < 0 else people.gain())
    ranks = np.where(moved, 2 * ranks if shift < 0 else np.ceil(ranks / 2), ranks)
    champion, challenger = ndcg(people.champion[rows]), ndcg(ranks)
    names = [f"q{number}" for number in range(len(rows))]
    return (
        dict(zip(names, champion.tolist(), strict=True)),
        dict(zip(names, (challenger - champion).tolist(), strict=True)),
        dict(zip(names, map(str, cluster.tolist()), strict=True)),
    )

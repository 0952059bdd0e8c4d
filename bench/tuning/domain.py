"""Questions of users who have words of their own, and questions as before.

The domain is made: a lexicon of words that many documents use, each with an invented word that nobody has ever written. A
user asks for a passage with a few words of it and says the invented ones instead. Whoever has not learned the words can
only go by the rest of the question.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.evaluate import builders, controls
from pipelines.evaluate.builders import Passage
from pipelines.records import Hidden, TrainingPair
from pipelines.text import sentences

SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "ar", "en", "il", "or", "un")]
FREQUENT = (0.02, 0.35)  # the share of documents that a word of the lexicon is used in
LEAST_LETTERS = 5
CODED, PLAIN = 2, 2  # words of a question that are said in the domain's way, and as everybody says them


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the documents that answer it, and the passage that may not be found."""

    text: str
    documents: tuple[str, ...]
    cluster: str
    hidden: Hidden | None = None


def lexicon(passages: Sequence[Passage], size: int, seed: int) -> dict[str, str]:
    """Word -> its invented one: `size` words drawn among those that many documents of `passages` use."""
    by_document: dict[str, set[str]] = {}
    for passage in passages:
        by_document.setdefault(passage.document, set()).update(_words(passage))
    counts = Counter(word for found in by_document.values() for word in found)
    least, most = (share * len(by_document) for share in FREQUENT)
    usable = sorted(word for word, count in counts.items() if max(2, least) <= count <= most)
    rng = random.Random(seed)
    names: dict[str, None] = {}
    while len(names) < size:
        names["".join(rng.choices(SYLLABLES, k=3))] = None
    return dict(zip(rng.sample(usable, min(size, len(usable))), names, strict=False))


def questions(passages: Sequence[Passage], words: dict[str, str], count: int, seed: int) -> list[tuple[str, Passage]]:
    """Up to `count` questions in the domain's words, each with its passage; passages take turns."""
    rng = random.Random(seed)
    usable = [(passage, found) for passage in passages if len(found := _known(passage, words)) >= CODED]
    rng.shuffle(usable)
    made: dict[str, Passage] = {}
    for _ in range(max(1, 4 * count // max(1, len(usable)))):
        for passage, found in usable:
            if len(made) == count:
                return list(made.items())
            coded = [words[word] for word in rng.sample(found, CODED)]
            others = sorted(set(_words(passage)) - set(words))
            said = coded + rng.sample(others, min(PLAIN, len(others)))
            rng.shuffle(said)
            made.setdefault(" ".join(said), passage)
    return list(made.items())


def pairs(asked: Iterable[tuple[str, Passage]]) -> list[TrainingPair]:
    """Questions with the passages that they were made of."""
    return [TrainingPair(text, passage.text, passage.document, origin="domain") for text, passage in asked]


def shuffled(given: Sequence[TrainingPair], seed: int) -> list[TrainingPair]:
    """The same questions and passages, put together at random: there is nothing to learn from them."""
    positives = [(pair.positive, pair.document) for pair in given]
    random.Random(seed).shuffle(positives)
    return [
        TrainingPair(pair.question, positive, document, origin="null")
        for pair, (positive, document) in zip(given, positives, strict=True)
    ]


def before(passages: Sequence[Passage], builder: builders.Builder, count: int, seed: int) -> list[Asked]:
    """Questions as they were asked before: those that a benchmark's builder makes of all these documents."""
    made = builders.build(passages, builder, share=1.0, limit=count, seed=seed, spans=sentences.spans)
    return [Asked(entry.text, entry.documents, entry.cluster, entry.hidden) for entry in made]


def mined(passages: Sequence[Passage], builder: builders.Builder, count: int, seed: int) -> list[TrainingPair]:
    """Training pairs as before, for replay: a builder's questions with the passages that answer them."""
    by_evidence = {
        (passage.document, controls.without(passage.text, (passage.title, *passage.headings))): passage
        for passage in reversed(passages)
    }
    made = builders.build(passages, builder, share=1.0, limit=count, seed=seed, spans=sentences.spans)
    found = [(entry, by_evidence.get((name, entry.evidence))) for entry in made for name in entry.documents[:1]]
    return [TrainingPair(entry.text, passage.text, passage.document, origin=builder) for entry, passage in found if passage]


def _words(passage: Passage) -> list[str]:
    body = controls.without(passage.text, (passage.title, *passage.headings))
    return [word for word in controls.words(body) if len(word) >= LEAST_LETTERS and word.isascii() and word.isalpha()]


def _known(passage: Passage, words: dict[str, str]) -> list[str]:
    return sorted(set(_words(passage)) & words.keys())

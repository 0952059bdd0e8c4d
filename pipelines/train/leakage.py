"""Nothing that a model is judged by may be what it was taught: questions, near-duplicate questions, judged documents.

`without` takes out of what is mined whatever an evaluation slice knows, with the reason; `require_none` is the last word on
a data set, whatever it was made of. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.errors import FailRun
from pipelines.evaluate import controls
from pipelines.records import Question, TrainingPair

NEAR = 0.8  # share of common words from which two questions are one


@dataclass(frozen=True, slots=True)
class Judged:
    """What evaluation slices know: of each question key and of each judged document's cluster which slice."""

    questions: Mapping[str, str]
    documents: Mapping[str, str]
    _by_word: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, slices: Mapping[str, Iterable[Question]], clusters: Mapping[str, str]) -> Judged:
        """From the questions of every slice, by its label."""
        questions: dict[str, str] = {}
        documents: dict[str, str] = {}
        for label, found in slices.items():
            for question in found:
                questions.setdefault(controls.key(question.text), label)
                for document, relevance in question.relevant:
                    if relevance > 0:
                        documents.setdefault(clusters.get(document, document), label)
        by_word: dict[str, set[str]] = defaultdict(set)
        for key in questions:
            for word in key.split():
                by_word[word].add(key)
        return cls(questions, documents, {word: frozenset(keys) for word, keys in by_word.items()})

    def near(self, question: str) -> str | None:
        """The slice that asks this question, or nearly this one."""
        key = controls.key(question)
        if key in self.questions:
            return self.questions[key]
        words = set(key.split())
        # Questions that share NEAR of their words share one of any (1 - NEAR) of them: the rarest are looked up.
        rare = sorted(words, key=lambda word: (len(self._by_word.get(word, ())), word))[
            : int(len(words) * (1 - NEAR) + 1e-9) + 1
        ]
        for other in sorted({key for word in rare for key in self._by_word.get(word, ())}):
            asked = set(other.split())
            if len(words & asked) >= NEAR * len(words | asked):
                return self.questions[other]
        return None


def leaks(pair: TrainingPair, judged: Judged, clusters: Mapping[str, str]) -> str | None:
    """Why a pair may not be trained on; None for one that may."""
    label = judged.near(pair.question)
    if label is not None:
        return f"its question is asked by {label}"
    label = judged.documents.get(clusters.get(pair.document, pair.document))
    return f"its document answers a question of {label}" if label is not None else None


def without(
    pairs: Sequence[TrainingPair], judged: Judged, clusters: Mapping[str, str]
) -> tuple[list[TrainingPair], dict[str, int]]:
    """The pairs that may be trained on, and how many may not, by reason."""
    kept, left = [], dict[str, int]()
    for pair in pairs:
        reason = leaks(pair, judged, clusters)
        if reason is None:
            kept.append(pair)
        else:
            left[reason] = left.get(reason, 0) + 1
    return kept, left


def require_none(pairs: Sequence[TrainingPair], judged: Judged, clusters: Mapping[str, str]) -> None:
    """Raise FailRun, naming a pair and the slice, if any may not be trained on."""
    found = [(pair, reason) for pair in pairs if (reason := leaks(pair, judged, clusters))]
    if found:
        pair, reason = found[0]
        raise FailRun(
            f"{len(found)} of {len(pairs)} training pairs leak into an evaluation, such as {pair.question[:80]!r} "
            f"({pair.source}): {reason}; leave them out, or judge by other questions"
        )

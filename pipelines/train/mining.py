"""Training pairs from what a collection has: the structure of its documents, and judgments that no evaluation uses.

Builders of the benchmark make the questions, of those documents that no benchmark is made from (`controls.held_out`). The
passage that answers is the document's nearest one by the parent model, never the one that the question was cut from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.evaluate import builders, controls
from pipelines.evaluate.builders import Builder, Passage, Spans
from pipelines.records import Candidate, Hidden, Question, TrainingPair

Matrix = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Matrix]  # questions -> (n, dim) unit rows
STRUCTURE: tuple[Builder, ...] = ("titles", "headings", "crops", "links")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the documents that answer it, and where it is from."""

    text: str
    documents: tuple[str, ...]
    origin: str
    source: str
    weight: float = 1.0
    hidden: Hidden | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """The passages of a collection: (n, dim) unit vectors, what the embedder read, and where each stands."""

    vectors: Matrix
    texts: tuple[str, ...]
    passages: tuple[Passage, ...]


def from_structure(passages: Sequence[Passage], *, share: float, limit: int, seed: int, spans: Spans) -> list[Asked]:
    """At most `limit` questions a builder, of the documents outside the benchmark's `share`."""
    found: list[Asked] = []
    for builder in STRUCTURE:
        made = builders.build(passages, builder, share=share, limit=limit, seed=seed, spans=spans, training=True)
        found += [_of(entry) for entry in made]
    return found


def from_judgments(questions: Iterable[Question], label: str) -> list[Asked]:
    """What people judged, in a file or a set that nothing is evaluated by."""
    found = []
    for question in questions:
        documents = tuple(document for document, relevance in question.relevant if relevance > 0)
        if documents:
            source = f"{label}, question {question.id}"
            found.append(Asked(question.text, documents, "judged", source, hidden=question.hidden))
    return found


def paired(asked: Sequence[Asked], served: Served, embed: Embed) -> tuple[list[TrainingPair], dict[str, int]]:
    """A pair for each question with a passage, in order, and how many were left out by reason."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, passage in enumerate(served.passages):
        rows[passage.document].append(row)
    usable = [(entry, _rows(entry, rows, served)) for entry in asked]
    kept = [(entry, own) for entry, own in usable if own]
    left = {"no passage of its document is served": len(usable) - len(kept)}
    vectors = embed([entry.text for entry, _ in kept]) if kept else np.zeros((0, 1), np.float32)
    pairs = []
    for (entry, own), vector in zip(kept, vectors, strict=True):
        best = own[int(np.argmax(served.vectors[own] @ vector))]
        passage, text = served.passages[best], served.texts[best]
        pairs.append(TrainingPair(entry.text, text, passage.document, (), entry.origin, entry.source, entry.weight))
    return pairs, {reason: count for reason, count in left.items() if count}


def _of(entry: Candidate) -> Asked:
    return Asked(entry.text, entry.documents, entry.builder, f"document {entry.cluster}", hidden=entry.hidden)


def _rows(entry: Asked, rows: Mapping[str, Sequence[int]], served: Served) -> list[int]:
    found = [row for document in entry.documents for row in rows.get(document, ())]
    return [row for row in found if not _hides(entry.hidden, served.passages[row])]


def _hides(hidden: Hidden | None, passage: Passage) -> bool:
    here = hidden is not None and hidden.document == passage.document
    return here and hidden is not None and passage.start < hidden.end and hidden.start < passage.end


def clusters(passages: Sequence[Passage]) -> dict[str, str]:
    """Document -> the first of its near-duplicates."""
    texts: dict[str, list[str]] = defaultdict(list)
    for passage in passages:
        texts[passage.document].append(passage.text)
    return controls.clusters({document: " ".join(parts) for document, parts in texts.items()})

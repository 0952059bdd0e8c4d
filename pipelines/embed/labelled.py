"""A labelled retrieval set from the packaged sample: which passage answers which question.

The golden questions are few, so every paragraph of two sentences or more also asks for itself: its first sentence must find
its rest. What an arithmetic tier loses, it loses on both kinds.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipelines.errors import FixConfiguration

if TYPE_CHECKING:
    from pipelines.ports import Embedder

SAMPLE = Path(__file__).resolve().parents[2] / "include/sample"
LEAST_CHARS, MOST_CHARS = 60, 600  # of a passage; the longest fits a model of 256 tokens
TOP = 10
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9ÄÖÜ€])")

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cases:
    """`answers[i]` holds the indexes of the passages that answer `questions[i]`."""

    passages: tuple[str, ...]
    questions: tuple[str, ...]
    answers: tuple[frozenset[int], ...]


def read(sample: Path) -> Cases:
    """The set made of `sample`/golden.jsonl and the Markdown and text files in its folders. FixConfiguration without it."""
    try:
        golden = [json.loads(line) for line in (sample / "golden.jsonl").read_text(encoding="utf-8").splitlines() if line]
    except FileNotFoundError:
        raise FixConfiguration(f"{sample / 'golden.jsonl'}: missing; tier int8 is judged on it: restore it") from None
    passages: dict[str, int] = {}
    asked: list[tuple[str, set[int]]] = []
    for paragraph in _paragraphs(sample):
        first, *rest = _SENTENCE.split(paragraph, maxsplit=1)
        if rest and len(rest[0]) >= LEAST_CHARS:
            asked.append((first, {passages.setdefault(rest[0], len(passages))}))
        else:
            passages.setdefault(paragraph, len(passages))
    for entry in golden:
        found = {" ".join(answer["passage"].split())[:MOST_CHARS] for answer in entry["answers"]}
        if found:
            asked.append((entry["question"], {passages.setdefault(text, len(passages)) for text in sorted(found)}))
    questions, answers = zip(*asked, strict=True)
    return Cases(tuple(passages), questions, tuple(map(frozenset, answers)))


def _paragraphs(sample: Path) -> list[str]:
    found: dict[str, None] = {}
    for path in sorted(path for kind in ("*/**/*.md", "*/**/*.txt") for path in sample.glob(kind)):
        try:
            content = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # the sample has other encodings too
            continue
        for part in re.split(r"\n\s*\n", content):
            text = " ".join(part.split())
            if len(text) >= LEAST_CHARS and text[0] not in "#|<`":
                found[text[:MOST_CHARS]] = None
    return list(found)


def vectors(cases: Cases, embedder: Embedder) -> tuple[Matrix, Matrix]:
    """Unit rows of the passages and of the questions."""
    return embedder.embed(cases.passages), embedder.embed(cases.questions, query=True)


def ndcg(cases: Cases, passages: Matrix, questions: Matrix) -> float:
    """Mean nDCG@10 of exact search, by the cosines of unit rows."""
    best = np.argsort(-(questions @ passages.T), axis=1, kind="stable")[:, :TOP]
    discounts = 1 / np.log2(np.arange(2, TOP + 2))
    gains = [
        discounts[: len(row)][np.isin(row, list(right))].sum() / discounts[: len(right)].sum()
        for row, right in zip(best, cases.answers, strict=True)
    ]
    return float(np.mean(gains))

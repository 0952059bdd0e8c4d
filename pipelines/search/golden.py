"""Golden questions: which documents answer them, and how well a ranking finds those. Pure but for reading the file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import FixConfiguration

DEPTH = 10


class Golden(NamedTuple):
    """A question and the paths, as the ends of addresses, of the documents that answer it."""

    question: str
    paths: tuple[str, ...]


def read(path: Path) -> list[Golden]:
    """The answerable questions of a file of JSON lines {question, answerable, answers: [{path}]}.

    Raises FixConfiguration when it is missing, not such a file, or holds no answerable question.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        found = [
            Golden(line["question"], tuple(dict.fromkeys(answer["path"] for answer in line["answers"])))
            for line in lines
            if line["answerable"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FixConfiguration(
            f"{path}: no golden questions ({type(error).__name__}: {error}); correct the collection's golden in models.yaml"
        ) from None
    if not found:
        raise FixConfiguration(f"{path}: no answerable question; correct the collection's golden in models.yaml")
    return found


def ndcg(uris: Sequence[str], paths: Sequence[str]) -> float:
    """nDCG@10 of a ranking of documents by address, each counted where it stands first."""
    ranking = list(dict.fromkeys(uris))[:DEPTH]
    gains = [1.0 if any(uri.endswith(f"/{path}") for path in paths) else 0.0 for uri in ranking]
    ideal = sum(1 / math.log2(rank + 2) for rank in range(min(len(paths), DEPTH)))
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains)) / ideal if ideal else 0.0

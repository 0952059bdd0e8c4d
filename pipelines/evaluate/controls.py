"""What keeps a benchmark that was made from the corpus itself honest.

* Documents are split by identity: questions are made from one part, the other is left for training, for ever.
* Near-duplicate documents are one cluster; each of them is a right answer, and they stay on one side of the split.
* A question that fits several documents is dropped, as is one whose words say nothing.
* How many of a question's words the answering passage has is kept with it: where all are, any word search wins.

Pure; words are compared case-folded, without stemming.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from pipelines.records import sha256

SHINGLE = 5  # words
NEAR = 0.8  # share of common shingles from which two documents are one
SKETCH = 64  # smallest shingle hashes kept a document
_WORD = re.compile(r"[^\W_]+")
_BETWEEN = r"[\W_]+"


def words(text: str) -> list[str]:
    """Every word and number, case-folded, in order."""
    return [match.group().casefold() for match in _WORD.finditer(text)]


def key(text: str) -> str:
    """Equal for questions that differ in case, spacing and punctuation only."""
    return " ".join(words(text))


def held_out(cluster: str, share: float) -> bool:
    """Whether questions may be made from this cluster of documents: always the same answer for the same name."""
    return int.from_bytes(sha256("benchmark split", cluster)[:8], "big") / 2**64 < share


def clusters(texts: Mapping[str, str]) -> dict[str, str]:
    """Document -> the first name among its near-duplicates, its own where it has none.

    Documents are candidates when their sketches share a hash, and near when their shingles are (Jaccard >= NEAR).
    """
    shingles = {name: _shingles(text) for name, text in texts.items()}
    by_hash: dict[int, list[str]] = defaultdict(list)
    for name in sorted(shingles):
        for value in sorted(shingles[name])[:SKETCH]:
            by_hash[value].append(name)
    cluster = {name: name for name in texts}
    compared: set[tuple[str, str]] = set()
    for names in by_hash.values():
        first = names[0]
        for other in names[1:]:
            if (first, other) not in compared:
                compared.add((first, other))
                if _jaccard(shingles[first], shingles[other]) >= NEAR:
                    _join(cluster, first, other)
    return {name: _root(cluster, name) for name in texts}


def distinct(questions: Iterable[tuple[str, str]]) -> set[str]:
    """Keys of the questions, given as (text, cluster), that fit one cluster only."""
    fits: dict[str, set[str]] = defaultdict(set)
    for text, cluster in questions:
        fits[key(text)].add(cluster)
    return {name for name, found in fits.items() if name and len(found) == 1}


def overlap(question: str, passage: str) -> float:
    """The share of the question's distinct words that the passage has; 0 for a question without words."""
    asked = set(words(question))
    return len(asked & set(words(passage))) / len(asked) if asked else 0.0


def without(passage: str, phrases: Sequence[str]) -> str:
    """The passage without its title and headings, however they are written."""
    for phrase in phrases:
        parts = [re.escape(word) for word in _WORD.findall(phrase)]
        if parts:
            passage = re.sub(rf"(?<!\w){_BETWEEN.join(parts)}(?!\w)", " ", passage, flags=re.IGNORECASE)
    return " ".join(passage.split())


def rare(texts: Iterable[str]) -> Counter[str]:
    """In how many of the texts each word is."""
    return Counter(word for text in texts for word in set(words(text)))


def _shingles(text: str) -> frozenset[int]:
    found = words(text)
    runs = (" ".join(found[start : start + SHINGLE]) for start in range(max(1, len(found) - SHINGLE + 1)))
    return frozenset(int.from_bytes(sha256(run)[:8], "big") for run in runs)


def _jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / len(one | other) if one or other else 0.0


def _join(cluster: dict[str, str], one: str, other: str) -> None:
    first, second = sorted((_root(cluster, one), _root(cluster, other)))
    cluster[second] = first


def _root(cluster: Mapping[str, str], name: str) -> str:
    while cluster[name] != name:
        name = cluster[name]
    return name

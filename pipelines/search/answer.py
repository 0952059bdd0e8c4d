"""A cited answer made of the corpus's own sentences, or a refusal. Writes nothing of its own and calls no language model.

Each sentence of the hits is scored by what speaks for it (`support`): its cosine to the question, the share of the
question's content words in it (weighted by rarity among the hits), and the same two of its passage. The best sentence, and
up to two more of its document that are nearly as good and say something else, are quoted exactly. Below THRESHOLD nothing
is said.

Calibrated with all-MiniLM-L6-v2 on two public collections that share nothing with the sample corpus: 335 answerable
questions (124 headings of Python Enhancement Proposals that are questions, the heading hidden; 211 of Cranfield), the same
questions without the documents that answer them (near: 436), and against the other collection (off: 436).

    threshold   answered (peps, cranfield)   off refused   near refused (peps, cranfield)
    0.35        99 %  100 %                  98 %          10 %   2 %
    0.40        98 %  100 %                  100 %         16 %   4 %      chosen: the lowest that refuses all of off
    0.50        96 %   96 %                  100 %         42 %  28 %
    0.60        77 %   72 %                  100 %         76 %  67 %

So a question about something else is refused; a question about the corpus's own subjects that it leaves open often is not
(area under the curve 0.84 and 0.76 for near, 1.00 for off): a small model's cosine cannot tell "about it" from an answer.

Does not retrieve (`hybrid.py`). A document's own words are only ever quoted: instructions inside one do nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.ports import Embedder
from pipelines.search.query import Hit, clean_text
from pipelines.search.words import content_words, coverage, rarities, words

Sentences = Callable[[str, str], list[tuple[int, int]]]
Matrix = npt.NDArray[np.float32]

REFUSAL = "The corpus does not answer this."
# What speaks for a sentence, summing to 1.
WEIGHTS = {"cosine": 0.5, "coverage": 0.15, "passage_cosine": 0.25, "passage_coverage": 0.1}
THRESHOLD = 0.40
SLOPE, MIDDLE = 13.0, 0.55  # of the logistic curve that turns support into confidence
MAX_SENTENCES = 3
NEARLY = 0.06  # a further sentence is quoted when its support is this close to the best
SAME = 0.9  # cosine from which two sentences say the same
CONFLICT = 0.6  # cosine from which a superseded and a current sentence are about the same thing
SUPERSEDED_COST = 0.05
MIN_WORDS = 3  # shorter ones are headings, labels and list marks
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a quote stands: `quote` is exactly the cleaned text of the document at [char_start, char_end)."""

    uri: str
    member: str
    title: str
    heading_path: tuple[str, ...]
    char_start: int
    char_end: int
    quote: str
    version: str


@dataclass(frozen=True, slots=True)
class Answer:
    """`text` is the quotes in document order, or the refusal; `confidence` estimates, 0 to 1, that the corpus answers."""

    text: str
    refused: bool
    reason: str  # why it was refused, for a person; "" otherwise
    citations: tuple[Citation, ...]
    confidence: float

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Sentence:
    hit: int
    start: int  # into the passage
    end: int
    text: str


def answer(question: str, hits: Sequence[Hit], embedder: Embedder, sentences: Sentences) -> Answer:
    """The best sentences of the hits with their places, or a refusal.

    `sentences(passage, lang)` gives (start, end) spans; `embedder` is the collection's own. Raises what the embedder raises.
    """
    question = clean_text(question)
    found = [sentence for index, hit in enumerate(hits) for sentence in _split(index, hit, sentences)]
    if not found or not question:
        return Answer(REFUSAL, True, "no passage was found", (), 0.0)
    vectors = embedder.embed([question, *(sentence.text for sentence in found)])
    support = _support(question, hits, found, vectors)
    chosen = _choose(question, hits, found, vectors[1:], support)
    best = float(support[chosen[0]])
    confidence = round(1 / (1 + exp(-SLOPE * (best - MIDDLE))), 3)
    if best < THRESHOLD:
        reason = f"the best sentence has support {best:.2f}, an answer needs {THRESHOLD:.2f}"
        return Answer(REFUSAL, True, reason, (), confidence)
    citations = tuple(_citation(hits[found[index].hit], found[index]) for index in chosen)
    citations = tuple(sorted(citations, key=lambda citation: citation.char_start))
    return Answer(" ".join(citation.quote for citation in citations), False, "", citations, confidence)


def _split(index: int, hit: Hit, sentences: Sentences) -> list[_Sentence]:
    """The sentences of a passage that could be quoted; all of them when none has enough words."""
    spans = sentences(hit.passage, hit.lang)
    every = [_Sentence(index, start, end, hit.passage[start:end]) for start, end in spans if end > start]
    return [sentence for sentence in every if len(words(sentence.text)) >= MIN_WORDS] or every


def _support(question: str, hits: Sequence[Hit], found: Sequence[_Sentence], vectors: Matrix) -> npt.NDArray[np.float64]:
    """(len(found),) what speaks for each sentence, about 0 to 1."""
    vocabularies = [frozenset(words(f"{hit.title} {' '.join(hit.heading_path)} {hit.passage}")) for hit in hits]
    terms = content_words(question)
    rare = rarities(terms, vocabularies)
    plain = dict.fromkeys(terms, 1.0)
    cosines = vectors[1:] @ vectors[0]
    best_of = [
        max((float(cosines[i]) for i, s in enumerate(found) if s.hit == hit), default=0.0) for hit in range(len(hits))
    ]
    passages = [hit.similarity if hit.similarity is not None else best_of[index] for index, hit in enumerate(hits)]
    shares = [coverage(plain, vocabulary) for vocabulary in vocabularies]
    support = np.array(
        [
            WEIGHTS["cosine"] * float(cosine)
            + WEIGHTS["coverage"] * coverage(rare, frozenset(words(sentence.text)))
            + WEIGHTS["passage_cosine"] * passages[sentence.hit]
            + WEIGHTS["passage_coverage"] * shares[sentence.hit]
            for sentence, cosine in zip(found, cosines, strict=True)
        ]
    )
    return _pass_on(found, support)


def _pass_on(found: Sequence[_Sentence], support: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A question in the text answers nothing: what speaks for it speaks for the sentence after it."""
    passed = support.copy()
    for index, sentence in enumerate(found):
        if not sentence.text.rstrip("\"'”’»)* ").endswith("?"):
            continue
        passed[index] = 0.0
        if index + 1 < len(found) and found[index + 1].hit == sentence.hit:
            passed[index + 1] = max(passed[index + 1], support[index])
    return passed


def _choose(
    question: str, hits: Sequence[Hit], found: Sequence[_Sentence], vectors: Matrix, support: npt.NDArray[np.float64]
) -> list[int]:
    """Indexes of the sentences to quote, best first, all of one document."""
    ranked = support - _outdated(question, hits, found, vectors)
    order = np.argsort(-ranked, kind="stable")
    best = int(order[0])
    chosen = [best]
    for index in map(int, order[1:]):
        if len(chosen) == MAX_SENTENCES or ranked[index] < ranked[best] - NEARLY:
            break
        same_document = hits[found[index].hit].doc_id == hits[found[best].hit].doc_id
        if same_document and float(np.max(vectors[chosen] @ vectors[index])) < SAME:
            chosen.append(index)
    return chosen


def _outdated(question: str, hits: Sequence[Hit], found: Sequence[_Sentence], vectors: Matrix) -> npt.NDArray[np.float64]:
    """What sentences of superseded documents lose where a current one is about the same; nothing if a year is asked for."""
    cost = np.zeros(len(found))
    old = np.array([_superseded(hits[sentence.hit]) for sentence in found])
    if old.all() or not old.any() or _YEAR.search(question):
        return cost
    nearest = (vectors[old] @ vectors[~old].T).max(axis=1)
    cost[old] = np.where(nearest >= CONFLICT, SUPERSEDED_COST, 0.0)
    return cost


def _superseded(hit: Hit) -> bool:
    return hit.superseded or _says_superseded(hit.metadata) or "superseded" in hit.title.casefold()


def _says_superseded(metadata: Mapping[str, Any]) -> bool:
    return bool(metadata.get("superseded_by")) or str(metadata.get("status", "")).casefold() in {
        "superseded",
        "obsolete",
        "withdrawn",
    }


def _citation(hit: Hit, sentence: _Sentence) -> Citation:
    start = hit.char_start + sentence.start
    end = hit.char_start + sentence.end
    return Citation(hit.uri, hit.member, hit.title, hit.heading_path, start, end, sentence.text, hit.source_version)

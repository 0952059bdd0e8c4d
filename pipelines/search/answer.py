"""A cited answer made of the corpus's own sentences, or a refusal. Writes nothing of its own and calls no language model.

The sentence quoted is the best by the three cosines of `rerank.py`; labels and headings are passed over, and one that lacks
the kind of thing that is asked for (`expected.py`: an amount, a moment, a length …) yields to one that has it. It answers if
its support reaches THRESHOLD: its score; how much of the question is explained, by the passage's words and, for the words
that it lacks, by their cosine to the evidence; how much the evidence itself says; and whether it has the kind of thing. A
sentence without it is never an answer.

Calibrated with all-MiniLM-L6-v2 and chunks of 80 tokens on questions that are not the golden ones: 49 answerable and 30
unanswerable ones on the sample corpus, and 55 headings of Python Enhancement Proposals that are questions, the heading
hidden; the answerable ones also without the document that answers them (near), the 55 also against the other collection
(off). A wrong answer counts as two refusals, one question in four has no answer, and 95 % of the unanswerable ones must be
refused:

    threshold   right, wrong (sample; peps)   unanswerable answered   near answered (sample; peps)   off answered
    0.75        38, 3;  34, 7                 17 %                    57 %;  44 %                    0 %
    0.80        37, 3;  31, 5                 10 %                    45 %;  31 %                    0 %
    0.83        36, 3;  31, 4                  3 %                    29 %;  25 %                    0 %    least cost
    0.87        31, 3;  29, 4                  3 %                    22 %;  24 %                    0 %
    0.93        25, 3;  28, 1                  0 %                    10 %;  11 %                    0 %

The weights were chosen from a coarse grid on the same questions, so the figures flatter a little; what the kind of thing is
worth was seen on the sample only, the proposals hardly ask for one. The golden questions set no weight here, but one of
them, unanswerable and answered by a record without a percentage, led to the rule that a record must name the unit. A
question about the corpus's own subjects that it leaves open is refused most of the time, and many paraphrased ones that it
answers are too: a small model's cosine cannot tell "about it" from an answer.

Does not retrieve (`hybrid.py`) or score sentences (`rerank.py`). A document's own words are only ever quoted: instructions
inside one do nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import exp
from typing import TYPE_CHECKING, Any

from pipelines.search.expected import satisfies, wanted
from pipelines.search.lengths import fitting
from pipelines.search.query import Hit, clean_text
from pipelines.search.rerank import fused, headed
from pipelines.search.words import content_words, coverage, has, rarities, words

if TYPE_CHECKING:
    from pipelines.ports import Embedder, Tokenizer

REFUSAL = "The corpus does not answer this."
THRESHOLD = 0.83  # of support
EXPLAINED = 0.3  # weight of the question's explained words beside the cosines
SAID = 0.2  # and of those that the sentence itself has, or its heading path
EXPECTED = {True: 0.1, None: 0.0, False: -1.0}  # for the kind of thing that is asked for: there, not known, lacking
UNRELATED, RELATED = 0.1, 0.5  # cosines of the question's remaining words at which they count as nothing and as found
SLOPE = 8.0  # of the logistic curve that turns support into confidence, 0.5 at the threshold
FUSED = 0.2  # the fused score's weight in choosing a sentence
RECORD_COST = 0.02  # a row of a table yields to prose that is as good
SUPERSEDED_COST = 0.05
LACKING = 0.1  # a sentence without the kind of thing that is asked for yields to one that has it
NEARLY = 0.08  # a second sentence is quoted when it is this close to the best and has a word of the question that it lacks
SAME = 0.9  # share of common words from which two sentences say the same
CONFLICT = 0.5  # and from which a superseded and a current one are about the same thing
MIN_WORDS = 5  # shorter ones without a figure are labels
_PERIOD = re.compile(r"\b(?:(?:19|20)\d\d|(?:version|fassung|v)\W{0,2}\d+)\b", re.IGNORECASE)
_RECORD = re.compile(r"^\s*\||(?:[\w ]{1,40}: [^;]*; ){2}")
_ENDS = ".!?…。:;|\"'”’»)*"


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
    hit: Hit
    start: int  # into the passage
    end: int
    score: float  # mean of the three cosines, see rerank.py
    fits: bool | None  # whether it has the kind of thing that the question wants, None where that is not known

    @property
    def text(self) -> str:
        return self.hit.passage[self.start : self.end]


def answer(question: str, hits: Sequence[Hit], embedder: Embedder, tokenizer: Tokenizer) -> Answer:
    """The best sentences of reranked hits with their places, or a refusal.

    Embeds at most two texts, with the collection's own embedder. Raises what it raises.
    """
    question = clean_text(question)
    found = _quotable(question, hits)
    if not found or not question:
        return Answer(REFUSAL, True, "no passage was found", (), 0.0)
    chosen = _choose(question, found)
    support = _support(question, hits, chosen[0], embedder, tokenizer)
    confidence = round(1 / (1 + exp(-SLOPE * (support - THRESHOLD))), 3)
    if support < THRESHOLD:
        return Answer(REFUSAL, True, _reason(question, chosen[0], support), (), confidence)
    citations = tuple(sorted(map(_citation, chosen), key=lambda citation: citation.char_start))
    return Answer(" ".join(citation.quote for citation in citations), False, "", citations, confidence)


def _reason(question: str, best: _Sentence, support: float) -> str:
    if best.fits is False:
        return f"the best sentence does not give {' or '.join(sorted(wanted(question)))}"
    return f"the best sentence has support {support:.2f}, an answer needs {THRESHOLD:.2f}"


def _quotable(question: str, hits: Sequence[Hit]) -> list[_Sentence]:
    """Every sentence that says something; all of them when none does."""
    kinds = wanted(question)
    found: list[_Sentence] = []
    for hit in hits:
        texts = [hit.passage[scored.start : scored.end] for scored in hit.sentences]
        mine = [
            _Sentence(hit, scored.start, scored.end, scored.score, satisfies(kinds, text))
            for scored, text in zip(hit.sentences, texts, strict=True)
        ]
        found += _pass_on(mine)
    return [sentence for sentence in found if not _fragment(sentence.text)] or found


def _pass_on(mine: Sequence[_Sentence]) -> list[_Sentence]:
    """A question in the text answers nothing: what speaks for it speaks for the sentence after it."""
    kept: list[_Sentence] = []
    asked = 0.0
    for sentence in mine:
        if sentence.text.rstrip("\"'”’»)* ").endswith("?"):
            asked = max(asked, sentence.score)
        else:
            kept.append(replace(sentence, score=max(sentence.score, asked)))
            asked = 0.0
    return kept


def _fragment(text: str) -> bool:
    """Labels, signatures and headings: few words without a figure, or a line that is no sentence and says no figure."""
    if any(character.isdigit() for character in text):
        return len(words(text)) < 2
    few = len(words(text)) < MIN_WORDS
    return few or text.isupper() or (text.rstrip()[-1:] not in _ENDS and len(words(text)) < 2 * MIN_WORDS)


def _choose(question: str, found: Sequence[_Sentence]) -> list[_Sentence]:
    """The sentence to quote first and, where it helps, another of its document."""
    period = _PERIOD.search(question)
    current = [sentence for sentence in found if not _superseded(sentence.hit)]
    plain = {id(sentence): _value(sentence) for sentence in found}
    order = sorted(found, key=lambda sentence: -plain[id(sentence)])
    best = order[0]
    if not period and _superseded(best.hit):
        rivals = [other for other in current if _same_matter(best, other)]
        best = next(
            (r for r in sorted(rivals, key=_value, reverse=True) if _value(r) >= _value(best) - SUPERSEDED_COST), best
        )
    second = next((other for other in order if _helps(question, best, other)), None)
    return [best] if second is None else [best, second]


def _value(sentence: _Sentence) -> float:
    """What a sentence is worth beside others as the answer."""
    return _worth(sentence) - (LACKING if sentence.fits is False else 0.0)


def _worth(sentence: _Sentence) -> float:
    """What it is worth whatever is asked for, as the half of a question that asks for two things."""
    record = RECORD_COST if _RECORD.search(sentence.text) else 0.0
    return sentence.score + FUSED * fused(sentence.hit) - record


def _helps(question: str, best: _Sentence, other: _Sentence) -> bool:
    """Whether a sentence of the same document is nearly as good and has a word of the question that the best lacks."""
    if other.hit.doc_id != best.hit.doc_id or _worth(other) < _worth(best) - NEARLY or _common(best, other) >= SAME:
        return False
    missing = [word for word in content_words(question) if not has(word, _said(best))]
    return any(has(word, _said(other)) for word in missing)


def _same_matter(one: _Sentence, other: _Sentence) -> bool:
    return _common(one, other) >= CONFLICT


def _common(one: _Sentence, other: _Sentence) -> float:
    """The share of the shorter sentence's content words that the other has."""
    first, second = set(content_words(one.text)), set(content_words(other.text))
    return len(first & second) / max(1, min(len(first), len(second)))


def _said(sentence: _Sentence) -> frozenset[str]:
    return frozenset(words(sentence.text))


def _support(question: str, hits: Sequence[Hit], best: _Sentence, embedder: Embedder, tokenizer: Tokenizer) -> float:
    """What speaks for the sentence as an answer: its cosines, the question's words in it, the kind of thing it gives."""
    terms = content_words(question)
    weights = rarities(terms, [_vocabulary(hit) for hit in hits])
    covered = coverage(weights, _vocabulary(best.hit))
    evidence = headed(best.hit, best.text)
    said = frozenset(words(evidence))
    remaining = _remaining(question, said)
    explained = 1.0
    if remaining:
        rest = embedder.embed(fitting([remaining], tokenizer), query=True)[0]
        whole = embedder.embed(fitting([evidence], tokenizer))[0]
        related = (float(rest @ whole) - UNRELATED) / (RELATED - UNRELATED)
        explained = covered + (1 - covered) * min(1.0, max(0.0, related))
    return best.score + EXPLAINED * explained + SAID * coverage(weights, said) + EXPECTED[best.fits]


def _vocabulary(hit: Hit) -> frozenset[str]:
    return frozenset(words(f"{hit.title} {' '.join(hit.heading_path)} {hit.passage}"))


def _remaining(question: str, said: frozenset[str]) -> str:
    """The question without the content words that the evidence has; "" when none is missing."""
    found = {word for word in content_words(question) if has(word, said)}
    if len(found) == len(content_words(question)):
        return ""
    return " ".join(part for part in question.split() if not found.intersection(words(part)))


def _superseded(hit: Hit) -> bool:
    return hit.superseded or _says_superseded(hit.metadata) or "superseded" in hit.title.casefold()


def _says_superseded(metadata: Mapping[str, Any]) -> bool:
    return bool(metadata.get("superseded_by")) or str(metadata.get("status", "")).casefold() in {
        "superseded",
        "obsolete",
        "withdrawn",
    }


def _citation(sentence: _Sentence) -> Citation:
    hit = sentence.hit
    start, end = hit.char_start + sentence.start, hit.char_start + sentence.end
    return Citation(hit.uri, hit.member, hit.title, hit.heading_path, start, end, sentence.text, hit.source_version)

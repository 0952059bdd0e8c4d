"""Order passages by what their sentences say, and keep the sentences' scores for the answer.

A passage is about several things and its vector is their mean; a question asks for one. So a passage is scored by the mean
of three cosines to the question: its own, that of its best sentence, and that of its best sentence after the heading path,
which says what "it" is. A part of the fused score stays in (FUSED) for questions that repeat a document's
words. Measured on the sample's 35 answerable golden questions, documents, 30 passages, chunks of 80 tokens:

    weight of the fused score     fusion alone   0      0.1    0.2    0.3    0.5    0.8
    nDCG@10                       0.816          0.818  0.816  0.842  0.831  0.854  0.846
    recall@5                      0.900          0.929  0.957  0.957  0.929  0.929  0.929

On Cranfield's abstracts, where the words decide, reranking by sentences costs three points of nDCG@10. The work is bounded
by PASSAGES and SENTENCES, all of it one call of the embedder. Does not retrieve (`hybrid.py`) and does not answer
(`answer.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipelines.search.fusion import MOST
from pipelines.search.lengths import fitting
from pipelines.search.query import Hit, Sentence

if TYPE_CHECKING:
    from pipelines.ports import Embedder, Reranker, Tokenizer

Vector = npt.NDArray[np.float32]
Spans = Callable[[str, str], list[tuple[int, int]]]

PASSAGES = 30  # the best of the fusion; later ones keep their place behind them
SENTENCES = 300  # of all those passages together, best passages first
OF_PASSAGE = 24
FUSED = 0.2  # weight of the fused score, on a scale of 0 to 1, beside the mean of the cosines


def rerank(hits: Sequence[Hit], vector: Vector, embedder: Embedder, tokenizer: Tokenizer, spans: Spans) -> list[Hit]:
    """The hits, best first, the leading ones with their `sentences` scored; equal scores keep the order they came in.

    `vector` is the question's (dim,) unit float32, `spans(passage, lang)` gives (start, end) of sentences. Raises what the
    embedder raises.
    """
    head = _split(hits[:PASSAGES], spans)
    texts = [text for hit in head for sentence in hit.sentences for text in _texts(hit, sentence)]
    cosines = _cosines(texts, vector, embedder, tokenizer)
    scored = [_scored(hit, cosines) for hit in head]
    keys = [_mean(hit, cosines) + FUSED * fused(hit) for hit in scored]
    order = sorted(range(len(scored)), key=lambda index: -keys[index])
    return [replace(scored[index], reranked=keys[index]) for index in order] + list(hits[PASSAGES:])


def by_pairs(hits: Sequence[Hit], question: str, reranker: Reranker) -> list[Hit]:
    """The leading hits in the order of a cross-encoder's scores of question and passage; equal scores keep their order.

    Their sentences stay as they were scored. Raises what the reranker raises.
    """
    head = hits[:PASSAGES]
    scores = reranker.score(question, [headed(hit, hit.passage) for hit in head])
    order = sorted(range(len(head)), key=lambda index: -scores[index])
    return [replace(head[index], reranked=float(scores[index])) for index in order] + list(hits[PASSAGES:])


def fused(hit: Hit) -> float:
    """The fused score on a scale of 0 to 1."""
    return max(0.0, min(1.0, hit.score / MOST))


def headed(hit: Hit, text: str) -> str:
    """A sentence of the hit after its heading path, as chunks have it."""
    path = [part for part in dict.fromkeys((hit.title, *hit.heading_path)) if part]
    return f"{' > '.join(path)}: {text}" if path else text


def _split(hits: Sequence[Hit], spans: Spans) -> list[Hit]:
    """The hits with their sentences, unscored, as far as the bound on all goes."""
    left = SENTENCES
    split = []
    for hit in hits:
        found = [(start, end) for start, end in spans(hit.passage, hit.lang) if end > start]
        sentences = tuple(Sentence(start, end, 0.0) for start, end in found[: min(OF_PASSAGE, left)])
        left -= len(sentences)
        split.append(replace(hit, sentences=sentences))
    return split


def _texts(hit: Hit, sentence: Sentence) -> tuple[str, str]:
    """The sentence alone, and after its heading path."""
    text = hit.passage[sentence.start : sentence.end]
    return text, headed(hit, text)


def _cosines(texts: Sequence[str], vector: Vector, embedder: Embedder, tokenizer: Tokenizer) -> dict[str, float]:
    """The cosine of each text to the question; every distinct text is embedded once."""
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return {}
    values = embedder.embed(fitting(distinct, tokenizer)) @ vector
    return dict(zip(distinct, map(float, values), strict=True))


def _scored(hit: Hit, cosines: dict[str, float]) -> Hit:
    pairs = [tuple(cosines[text] for text in _texts(hit, sentence)) for sentence in hit.sentences]
    own = hit.similarity if hit.similarity is not None else max((alone for alone, _ in pairs), default=0.0)
    sentences = tuple(
        replace(sentence, score=(own + alone + below) / 3)
        for sentence, (alone, below) in zip(hit.sentences, pairs, strict=True)
    )
    return replace(hit, sentences=sentences)


def _mean(hit: Hit, cosines: dict[str, float]) -> float:
    """The passage's own score: the best of each kind, which need not be the same sentence."""
    pairs = [_texts(hit, sentence) for sentence in hit.sentences]
    alone = max((cosines[text] for text, _ in pairs), default=0.0)
    below = max((cosines[text] for _, text in pairs), default=0.0)
    return ((hit.similarity if hit.similarity is not None else alone) + alone + below) / 3

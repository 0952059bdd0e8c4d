"""Quotes are exact, chosen well, and withheld when nothing supports them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.embed.hashing import WordTokenizer
from pipelines.search.answer import REFUSAL, answer
from pipelines.search.query import Hit
from pipelines.search.rerank import rerank
from pipelines.search.words import words


class Bag:
    """An embedder that knows words only: cosine is their overlap."""

    fingerprint = model = revision = "bag"
    at_once = 1
    dtype = "hash"
    dim, max_tokens = 512, 256

    def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
        rows = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in words(text):
                row[sum(ord(character) * 31**place for place, character in enumerate(word)) % self.dim] += 1
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
        return rows


def sentences(text: str, lang: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\S[^.?\n]*[.?]?", text)]


def hit(uri: str, passage: str, start: int = 0, **fields: Any) -> Hit:
    values: dict[str, Any] = {
        "doc_id": uri.encode().ljust(32), "ordinal": 0, "source": "s", "uri": uri, "member": "", "title": "",
        "heading_path": (),
        "char_start": start, "char_end": start + len(passage), "passage": passage, "lang": "en", "media_type": "text/plain",
        "source_version": "v7", "modified": None, "metadata": {}, "superseded": False, "score": 0.01, "similarity": None,
        "dense_rank": 1, "text_rank": 1,
    }  # fmt: skip
    return Hit(**{**values, **fields})


def ask(question: str, *hits: Hit) -> Any:
    embedder, tokenizer = Bag(), WordTokenizer()
    vector = embedder.embed([question])[0]
    return answer(question, rerank(hits, vector, embedder, tokenizer, sentences), embedder, tokenizer)


@pytest.mark.parametrize("start", [0, 3, 5000])
def test_the_quote_is_exactly_the_text_at_its_offsets(start: int) -> None:
    passage = "Ümlaut 🚢 before it all. The tow rope is replaced every two years. Nothing else here."
    document = "x" * start + passage
    result = ask("how often is the tow rope replaced", hit("other", "Cats sleep a lot."), hit("ropes", passage, start))
    (citation, *_) = result.citations
    assert not result.refused
    assert citation.quote == "The tow rope is replaced every two years."
    assert document[citation.char_start : citation.char_end] == citation.quote
    assert (citation.uri, citation.version) == ("ropes", "v7")
    assert citation.quote in result.text


def test_an_unrelated_corpus_is_refused() -> None:
    result = ask(
        "is the tow rope ever replaced",
        hit("a", "Cats sleep a lot. Dogs bark at night."),
        hit("b", "Rain falls mainly there."),
    )
    assert (result.refused, result.text, result.citations) == (True, REFUSAL, ())
    assert "support" in result.reason
    supported = ask("is the tow rope ever replaced", hit("a", "The tow rope is replaced often."))
    assert result.confidence < supported.confidence


@pytest.mark.parametrize("hits", [(), (hit("a", ""),)])
def test_nothing_found_is_refused(hits: tuple[Hit, ...]) -> None:
    assert ask("anything", *hits).reason == "no passage was found"


def test_a_question_in_the_text_is_answered_by_what_follows_it() -> None:
    result = ask(
        "how often is the tow rope replaced",
        hit("faq", "How often is the tow rope replaced? Every two years in May. Cats sleep a lot."),
    )
    assert result.citations[0].quote == "Every two years in May."


def test_the_current_document_wins_a_conflict_and_a_year_asks_for_the_old_one() -> None:
    old = hit("old", "A hotel night is paid up to 95 euro.", superseded=True)
    new = hit("new", "A hotel night is paid now up to 128 euro.")
    assert ask("how much is paid for a hotel night", old, new).citations[0].uri == "new"
    assert ask("how much is paid up for a hotel night in 2024", old, new).citations[0].uri == "old"


def test_a_superseded_document_without_a_rival_still_answers() -> None:
    old = hit("old", "A hotel night is paid up to 95 euro.", metadata={"status": "superseded"})
    assert ask("how much is paid for a hotel night", old, hit("b", "Cats sleep a lot.")).citations[0].uri == "old"


def test_one_document_is_quoted_without_repetition() -> None:
    same = "The tow rope is replaced yearly."
    result = ask(
        "when is the tow rope replaced", hit("a", f"{same} {same} The tow rope is replaced by two crew."), hit("b", same)
    )
    quotes = [citation.quote for citation in result.citations]
    assert len(quotes) == len(set(quotes)) <= 3
    assert {citation.uri for citation in result.citations} == {"a"}


def test_an_entity_alone_is_no_answer() -> None:
    row = hit("fleet", "vessel: Kingfisher; kind: motor barge; built: 2011; remarks: financed by a bank loan until 2029.")
    assert ask("what interest rate is charged on a loan of Kingfisher by another lender", row).refused
    assert not ask("when was the vessel Kingfisher built", row).refused


def test_labels_are_never_quoted_beside_sentences() -> None:
    result = ask("tow rope", hit("a", "Tow rope\nThe tow rope is replaced every two years."))
    assert [citation.quote for citation in result.citations] == ["The tow rope is replaced every two years."]


def test_prose_is_preferred_to_a_row_that_says_the_same() -> None:
    row = hit("row", "| tow rope | replaced | every 24 months |")
    prose = hit("prose", "tow rope replaced every 24 months.")
    for hits in ((row, prose), (prose, row)):
        assert ask("tow rope replaced every how many months", *hits).citations[0].uri == "prose"


def test_a_second_sentence_must_add_a_word_of_the_question() -> None:
    passage = "The tow rope is replaced in May. The tow rope is stored in the shed. The tow rope is never thrown away."
    quotes = [c.quote for c in ask("when is the tow rope replaced and where is it stored", hit("a", passage)).citations]
    assert quotes == ["The tow rope is replaced in May.", "The tow rope is stored in the shed."]


@pytest.mark.parametrize(
    ("question", "about", "answers"),
    [
        (
            "how much is the fee for mooring",
            "The fee for mooring is set by the harbour.",
            "The fee for mooring is 30 euros.",
        ),
        ("how long is the tow rope kept dry", "The tow rope is always kept dry.", "The tow rope is kept dry three weeks."),
        ("wann wird die Leine getauscht", "Die Leine wird vom Maat getauscht.", "Die Leine wird im Oktober getauscht."),
    ],
)
def test_a_sentence_with_what_is_asked_for_wins_and_one_without_it_is_no_answer(
    question: str, about: str, answers: str
) -> None:
    both = ask(question, hit("about", about), hit("answers", answers))
    assert both.citations[0].quote == answers
    alone = ask(question, hit("about", about))
    assert alone.refused
    assert "does not give" in alone.reason
    assert alone.confidence < 0.1


def test_what_is_asked_for_does_not_outweigh_another_subject() -> None:
    subject = hit("ferry", "The winter fee of the ferry at Ely is unknown.")
    other = hit("cats", "Cats cost 30 euros.")
    assert ask("how much is the winter fee of the ferry at Ely", subject, other).refused

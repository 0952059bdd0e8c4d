"""Ask questions of a benchmark and check the answers: cited, supported, and refused where the corpus is silent.

Each answerable question is asked twice, the second time without the documents that answer it: what remains must be refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipelines.evaluate import answers, sets
from pipelines.evaluate.answers import Checked, Given
from pipelines.records import Question
from pipelines.search import answer, hybrid
from pipelines.search.rerank import PASSAGES
from pipelines.stages import search
from pipelines.text.sentences import spans

if TYPE_CHECKING:
    from pipelines.context import Context

Judge = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Answers:
    """Shares are None where nothing was asked; `judge` says what the judging model was, or that none is configured."""

    asked: int
    supported: float | None  # of the given answers: every sentence in a cited passage, every quote in its place
    right: float | None  # of the given answers to answerable questions: cite a judged document
    refused_unanswerable: float | None
    refused_answerable: float | None
    refused_without_document: float | None  # of the answerable questions, with their documents taken away
    judge: str
    judged: int = 0
    judged_supported: float | None = None
    unreadable: int = 0
    examples: tuple[str, ...] = ()  # what was not supported, for a person

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def run(ctx: Context, collection: str, questions: Sequence[Question], judge: Judge | None, name: str) -> Answers:
    """Ask and check. Raises what search, the embedder and the judge raise."""
    checked, near = [], []
    for question in questions:
        relevant = [document for document, relevance in question.relevant if relevance > 0]
        found = search.found(ctx, hybrid.Query(text=question.text, collection=collection, k=PASSAGES))
        assert found.reading is not None  # the mode is hybrid
        given = _given(question.text, found.hits, found.reading)
        verdict = answers.check(given, relevant)
        if judge is not None and not given.refused:
            said, opinion = answers.judge(given, judge)
            verdict = _with_opinion(verdict, said, opinion)
        checked.append(verdict)
        if relevant:
            others = [hit for hit in found.hits if not _of(hit, relevant)]
            near.append(_given(question.text, others, found.reading).refused)
    return summary(checked, near, name if judge is not None else "")


def summary(checked: Sequence[Checked], near: Sequence[bool], judge: str) -> Answers:
    """Shares over the checked answers; `judge` is "" when none is configured."""
    given = [entry for entry in checked if entry.outcome != "refused"]
    asked = [entry for entry in given if entry.opinion or entry.judged is not None]
    judged = [entry for entry in asked if entry.judged is not None]
    return Answers(
        asked=len(checked),
        supported=_share([entry.outcome == "supported" for entry in given]),
        right=_share([bool(entry.right) for entry in given if entry.expected]),
        refused_unanswerable=_share([entry.outcome == "refused" for entry in checked if not entry.expected]),
        refused_answerable=_share([entry.outcome == "refused" for entry in checked if entry.expected]),
        refused_without_document=_share(near),
        judge=judge or "not run: no judge in include/config/evaluation.yaml",
        judged=len(judged),
        judged_supported=_share([bool(entry.judged) for entry in judged]),
        unreadable=len(asked) - len(judged),
        examples=tuple(
            f"{entry.question}: {' '.join(entry.unsupported) or entry.opinion}" for entry in given if _bad(entry)
        )[:5],
    )


def _given(question: str, hits: Sequence[hybrid.Hit], read: search.Reading) -> Given:
    said = answer.answer(question, hits, read.embedder, read.tokenizer)
    if said.refused:
        return Given(question, said.text, True, (), (), ())
    cited = [hit for hit in hits if any(_cites(citation, hit) for citation in said.citations)]
    sentences = tuple(said.text[start:end] for start, end in spans(said.text, cited[0].lang if cited else ""))
    return Given(
        question,
        said.text,
        False,
        sentences,
        tuple(hit.passage for hit in cited),
        tuple(dict.fromkeys(name for hit in cited for name in _names(hit))),
        all(any(_stands(citation, hit) for hit in cited) for citation in said.citations),
    )


def _cites(citation: answer.Citation, hit: hybrid.Hit) -> bool:
    return (citation.uri, citation.member) == (hit.uri, hit.member) and (
        hit.char_start <= citation.char_start and citation.char_end <= hit.char_end
    )


def _stands(citation: answer.Citation, hit: hybrid.Hit) -> bool:
    start, end = citation.char_start - hit.char_start, citation.char_end - hit.char_start
    return _cites(citation, hit) and hit.passage[start:end] == citation.quote


def _names(hit: hybrid.Hit) -> list[str]:
    return [sets.address(hit.uri, hit.member), *(sets.address(place.uri, place.member) for place in hit.also)]


def _of(hit: hybrid.Hit, documents: Sequence[str]) -> bool:
    return any(name in documents for name in _names(hit))


def _with_opinion(checked: Checked, judged: bool | None, opinion: str) -> Checked:
    return Checked(
        checked.question,
        checked.outcome,
        checked.expected,
        checked.right,
        checked.unsupported,
        judged,
        opinion or "no reason",
    )


def _bad(entry: Checked) -> bool:
    return entry.outcome == "unsupported" or entry.judged is False


def _share(values: Sequence[bool]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None

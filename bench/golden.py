"""Forty golden questions on the sample corpus: is the right document found, cited, or honestly refused?

The sample is synced through the command line into a database of the bench's own. recall@5 and nDCG@10 judge documents on the
answerable questions; an answer is right when it cites a document that answers, a refusal when nothing does. The seed
orders the questions.
"""

from __future__ import annotations

import json
import math
import random
from typing import Any

from bench.harness import Limit, Options, Result
from bench.rig import ROOT, Rig
from pipelines import config
from pipelines.connections import LocalConnections
from pipelines.context import open_context
from pipelines.search.answer import Answer
from pipelines.search.hybrid import Hit, Query
from pipelines.stages import ask, search

SAMPLE = ROOT / "include/sample"
ASKED = (
    "answers_cite_right_document",
    "given_answers_cite_right_document",
    "answers_quote_the_passage",
    "refused_answerable",
)


def run(options: Options) -> Result:
    """Judge every question; `--quick` searches for all and asks only those that must be refused."""
    questions = [json.loads(line) for line in (SAMPLE / "golden.jsonl").read_text(encoding="utf-8").splitlines() if line]
    random.Random(options.seed).shuffle(questions)
    source = {"kind": "folder", "path": str(SAMPLE / "knowledge"), "exclude": ["drafts/*"]}
    with Rig({"sample": source}) as rig:
        loaded = rig.millrace("sync", "sample").value
        judged = _judge_all(rig, questions, ask_all=not options.quick)
    answerable = [entry for entry in judged if entry["answerable"]]
    unanswerable = [entry for entry in judged if not entry["answerable"]]
    blind = [entry for entry in answerable if entry["no_title_overlap"]]
    figures = {
        "questions": len(judged),
        "no_title_overlap": len(blind),
        "documents": loaded["counts"]["loaded"],
        "unanswerable": len(unanswerable),
        "recall_at_5": _mean(entry["recall"] for entry in answerable),
        "recall_at_5_no_title_overlap": _mean(entry["recall"] for entry in blind),
        "ndcg_at_10": _mean(entry["ndcg"] for entry in answerable),
        "answers_cite_right_document": _mean(entry["cited"] for entry in answerable),
        "given_answers_cite_right_document": _mean(entry["cited"] for entry in answerable if not entry["refused"]),
        "answers_quote_the_passage": _mean(entry["quoted"] for entry in answerable),
        "refused_unanswerable": sum(entry["refused"] for entry in unanswerable),
        "refused_answerable": sum(entry["refused"] for entry in answerable),
    }
    if options.quick:
        figures = {name: value for name, value in figures.items() if name not in ASKED}
    return Result(
        "golden",
        figures,
        floors=(
            Limit("questions", at_least=40),
            Limit("no_title_overlap", at_least=15),
            Limit("unanswerable", at_least=5),
            Limit("recall_at_5", at_least=0.95),
            Limit("refused_unanswerable", at_least=5),
        ),
        goals=(
            Limit("answers_cite_right_document", at_least=1.0),
            Limit("given_answers_cite_right_document", at_least=1.0),
            Limit("refused_answerable", at_most=0),
        ),
        left_out=ASKED if options.quick else (),
        rows=[
            ("question", "outcome"),
            *((entry["question"][:90], entry["outcome"]) for entry in judged if entry["outcome"]),
        ],
        notes=("listed above: every question that was not found in the top five, not cited, or refused",),
    )


UNASKED = Answer(text="", refused=False, reason="", citations=(), confidence=0.0)


def _judge_all(rig: Rig, questions: list[dict[str, Any]], *, ask_all: bool) -> list[dict[str, Any]]:
    """One open context for all questions, so that the model is loaded once."""
    settings = config.load(rig.folder).model_copy(update={"home": rig.home})
    judged = []
    with open_context(settings, LocalConnections(settings)) as ctx:
        for question in questions:
            query = Query(text=question["question"], collection="knowledge", k=30)
            answer = ask.run(ctx, question["question"]) if ask_all or not question["answerable"] else UNASKED
            judged.append(_judge(search.run(ctx, query), answer, question))
    return judged


def _judge(hits: list[Hit], answer: Answer, question: dict[str, Any]) -> dict[str, Any]:
    right = {(SAMPLE / entry["path"]).as_uri() for entry in question["answers"]}
    ranking = list(dict.fromkeys(hit.uri for hit in hits))
    gains = [1.0 if uri in right else 0.0 for uri in ranking[:10]]
    ideal = sum(1 / math.log2(rank + 2) for rank in range(min(len(right), 10))) or 1.0
    cited = {citation.uri for citation in answer.citations}
    quotes = " ".join(" ".join(citation.quote.split()) for citation in answer.citations)
    passages = [" ".join(entry["passage"].split()) for entry in question["answers"]]
    entry = {
        "question": question["question"],
        "answerable": question["answerable"],
        "no_title_overlap": question["no_title_overlap"],
        "recall": float(bool(right & set(ranking[:5]))),
        "ndcg": sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains)) / ideal,
        "cited": float(bool(cited & right)),
        "quoted": float(any(_overlap(passage, quotes) for passage in passages)),
        "refused": answer.refused,
        "asked": answer is not UNASKED,
    }
    return {**entry, "outcome": _outcome(entry)}


def _outcome(entry: dict[str, Any]) -> str:
    if not entry["answerable"]:
        return "" if entry["refused"] else "answered without support"
    if entry["refused"]:
        return "refused" + ("" if entry["recall"] else ", not in the top five")
    if not entry["recall"]:
        return "not in the top five"
    return "" if entry["cited"] or not entry["asked"] else "cites another document"


def _overlap(passage: str, quotes: str) -> bool:
    """Whether the quote holds most words of the passage: sentence cuts may differ at the edges."""
    words = passage.lower().split()
    said = set(quotes.lower().split())
    return sum(word in said for word in words) >= 0.8 * len(words)


def _mean(values: Any) -> float:
    known = list(values)
    return round(sum(known) / len(known), 4) if known else 0.0

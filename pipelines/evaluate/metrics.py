"""How well rankings find what is relevant: trec_eval's figures through ir-measures, one value a question.

Conventions, all trec_eval's: nDCG has linear gains and the discount log2(rank + 1); equal scores are ordered by document,
the greater name first; a question that is judged and has no ranking counts 0; questions without judgments are not scored.
Only ir-measures' `pytrec_eval` provider is used: left to itself it takes RR@k and Judged@k from providers that break ties
the other way and divide by zero on an empty ranking, so those two are cut here and then asked without a cutoff.

Reads no files (`beir.py`) and compares nothing (`significance.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import ir_measures

from pipelines.errors import FixConfiguration

Qrels = Mapping[str, Mapping[str, int]]  # question -> document -> relevance; 0 is judged and not relevant
Run = Mapping[str, Mapping[str, float]]  # question -> document -> score
Scores = dict[str, dict[str, float]]  # measure -> question -> value
FAMILIES = ("nDCG", "R", "P", "AP", "RR", "Judged")


def ranked(documents: Sequence[str]) -> dict[str, float]:
    """A ranking as a run's entry: scores that put the documents in exactly this order, each where it stands first."""
    distinct = list(dict.fromkeys(documents))
    return {document: float(len(distinct) - place) for place, document in enumerate(distinct)}


def score(qrels: Qrels, run: Run, measures: Sequence[str]) -> Scores:
    """The value of each measure for every judged question, 0 to 1.

    Raises FixConfiguration for an unknown measure and ValueError, naming the place, for a score that is no finite number.
    """
    parsed = {name: parse(name) for name in measures}
    _require_finite(run)
    # Negative grades are "not relevant" to trec_eval; a question with nothing else makes pytrec_eval loop for ever.
    judged = {question: {name: max(0, grade) for name, grade in found.items()} for question, found in qrels.items() if found}
    found = {question: dict(run.get(question, {})) for question in judged}
    scores: Scores = {name: dict.fromkeys(judged, 0.0) for name in measures}
    if not judged:
        return scores
    asked = {measure: name for name, measure in parsed.items() if not _cut_here(measure)}
    for metric in ir_measures.pytrec_eval.iter_calc(list(asked), judged, found) if asked else ():
        scores[asked[metric.measure]][metric.query_id] = float(metric.value)
    for name, measure in parsed.items():
        if _cut_here(measure):
            scores[name].update(_cut(measure, judged, found))
    return scores


@cache
def parse(name: str) -> Any:
    """A measure by its ir-measures name, such as nDCG@10. Raises FixConfiguration for one that is not supported."""
    try:
        measure = ir_measures.parse_measure(name)
    except (ValueError, NameError, KeyError):
        measure = None
    if measure is None or measure.NAME not in FAMILIES or (measure.NAME in {"R", "P", "Judged"} and "@" not in name):
        known = "nDCG@10, R@100, P@5, RR@10, AP, Judged@10"
        raise FixConfiguration(f"include/config/evaluation.yaml: unknown measure {name!r}; use such as {known}")
    return measure


def ordered(documents: Mapping[str, float]) -> list[str]:
    """Best first as trec_eval has it: by score, equal ones by name, the greater first."""
    return sorted(documents, key=lambda document: (documents[document], document), reverse=True)


def _require_finite(run: Run) -> None:
    for question, documents in run.items():
        for document, value in documents.items():
            if not math.isfinite(value):
                raise ValueError(f"question {question!r}: document {document!r} has the score {value}, not a finite number")


def _cut_here(measure: Any) -> bool:
    return measure.NAME == "Judged" or (measure.NAME == "RR" and "cutoff" in measure.params)


def _cut(measure: Any, qrels: Qrels, run: Run) -> dict[str, float]:
    tops = {question: ordered(documents)[: measure["cutoff"]] for question, documents in run.items()}
    if measure.NAME == "Judged":
        return {question: _share(top, qrels[question]) for question, top in tops.items()}
    cut = {question: {document: run[question][document] for document in top} for question, top in tops.items()}
    whole = ir_measures.RR(rel=measure["rel"])
    return {metric.query_id: float(metric.value) for metric in ir_measures.pytrec_eval.iter_calc([whole], qrels, cut)}


def _share(documents: Sequence[str], judged: Mapping[str, int]) -> float:
    return sum(document in judged for document in documents) / len(documents) if documents else 0.0

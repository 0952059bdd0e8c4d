"""Our retrieval figures beside pytrec_eval's own, on fuzzed judgments and rankings.

Judgments are written to a file and read by the product's importer, rankings go through `pipelines.evaluate.metrics`; the
reference is pytrec_eval called directly on the original dictionaries. The cases hold what goes wrong in practice: equal
scores, empty rankings, questions without ranking or judgment, judged documents that are never found, grades from -1 to 3,
odd names, tiny and huge scores. RR@10 has no trec_eval name: the reference is its recip_rank when that is at least 1/10.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import pytrec_eval

from bench.harness import Limit, Options, Result
from pipelines.evaluate import beir, metrics

NAMES = {
    "nDCG@10": "ndcg_cut_10",
    "nDCG@100": "ndcg_cut_100",
    "nDCG": "ndcg",
    "R@10": "recall_10",
    "R@100": "recall_100",
    "P@5": "P_5",
    "AP": "map",
    "RR": "recip_rank",
    "RR@10": "recip_rank",
}
Qrels = dict[str, dict[str, int]]
Run = dict[str, dict[str, float]]


def run(options: Options) -> Result:
    """10,000 cases; `--quick` 2,000."""
    cases = 2_000 if options.quick else 10_000
    random = Random(options.seed)
    worst, compared, ties, empties = 0.0, 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(cases):
            qrels, found = _case(random)
            if number % 5 == 0:  # as the search stage makes runs: from an order
                found = {question: metrics.ranked(metrics.ordered(documents)) for question, documents in found.items()}
            read = beir.read_qrels(_written(Path(folder) / "qrels.tsv", qrels))
            ours = metrics.score(read, found, list(NAMES))
            reference = _reference(qrels, found)
            ties += any(len(set(documents.values())) < len(documents) for documents in found.values())
            empties += any(not found.get(question) for question in qrels)
            for name in NAMES:
                if ours[name].keys() != reference[name].keys():
                    worst = max(worst, 1.0)
                for question, value in reference[name].items():
                    worst = max(worst, abs(value - ours[name].get(question, 2.0)))
                    compared += 1
    figures = {
        "cases": cases,
        "cases_with_ties": ties,
        "cases_with_empties": empties,
        "values_compared": compared,
        "largest_difference": worst,
    }
    floors = (
        Limit("largest_difference", at_most=1e-9),
        Limit("cases", at_least=cases),
        Limit("cases_with_ties", at_least=cases // 4),
        Limit("cases_with_empties", at_least=cases // 4),
        Limit("values_compared", at_least=cases),
    )
    return Result("metrics", figures, floors=floors)


def _case(random: Random) -> tuple[Qrels, Run]:
    documents = [_name(random, number) for number in range(random.randint(1, 40))]
    questions = [f"q{number}" for number in range(random.randint(1, 5))]
    qrels = {
        question: {
            document: random.choice([-1, 0, 0, 1, 1, 2, 3])
            for document in random.sample(documents, random.randint(1, len(documents)))
        }
        for question in questions
    }
    for judged in qrels.values():
        if max(judged.values()) < 0:  # pytrec_eval itself loops for ever on a question with negative grades only
            judged[next(iter(judged))] = 0
    scale = random.choice([1e-6, 1.0, 1.0, 1e5])
    found: Run = {}
    for question in [*questions, "unjudged"]:
        if random.random() < 0.2:
            continue
        kept = random.sample(documents, random.randint(0, len(documents)))
        levels = random.choice([1, 3, 1000])  # few levels are many ties
        found[question] = {document: scale * random.randint(-levels, levels) for document in kept}
    return qrels, found


def _name(random: Random, number: int) -> str:
    return random.choice([f"{number}", f"file:///a/{number}.md", f"ü {number}", f"S3://B/{number}", f"d{number:03d}#x/y"])


def _written(path: Path, qrels: Qrels) -> Path:
    rows = [f"{question}\t{name}\t{grade}" for question, judged in qrels.items() for name, grade in judged.items()]
    path.write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n", encoding="utf-8")
    return path


def _reference(qrels: Qrels, found: Run) -> dict[str, dict[str, float]]:
    """pytrec_eval's values; a judged question without a ranking counts 0, which it leaves out."""
    names = {"ndcg_cut.10,100", "ndcg", "recall.10,100", "P.5", "map", "recip_rank"}
    values = pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(found)
    reference = {
        name: {question: float(values.get(question, {}).get(theirs, 0.0)) for question in qrels}
        for name, theirs in NAMES.items()
    }
    reference["RR@10"] = {question: value if value >= 0.1 - 1e-9 else 0.0 for question, value in reference["RR@10"].items()}
    return reference

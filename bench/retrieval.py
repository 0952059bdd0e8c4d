"""How good search is on judged questions, what filters cost it, and how fast full text is at a million chunks.

`python -m bench retrieval [DIR]`: DIR is a BEIR folder (`bench/ranking/judged.py`); without it the sample's golden questions
are asked. `--reranker DIR` reranks with that cross-encoder instead of by sentences. Documents go through the ordinary sync;
a passage is as long as the model reads, so that an abstract is one passage. nDCG@10 and recall@100 are of documents, by
their best passages. The floors of single systems are those of Cranfield (folder `cranfield`) with the packaged model; on
every set hybrid search must be as good as the better of its two legs.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from bench.harness import Limit, Options, Result
from bench.loads.server import Server
from bench.ranking import filtered, judged, words

QUICK_QUESTIONS, QUICK_DOCUMENTS = 60, 500
CHUNKS = 1_000_000  # of the words part
CRANFIELD = (
    Limit("dense_ndcg_at_10", at_least=0.50),
    Limit("text_ndcg_at_10", at_least=0.52),
    Limit("hybrid_ndcg_at_10", at_least=0.56),
)
CRANFIELD_GOALS = (Limit("text_ndcg_at_10", at_least=0.53), Limit("hybrid_ndcg_at_10", at_least=0.575))
FILTERED = (
    Limit("filtered_recall_1_percent", at_least=0.95),
    Limit("filtered_recall_10_percent", at_least=0.95),
    Limit("filtered_short_1_percent", at_most=0),
    Limit("filtered_short_10_percent", at_most=0),
)
RERANKED = ("reranked_ndcg_at_10", "reranked_recall_at_100")
TIMED = ("filtered_p95_ms_1_percent", "exact_p95_ms_1_percent", "text_p95_ms", "ts_rank_p95_ms")


def run(options: Options) -> Result:
    """Measure; `--quick` asks some questions of some documents and leaves reranking, filters and the million chunks out."""
    part = judged.beir(options.corpus) if options.corpus else judged.golden()
    if options.quick:
        part = _some(part, options.seed)
    with judged.lab(part, options.reranker) as place:
        means, counts = judged.measured(place, part, reranked=not options.quick)
    figures: dict[str, Any] = {
        "documents": len(part.documents),
        "documents_loaded": counts["loaded"],
        "questions": len(part.questions),
        "questions_without_judgment": part.skipped,
        **{f"{system}_{_name(measure)}": round(value, 4) for system, of in means.items() for measure, value in of.items()},
    }
    legs = [means[leg]["nDCG@10"] for leg in ("dense", "text")]
    figures["hybrid_below_best_leg"] = round(max(0.0, max(legs) - means["hybrid"]["nDCG@10"]), 4)
    if not options.quick:
        figures |= _beyond(options.seed)
    cranfield = options.corpus is not None and options.corpus.resolve().name == "cranfield"
    unjudged = tuple(floor.figure for floor in CRANFIELD) if cranfield and options.quick else ()
    return Result(
        "retrieval",
        figures,
        floors=(Limit("hybrid_below_best_leg", at_most=0.005), *(CRANFIELD if cranfield else ()), *FILTERED),
        goals=CRANFIELD_GOALS if cranfield else (),
        left_out=(*unjudged, *RERANKED, *(floor.figure for floor in FILTERED), *TIMED) if options.quick else (),
        rows=[
            ("system", "nDCG@10", "recall@100"),
            *((system, f"{of['nDCG@10']:.4f}", f"{of['R@100']:.4f}") for system, of in means.items()),
        ],
        notes=(f"passages of up to {part.chunking.target_tokens} tokens; {part.skipped} questions have no judgment",),
    )


def _some(part: judged.Judged, seed: int) -> judged.Judged:
    """Questions drawn by the seed, the documents judged for them, and others drawn to fill up."""
    chance = random.Random(seed)
    names = sorted(part.questions)
    kept = chance.sample(names, min(QUICK_QUESTIONS, len(names)))
    qrels = {name: part.qrels[name] for name in kept}
    wanted = {document for found in qrels.values() for document in found}
    others = sorted(part.documents.keys() - wanted)
    wanted.update(chance.sample(others, min(max(0, QUICK_DOCUMENTS - len(wanted)), len(others))))
    documents = {name: body for name, body in part.documents.items() if name in wanted}
    return replace(part, documents=documents, questions={name: part.questions[name] for name in kept}, qrels=qrels)


def _beyond(seed: int) -> dict[str, Any]:
    with Server() as on:
        with on.database("corpus") as dsn:
            figures: dict[str, Any] = filtered.measured(dsn, seed)
        with on.database("corpus") as dsn:
            return figures | words.measured(dsn, CHUNKS, seed)


def _name(measure: str) -> str:
    return {"nDCG@10": "ndcg_at_10", "R@100": "recall_at_100"}[measure]

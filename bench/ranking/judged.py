"""A BEIR folder, or the sample's golden questions, through the ordinary sync and the ordinary search.

Documents are synced as pages with their title, and named by number, since identifiers may hold any character.
"""

from __future__ import annotations

import gzip
import html
import json
import lzma
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.faults.lab import COLLECTION, ROOT, Lab
from pipelines import config
from pipelines.config import Chunking, Collection, DeleteGuard, Reranker
from pipelines.context import Context
from pipelines.evaluate import metrics
from pipelines.evaluate.beir import read_qrels
from pipelines.search import hybrid
from pipelines.search.query import MAX_CHARS, MAX_K, Mode, Query
from pipelines.sources.memory import Memory
from pipelines.stages import search
from pipelines.store import spaces

MEASURES = ("nDCG@10", "R@100")
SAMPLE = ROOT / "include/sample"
WHOLE = Chunking(target_tokens=254)  # a passage is a whole abstract where the model can read one
OPENERS: dict[str, Callable[..., Any]] = {"": open, ".xz": lzma.open, ".gz": gzip.open}


@dataclass(frozen=True, slots=True)
class Judged:
    """Documents by name, questions by id and their judgments; `skipped` questions have none, or nothing to search."""

    documents: dict[str, bytes]
    questions: dict[str, str]
    qrels: dict[str, dict[str, int]]
    skipped: int
    chunking: Chunking


def beir(folder: Path) -> Judged:
    """`corpus.jsonl`, `queries.jsonl` (plain, .xz or .gz) and `qrels.tsv`, `qrels/test.tsv` or the one file in `qrels/`."""
    names: dict[str, str] = {}
    documents: dict[str, bytes] = {}
    for row in _rows(folder, "corpus.jsonl"):
        title, text = (str(row.get(key) or "").strip() for key in ("title", "text"))
        if title or text:
            names[str(row["_id"])] = f"{len(names):08d}.html"
            documents[names[str(row["_id"])]] = _page(title, text.removeprefix(title).strip() or title)
    judged = {
        question: {names[document]: grade for document, grade in found.items() if document in names}
        for question, found in read_qrels(_qrels(folder)).items()
    }
    asked = {str(row["_id"]): str(row.get("text") or "")[:MAX_CHARS] for row in _rows(folder, "queries.jsonl")}
    questions = {name: text for name, text in asked.items() if text.strip() and any(judged.get(name, {}).values())}
    qrels = {name: judged[name] for name in questions}
    return Judged(documents, questions, qrels, len(asked) - len(questions), WHOLE)


def _page(title: str, text: str) -> bytes:
    head = html.escape(title)
    body = "".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in text.split("\n\n"))
    return f"<!DOCTYPE html><html><head><title>{head}</title></head><body><h1>{head}</h1>{body}</body></html>".encode()


def golden() -> Judged:
    """The sample's knowledge base and its answerable questions, cut as the sample is."""
    documents = {
        path.relative_to(SAMPLE).as_posix(): path.read_bytes()
        for path in sorted((SAMPLE / "knowledge").rglob("*"))
        if path.is_file() and "drafts" not in path.parts
    }
    rows = list(_rows(SAMPLE, "golden.jsonl"))
    answerable = [row for row in rows if row["answerable"]]
    questions = {row["id"]: row["question"] for row in answerable}
    qrels = {row["id"]: {answer["path"]: 1 for answer in row["answers"]} for row in answerable}
    return Judged(documents, questions, qrels, len(rows) - len(answerable), config.load().chunking)


def lab(judged: Judged, reranker: Path | None = None) -> Lab:
    """An empty corpus whose collection is embedded by the project's own model, and reranked by a cross-encoder's folder."""
    made = Lab(guard=DeleteGuard(max_share=1.0))
    models = config.load().models
    served = config.load().collections[COLLECTION].model
    made.settings = made.settings.model_copy(
        update={
            "models": {served: models[served]},
            "rerankers": {} if reranker is None else {"cross": Reranker(path=str(reranker))},
            "collections": {COLLECTION: Collection(model=served, reranker=None if reranker is None else "cross")},
            "chunking": judged.chunking,
        }
    )
    if (ROOT / ".millrace/cache").is_dir():  # the converted model, which an installed project has
        shutil.copytree(ROOT / ".millrace/cache", made.home / "cache")
    return made


def measured(place: Lab, judged: Judged, reranked: bool = True) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    """System -> measure -> mean over the questions, and what was synced. Raises RuntimeError when not all was loaded."""
    source = Memory(judged.documents)
    counts = place.sync(source).counts
    if not counts.get("loaded"):
        raise RuntimeError(f"the sync loaded nothing ({counts}): there is nothing to measure")
    names = {source.uri(name): name for name in judged.documents}
    with place.context(source) as ctx:
        runs: dict[str, dict[str, dict[str, float]]] = {}
        for name, text in judged.questions.items():
            for system, hits in _asked(ctx, text, reranked).items():
                runs.setdefault(system, {})[name] = metrics.ranked([names[uri] for hit in hits for uri in _uris(hit)])
    means = {system: _means(judged.qrels, run) for system, run in runs.items()}
    return means, {state: int(count) for state, count in counts.items()}


def _asked(ctx: Context, text: str, reranked: bool) -> dict[str, list[hybrid.Hit]]:
    space = spaces.active(ctx.pool, COLLECTION)
    if space is None:
        raise RuntimeError(f"collection {COLLECTION!r} has no active space after the sync")
    read = search.reading(ctx, space)
    whole = Query(text=text, collection=COLLECTION, k=MAX_K)
    vector = search.embedded(whole, read)
    modes: tuple[Mode, ...] = ("dense", "text", "hybrid")
    found: dict[str, list[hybrid.Hit]] = {mode: hybrid.search(ctx.pool, replace(whole, mode=mode), vector) for mode in modes}
    return {**found, "reranked": search.ranked(found["hybrid"], vector, read, whole)} if reranked else found


def _uris(hit: hybrid.Hit) -> list[str]:
    return [hit.uri, *(place.uri for place in hit.also)]


def _means(qrels: metrics.Qrels, run: metrics.Run) -> dict[str, float]:
    scores = metrics.score(qrels, run, MEASURES)
    return {name: sum(values.values()) / len(values) for name, values in scores.items()}


def _rows(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    for suffix, opener in OPENERS.items():
        path = folder / f"{name}{suffix}"
        if path.is_file():
            with opener(path, "rt", encoding="utf-8") as file:
                yield from (json.loads(line) for line in file if line.strip())
            return
    raise FileNotFoundError(f"{folder}: no {name} (.xz and .gz are read too); give a BEIR folder")


def _qrels(folder: Path) -> Path:
    for path in (folder / "qrels.tsv", folder / "qrels/test.tsv", *sorted((folder / "qrels").glob("*.tsv"))):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder}: no qrels.tsv and no .tsv in qrels/; give a BEIR folder")

"""nDCG@10 of a model's folder, by question: exact search, a document by its best passage."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.tuning.domain import Asked
from pipelines.config import Model
from pipelines.embed import open_embedder
from pipelines.evaluate import metrics
from pipelines.evaluate.builders import Passage

MEASURE, DEPTH = "nDCG@10", 10


def scored(
    folder: Path, passages: Sequence[Passage], sets: Mapping[str, Sequence[Asked]], adapter: Path | None = None
) -> dict[str, dict[str, float]]:
    """Set -> question -> value. The model is computed as it is served, by OpenVINO in f32, with a query adapter's folder."""
    with tempfile.TemporaryDirectory() as cache:
        embedder = open_embedder(Model(path=str(folder), adapter=str(adapter) if adapter else None), Path(cache))
        vectors = embedder.embed([passage.text for passage in passages])
        asked = {name: embedder.embed([entry.text for entry in entries], query=True) for name, entries in sets.items()}
    documents = np.array([passage.document for passage in passages])
    names, owner = np.unique(documents, return_inverse=True)
    found: dict[str, dict[str, float]] = {}
    for name, entries in sets.items():
        qrels: dict[str, dict[str, int]] = {}
        run: dict[str, dict[str, float]] = {}
        for number, (entry, vector) in enumerate(zip(entries, asked[name], strict=True)):
            cosines = np.where(_hidden(passages, documents, entry), -np.inf, vectors @ vector)
            best = np.full(len(names), -np.inf)
            np.maximum.at(best, owner, cosines)
            order = [int(place) for place in np.argsort(-best, kind="stable")[:DEPTH] if best[place] > -np.inf]
            run[str(number)] = metrics.ranked([str(names[place]) for place in order])
            qrels[str(number)] = dict.fromkeys(entry.documents, 1)
        found[name] = metrics.score(qrels, run, (MEASURE,))[MEASURE]
    return found


def _hidden(passages: Sequence[Passage], documents: npt.NDArray[Any], entry: Asked) -> npt.NDArray[np.bool_]:
    hidden = np.zeros(len(passages), dtype=bool)
    if entry.hidden is not None:
        for place in np.flatnonzero(documents == entry.hidden.document).tolist():
            hidden[place] = passages[place].start < entry.hidden.end and entry.hidden.start < passages[place].end
    return hidden

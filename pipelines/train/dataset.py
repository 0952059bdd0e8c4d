"""A data set: pairs in two parts, as Parquet whose bytes follow from the pairs, and what they were made of.

Documents that are near-duplicates are on one side of the split, so what validates was not learned.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import FailRun
from pipelines.records import TrainingPair, sha256

PAIRS, MANIFEST = "pairs.parquet", "manifest.json"
VALIDATION = 0.2  # of the clusters of documents
SCHEMA = pa.schema(
    [
        pa.field("question", pa.string(), nullable=False),
        pa.field("positive", pa.string(), nullable=False),
        pa.field("document", pa.string(), nullable=False),
        pa.field("negatives", pa.list_(pa.string()), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
        pa.field("validation", pa.bool_(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Dataset:
    """What is fitted, what it is validated by, and the lineage: counts, seed, slices kept apart, corpus."""

    fitted: tuple[TrainingPair, ...]
    validation: tuple[TrainingPair, ...]
    lineage: Mapping[str, Any]

    def counts(self) -> dict[str, int]:
        """Pairs by origin."""
        return dict(sorted(Counter(pair.origin for pair in (*self.fitted, *self.validation)).items()))


def split(pairs: Sequence[TrainingPair], clusters: Mapping[str, str], lineage: Mapping[str, Any]) -> Dataset:
    """The distinct pairs in an order that does not depend on theirs, divided by their documents' clusters."""
    distinct = {(pair.question, pair.positive): pair for pair in sorted(pairs, key=_order, reverse=True)}
    parts: tuple[list[TrainingPair], list[TrainingPair]] = ([], [])
    for pair in sorted(distinct.values(), key=_order):
        cluster = clusters.get(pair.document, pair.document)
        drawn = int.from_bytes(sha256("validation split", cluster)[:8], "big") / 2**64
        parts[drawn < VALIDATION].append(pair)
    return Dataset(tuple(parts[0]), tuple(parts[1]), dict(lineage))


def write(data: Dataset) -> dict[str, bytes]:
    """The files of a data set by name; equal data sets are equal bytes."""
    rows = [_row(pair, False) for pair in data.fitted] + [_row(pair, True) for pair in data.validation]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), buffer, compression="zstd", write_statistics=False)
    manifest = {**data.lineage, "pairs": len(rows), "validation": len(data.validation), "origins": data.counts()}
    return {PAIRS: buffer.getvalue(), MANIFEST: (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()}


def read(files: Mapping[str, bytes], where: str) -> Dataset:
    """What `write` wrote. Raises FailRun for files that it did not write."""
    try:
        rows = pq.read_table(io.BytesIO(files[PAIRS]), schema=SCHEMA).to_pylist()
        lineage = json.loads(files[MANIFEST])
    except (KeyError, ValueError, pa.ArrowInvalid) as error:
        raise FailRun(f"{where}: no data set ({error}); build it again with `millrace train data`") from None
    parts: tuple[list[TrainingPair], list[TrainingPair]] = ([], [])
    for row in rows:
        parts[row.pop("validation")].append(TrainingPair(**{**row, "negatives": tuple(row["negatives"])}))
    for derived in ("pairs", "validation", "origins"):
        lineage.pop(derived, None)
    return Dataset(tuple(parts[0]), tuple(parts[1]), lineage)


def digest(files: Mapping[str, bytes]) -> str:
    """Hex identity of a data set's pairs and lineage."""
    parts = [part for name in sorted(files) for part in (name, hashlib.sha256(files[name]).hexdigest())]
    return sha256("data set", *parts).hex()


def _row(pair: TrainingPair, validation: bool) -> dict[str, Any]:
    return {
        "question": pair.question,
        "positive": pair.positive,
        "document": pair.document,
        "negatives": list(pair.negatives),
        "origin": pair.origin,
        "source": pair.source,
        "weight": pair.weight,
        "validation": validation,
    }


def _order(pair: TrainingPair) -> tuple[str, str, str, str, float]:
    return pair.question, pair.positive, pair.origin, pair.source, pair.weight

"""Stage files of one run: where they are and how they are read and written.

    stage/<source>/<run>/plan.json                    the plan; its existence means that planning ended
    stage/<source>/<run>/<shard>/planned.parquet      the shard's documents
    stage/<source>/<run>/<shard>/documents-<sha>.parquet, chunks-<sha>.parquet
    stage/<source>/<run>/<shard>/<stage>.json         a stage's manifest, written last: its existence means success

Data files carry a digest of their content in the name, and the manifest of a shard's stage carries those of the stages
before it, {stage: manifest}: whichever attempt wrote it last, it names one attempt's files and outcomes, and a zombie's
never mix with its successor's.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import FailRun

if TYPE_CHECKING:
    from pipelines.ports import Objects


class _NoPandas:
    """An import hook that knows no pandas."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Refuse pandas, leave every other module to the hooks behind."""
        if name == "pandas":
            raise ImportError(name)


def _spare_pandas() -> None:
    """Let pyarrow settle that it works without pandas: else its first array imports it, for half a second and no use."""
    hook = _NoPandas()
    sys.meta_path.insert(0, hook)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(hook)


_spare_pandas()


class StageFiles:
    """The files of one run, or of one of its shards."""

    def __init__(self, objects: Objects, source: str, run_id: int, shard: str = "") -> None:
        self._objects = objects
        self._folder = "/".join(part for part in ("stage", source, str(run_id), shard) if part)

    def write_table(self, name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> str:
        """Store rows as `<name>-<digest>.parquet`; returns the file name for the manifest."""
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
        data = buffer.getvalue()
        file = f"{name}-{hashlib.sha256(data).hexdigest()[:16]}.parquet"
        self._objects.put(f"{self._folder}/{file}", data)
        return file

    def read_table(self, file: str) -> pa.Table:
        """The table of a file that a manifest names. Raises FailRun when it is gone."""
        return pq.read_table(io.BytesIO(self.read_bytes(file)))

    def read_bytes(self, file: str) -> bytes:
        """The raw bytes of a stage file. Raises FailRun when it is gone."""
        path = f"{self._folder}/{file}"
        try:
            return self._objects.get(path)
        except KeyError:
            raise FailRun(
                f"stage file {self._objects.uri(path)} is missing: it was removed before the run ended; start a new sync"
            ) from None

    def write_manifest(self, stage: str, manifest: Mapping[str, Any]) -> None:
        """Declare a stage done."""
        self._objects.put(f"{self._folder}/{stage}.json", json.dumps(manifest).encode())

    def manifest(self, stage: str) -> dict[str, Any] | None:
        """What a stage declared, or None when it did not end."""
        try:
            value: dict[str, Any] = json.loads(self._objects.get(f"{self._folder}/{stage}.json"))
        except KeyError:
            return None
        return value

    def require(self, stage: str) -> dict[str, Any]:
        """The manifest of a stage that must have ended. Raises FailRun naming it."""
        manifest = self.manifest(stage)
        if manifest is None:
            raise FailRun(
                f"{self._objects.uri(self._folder)}: stage {stage} did not end; clear that task or start a new sync"
            )
        return manifest


PLANNED = pa.schema(
    [
        ("uri", pa.string()),
        ("version", pa.string()),
        ("size", pa.int64()),
        ("modified", pa.timestamp("us", tz="UTC")),
        ("format", pa.string()),
        ("known_fence", pa.int64()),  # null for a new document
        ("known_sha", pa.string()),  # hex content digest of the version in the ledger, when a match means unchanged
    ]
)

DOCUMENTS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("uri", pa.string()),
        ("member", pa.string()),
        ("parent_doc_id", pa.string()),
        ("version", pa.string()),
        ("content_sha", pa.string()),
        ("title", pa.string()),
        ("media_type", pa.string()),
        ("lang", pa.string()),
        ("metadata", pa.string()),  # JSON
        ("warnings", pa.int64()),
        ("warning_codes", pa.list_(pa.string())),
        ("chars", pa.int64()),
        ("bytes", pa.int64()),
        ("modified", pa.timestamp("us", tz="UTC")),
        ("known_fence", pa.int64()),
    ]
)

CHUNKS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("ordinal", pa.int32()),
        ("text", pa.string()),
        ("text_sha", pa.string()),
        ("heading_path", pa.list_(pa.string())),
        ("char_start", pa.int32()),
        ("char_end", pa.int32()),
        ("tokens", pa.int32()),
        ("lang", pa.string()),
        ("kind", pa.string()),
    ]
)

VECTORS = pa.schema(
    [
        ("text_sha", pa.string()),
        ("doc_id", pa.string()),
        ("dim", pa.int32()),
        ("norm", pa.float64()),
        ("finite", pa.bool_()),
    ]
)

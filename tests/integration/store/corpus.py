"""A small corpus in a real database: documents made of lists of texts, published the way the stages do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.records import Reason, document_id, sha256
from pipelines.store import ledger, quarantine, spaces, vectors
from pipelines.store.batch import Batch, ChunkRow, DocumentRow, Outcome
from pipelines.store.database import Pool
from pipelines.store.publish import publish
from pipelines.store.quarantine import Quarantined

SOURCE = "memory"
Key = str | tuple[str, str]  # a uri, or (uri, member)
Texts = Mapping[Any, Sequence[str]]  # Key -> chunk texts


@dataclass(frozen=True)
class Identity:
    fingerprint: str = "hash-8"
    model: str = "hashing"
    revision: str = "1"
    dim: int = 8
    dtype: str = "hash"
    max_tokens: int = 256


def unit_vectors(shas: Sequence[bytes], dim: int = 8) -> npt.NDArray[np.float32]:
    """Deterministic unit rows, one per hash."""
    rows = [np.random.default_rng(int.from_bytes(sha[:8], "big")).standard_normal(dim) for sha in shas]
    matrix = np.asarray(rows, dtype=np.float32).reshape(len(shas), dim)
    norms: npt.NDArray[np.float32] = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / norms


def everything(doc_ids: Sequence[bytes]) -> set[bytes]:
    """A source at which every planned version is still the current one."""
    return set(doc_ids)


def nothing(doc_ids: Sequence[bytes]) -> set[bytes]:
    """A source that has moved on from every planned version."""
    return set()


def doc(uri: str, member: str = "") -> bytes:
    return document_id(SOURCE, uri, member)


def chunk_rows(doc_id: bytes, texts: Sequence[str]) -> list[ChunkRow]:
    return [
        ChunkRow(doc_id, i, sha256(text), text, ("Guide", "Part"), 10 * i, 10 * i + 9, 3, "en")
        for i, text in enumerate(texts)
    ]


@dataclass
class Corpus:
    """One source in one collection. Texts are given as {uri or (uri, member): [chunk text, …]}."""

    pool: Pool
    space: spaces.Space
    run: ledger.Run

    def fence(self) -> int:
        return ledger.next_fence(self.pool)

    def embed(self, texts: Sequence[str]) -> None:
        shas = [sha256(text) for text in texts]
        vectors.remember(self.pool, self.space.embedder_fingerprint, shas, unit_vectors(shas, self.space.dim))

    def known_fence(self, doc_id: bytes) -> int:
        rows = self.rows("SELECT fence FROM document WHERE doc_id = %s", doc_id)
        return rows[0][0] if rows else 0

    def row(self, key: Key, version: str, expected: int | None = None) -> DocumentRow:
        uri, member = (key, "") if isinstance(key, str) else key
        doc_id = doc(uri, member)
        return DocumentRow(
            doc_id,
            SOURCE,
            uri,
            version,
            "pipeline-1",
            sha256(version),
            member=member,
            parent_doc_id=doc(uri) if member else None,
            title=uri,
            metadata={"version": version},
            warnings=("nul_removed",),
            expected_fence=self.known_fence(doc_id) if expected is None else expected,
        )

    def batch(
        self,
        texts: Texts,
        *,
        fence: int,
        version: str = "v1",
        expected: int | None = None,
        refused: Sequence[Quarantined] = (),
    ) -> Batch:
        documents = [self.row(key, version, expected) for key in texts]
        chunks = [
            chunk for row, parts in zip(documents, texts.values(), strict=True) for chunk in chunk_rows(row.doc_id, parts)
        ]
        return Batch(self.run.id, fence, self.space, documents, chunks, refused)

    def load(self, texts: Texts, version: str = "v1") -> Outcome:
        """Embed and publish with a new fence, knowing the ledger as it is."""
        self.embed([text for parts in texts.values() for text in parts])
        return publish(self.pool, self.batch(texts, fence=self.fence(), version=version), everything)

    def reject(
        self,
        uri: str,
        reason: Reason,
        *,
        fence: int | None = None,
        version: str = "v1",
        detail: str = "",
        run_id: int | None = None,
    ) -> int:
        """Quarantine a document, in a run of its own unless told in which; returns the run."""
        fence = fence or self.fence()
        if run_id is None:
            run_id = ledger.start_run(
                self.pool, source=SOURCE, collection=self.run.collection, door="cli", scope="mem://", fence=fence
            ).id
        item = Quarantined(doc(uri), uri, version, "pipeline-1", "prepare", reason, detail)
        quarantine.record(
            self.pool,
            run_id=run_id,
            fence=fence,
            collection=self.run.collection,
            source=SOURCE,
            items=[item],
        )
        return run_id

    def served(self, uri: str, member: str = "") -> list[str]:
        """The texts a reader gets for a document, in order."""
        statement = "SELECT body FROM chunk JOIN text USING (tenant, text_sha) WHERE doc_id = %s ORDER BY ordinal"
        return [body for (body,) in self.rows(statement, doc(uri, member))]

    def state(self, uri: str, member: str = "") -> tuple[str, str | None, int]:
        (row,) = self.rows("SELECT state, reason, attempts FROM document WHERE doc_id = %s", doc(uri, member))
        return row

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self.pool.connection() as conn:
            cursor = conn.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def damage(self, *statements: str) -> None:
        """Run statements with foreign keys and triggers switched off, as a broken restore would."""
        with self.pool.connection() as conn:
            conn.execute("SET LOCAL session_replication_role = replica")
            for statement in statements:
                conn.execute(statement)

"""Documents published straight into the store by the product's own `publish`: replacement at full speed, without parsing.

Every chunk says which document, version, part and number of parts it is of, so that an answer made of two versions, or of a
part of one, shows. `read_marks` reads it back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.faults.lab import COLLECTION
from pipelines.context import Context
from pipelines.embed.hashing import Hashing
from pipelines.records import document_id, sha256
from pipelines.store import deletions, ledger, spaces, vectors
from pipelines.store.batch import Batch, ChunkRow, DocumentRow, Outcome
from pipelines.store.publish import publish

SOURCE = "direct"
_MARK = re.compile(r"\bof (\w+) in version (v\d{6}) part (\d+) out of (\d+)\b")

Key = tuple[str, str]  # (uri, member)


class Mark(NamedTuple):
    """What a chunk says of itself."""

    name: str
    version: str
    part: int
    parts: int


def version_name(number: int) -> str:
    """The version token of a document's n-th version; tokens order as versions do."""
    return f"v{number:06d}"


def body(name: str, version: str, part: int, parts: int, filler: str = "") -> str:
    """A passage; the name is repeated, so that a question for it finds these passages first."""
    return f"{name} {name}: passage of {name} in version {version} part {part} out of {parts}. {filler}".strip()


def read_marks(text: str) -> set[Mark]:
    """Every mark in a text."""
    return {Mark(name, version, int(part), int(parts)) for name, version, part, parts in _MARK.findall(text)}


@dataclass(slots=True)
class Direct:
    """One writer of documents that nobody else writes. `contents` below is {(uri, member): chunk texts}."""

    ctx: Context
    space: spaces.Space
    run_id: int
    embedder: Hashing = field(default_factory=Hashing)
    fences: dict[bytes, int] = field(default_factory=dict)

    @classmethod
    def open(cls, ctx: Context) -> Direct:
        """A writer on the lab's collection, under a run of its own."""
        space = spaces.active(ctx.pool, COLLECTION)
        if space is None:
            raise RuntimeError(f"the lab has no space for {COLLECTION}")
        opened = ledger.start_run(
            ctx.pool,
            source=SOURCE,
            collection=COLLECTION,
            door="airflow",
            scope="direct://",
            fence=ledger.next_fence(ctx.pool),
        )
        return cls(ctx, space, opened.id)

    def embed(self, texts: Iterable[str]) -> int:
        """Vectors for the texts, as stage embed gets them; returns how many had to be computed."""
        by_sha = {sha256(text): text for text in texts}
        missing = sorted(vectors.keep(self.ctx.pool, self.space, list(by_sha)))
        matrix = self.embedder.embed([by_sha[sha] for sha in missing])
        vectors.remember(self.ctx.pool, self.space.embedder_fingerprint, missing, matrix)
        return len(missing)

    def publish(self, contents: Mapping[Key, Sequence[str]], version: str) -> Outcome:
        """Replace the documents in one transaction; their texts must have been embedded."""
        fence = ledger.next_fence(self.ctx.pool)
        documents = [self._document(key, version) for key in contents]
        chunks = [
            ChunkRow(row.doc_id, place, sha256(text), text, (), 0, len(text), len(text.split()), "en")
            for row, texts in zip(documents, contents.values(), strict=True)
            for place, text in enumerate(texts)
        ]
        outcome = publish(self.ctx.pool, Batch(self.run_id, fence, self.space, documents, chunks), frozenset)
        self.fences |= dict.fromkeys(outcome.loaded | outcome.deleted_members, fence)
        return outcome

    def delete(self, uris: Iterable[str]) -> deletions.Deleted:
        """Delete objects with their attachments."""
        fence = ledger.next_fence(self.ctx.pool)
        ids = [document_id(SOURCE, uri) for uri in uris]
        gone = deletions.delete(self.ctx.pool, run_id=self.run_id, fence=fence, doc_ids=ids)
        self.fences |= dict.fromkeys(gone.deleted | gone.members, fence)
        return gone

    def _document(self, key: Key, version: str) -> DocumentRow:
        uri, member = key
        doc_id = document_id(SOURCE, uri, member)
        return DocumentRow(
            doc_id,
            SOURCE,
            uri,
            version,
            "direct",
            sha256(version),
            member=member,
            parent_doc_id=document_id(SOURCE, uri) if member else None,
            title=uri,
            expected_fence=self.fences.get(doc_id, 0),
        )

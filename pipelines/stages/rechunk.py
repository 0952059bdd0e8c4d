"""Stage rechunk: passages of a new chunk set for documents that are served already, written beside the served ones.

The bytes are read from the source again at the version that is served, parsed, cut and validated as a sync does. What cannot
be had any more is judged by why: an object that changed or is gone is left to the next sync, which publishes or deletes it;
where no sync will ever read the served bytes again (the object is in quarantine with a former version served, its source is
not configured any more or dated), the served passages are taken over as they are if they fit the new limit.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.records import RawObject, ShardRef, SpanRef, Summary
from pipelines.stages import validate
from pipelines.stages.decide import Work
from pipelines.stages.files import CHUNKS, DOCUMENTS
from pipelines.stages.passages import Passages, passages
from pipelines.stages.pipeline import Pipeline, of_space
from pipelines.stages.prepare import chunk_row, document_row
from pipelines.stages.publish import stored_chunk
from pipelines.store import lexicon, spaces, standby
from pipelines.store.batch import ChunkRow
from pipelines.store.standby import Family, Served
from pipelines.text.formats import format_of

if TYPE_CHECKING:
    from pipelines.context import Context, Step
    from pipelines.ports import Source, Tokenizer
    from pipelines.store.spaces import Space

PAGE = 500  # objects read, validated and written together
ANY_DAY = date(2000, 1, 1)  # a dated source is opened for a day; reading an address needs none
OUTCOMES = ("rechunked", "carried", "changed", "gone", "rejected", "too_long", "superseded")


def run(ctx: Context, span: SpanRef) -> Summary:
    """Rechunk one span. Raises Retry when a source or the database fails, FailRun when a whole batch fails a suite."""
    space = spaces.get(ctx.pool, span.space)
    with ctx.step(span.run_id, "rechunk", span.shard) as step:
        step.counts = dict.fromkeys(OUTCOMES, 0)
        after, last = bytes.fromhex(span.after), bytes.fromhex(span.last)
        for number, page in enumerate(standby.missing(ctx.pool, space, PAGE, after=after, last=last)):
            rechunk(ctx, span.run_id, f"{span.shard}-{number}", space, page, step)
        lexicon.fold(ctx.pool)
    return Summary("rechunk", str(span.run_id), step.counts, step.seconds)


def rechunk(ctx: Context, run_id: int, shard: str, space: Space, page: Sequence[list[Served]], step: Step) -> None:
    """Read, cut, validate and write the objects of a page; their outcomes are counted in the step, by documents."""
    settings = of_space(ctx, space)
    step.total += len(page)
    by_source = groupby(sorted(page, key=lambda family: family[0].source), key=lambda family: family[0].source)
    for source, families in by_source:
        page_of = _Page(ctx, space, settings, {family[0].uri: family for family in families}, source)
        page_of.read()
        page_of.validate(ShardRef(run_id, f"reembed.{space.collection}", f"{shard}-{source}", "", 0, 0))
        page_of.write()
        for name, documents in page_of.outcomes.items():
            step.counts[name] += documents
        step.advance(len(page_of.families))


@dataclass
class _Page:
    """Objects of one source, by uri."""

    ctx: Context
    space: Space
    settings: Pipeline
    families: dict[str, list[Served]]
    source: str
    outcomes: Counter[str] = field(default_factory=Counter)
    cut: dict[bytes, list[ChunkRow]] = field(default_factory=dict)  # new passages by doc_id
    documents: list[dict[str, Any]] = field(default_factory=list)
    chunks: list[dict[str, Any]] = field(default_factory=list)
    carried: dict[str, list[Served]] = field(default_factory=dict)

    def read(self) -> None:
        """Cut what the source still has; decide about the rest."""
        config = self.ctx.settings.sources.get(self.source)
        lost = {uri for uri, family in self.families.items() if config is None or family[0].stuck}
        for uri in lost:
            self._carry(uri)
        readable = {uri: family for uri, family in self.families.items() if uri not in lost}
        if not readable or config is None:
            return
        source = self.ctx.source(self.source, ANY_DAY if config.dated else None)
        work = [_work(source, uri, family) for uri, family in readable.items()]
        with passages(self.ctx, source, work, self.settings) as results:
            for result in results:
                self._judge(result, dated=config.dated)

    def validate(self, shard: ShardRef) -> None:
        """Let the suites judge what was cut; objects with a document that fails are left out."""
        if not self.documents:
            return
        self.ctx.validator.start()
        found = validate.check(self.ctx, shard, "documents", _parquet(self.documents, DOCUMENTS))
        limit = self.settings.max_tokens
        failed = {
            **found.failed_documents,
            **validate.check(self.ctx, shard, "chunks", _parquet(self.chunks, CHUNKS), max_tokens=limit).failed_documents,
        }
        for uri, family in self.families.items():
            if uri not in self.carried and any(row.doc_id.hex() in failed for row in family):
                self._leave(uri, "rejected")

    def write(self) -> None:
        """Write page by page of a few dozen objects; an object written by another since it was read is superseded."""
        self._take_over()
        ready = [family for family in self.families.values() if all(row.doc_id in self.cut for row in family)]
        size = self.ctx.settings.limits.publish_batch_documents
        for start in range(0, len(ready), size):
            part = ready[start : start + size]
            written = standby.write(self.ctx.pool, self.space, [_family(rows, self.cut) for rows in part])
            for rows in part:
                stands = all(row.doc_id in written for row in rows)
                kind = "carried" if rows[0].uri in self.carried else "rechunked"
                self.outcomes[kind if stands else "superseded"] += len(rows)

    def _judge(self, result: Passages, *, dated: bool) -> None:
        uri, family = result.work.listed.uri, self.families[result.work.listed.uri]
        if result.content_sha is None:
            # A dated source is never listed whole again, so no sync will come to delete the object.
            if dated:
                self._carry(uri)
            else:
                self._leave(uri, "gone")
        elif result.content_sha != family[0].content_sha:
            self._leave(uri, "changed")
        else:
            self._keep(result, family)

    def _keep(self, result: Passages, family: list[Served]) -> None:
        cut = {document.member: (document, chunks) for document, chunks in result.documents}
        if not all(row.member in cut or row.state == "quarantined" for row in family):
            self._leave(result.work.listed.uri, "rejected")
            return
        for row in family:
            if row.member not in cut:  # an attachment in quarantine that serves a former version
                self.carried.setdefault(row.uri, []).append(row)
                continue
            document, chunks = cut[row.member]
            rows = [chunk_row(row.doc_id.hex(), chunk) for chunk in chunks]
            self.documents.append(document_row(self.source, result, document, row.doc_id.hex()))
            self.chunks += rows
            self.cut[row.doc_id] = [stored_chunk(entry) for entry in rows]

    def _carry(self, uri: str) -> None:
        self.carried[uri] = self.families[uri]

    def _leave(self, uri: str, outcome: str) -> None:
        self.outcomes[outcome] += len(self.families[uri])
        for row in self.families[uri]:
            self.cut.pop(row.doc_id, None)
        self.carried.pop(uri, None)

    def _take_over(self) -> None:
        """The served passages of what cannot be read again, counted by the new tokenizer."""
        rows = [row for family in self.carried.values() for row in family]
        served = standby.passages(self.ctx.pool, self.space, [row.doc_id for row in rows]) if rows else {}
        tokenizer = self.ctx.models.tokenizer(self.settings.model)
        for uri, family in list(self.carried.items()):
            counted = {row.doc_id: _recounted(served.get(row.doc_id, []), tokenizer) for row in family}
            if any(chunk.tokens > self.settings.max_tokens for chunks in counted.values() for chunk in chunks):
                self._leave(uri, "too_long")
            else:
                self.cut |= {doc_id: chunks for doc_id, chunks in counted.items() if chunks}


def _work(source: Source, uri: str, family: Sequence[Served]) -> Work:
    root = family[0]
    listed = RawObject(uri, root.loaded_version, root.bytes, root.source_modified)
    return Work(listed, source.format or format_of(uri) or "text", None, None)


def _family(rows: Sequence[Served], cut: dict[bytes, list[ChunkRow]]) -> Family:
    return Family({row.doc_id: row.fence for row in rows}, {row.doc_id: cut[row.doc_id] for row in rows})


def _recounted(chunks: Sequence[ChunkRow], tokenizer: Tokenizer) -> list[ChunkRow]:
    counts = tokenizer.count([chunk.body for chunk in chunks]) if chunks else []
    return [chunk._replace(tokens=tokens) for chunk, tokens in zip(chunks, counts, strict=True)]


def _parquet(rows: list[dict[str, Any]], schema: pa.Schema) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer)
    return buffer.getvalue()

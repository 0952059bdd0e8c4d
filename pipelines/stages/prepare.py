"""Stage prepare: read, parse, clean and chunk a shard; the rows that survive become stage files, the rest quarantine rows.

The shard's fence is taken before the first byte is read. A retry takes a newer one and repeats the stage.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from pipelines.records import Chunk, Document, Rejected, ShardRef, Summary, document_id
from pipelines.stages import plan
from pipelines.stages.files import CHUNKS, DOCUMENTS
from pipelines.stages.passages import Passages, passages
from pipelines.stages.pipeline import Pipeline, pipeline, space_of
from pipelines.store import ledger, quarantine

if TYPE_CHECKING:
    from pipelines.context import Context, Step


@dataclass(slots=True)
class _Rows:
    """What the shard's stage files and manifest are made of."""

    documents: list[dict[str, Any]] = field(default_factory=list)
    chunks: list[dict[str, Any]] = field(default_factory=list)
    unchanged: list[tuple[bytes, str, bytes]] = field(default_factory=list)  # doc_id, version, digest of the same bytes
    rejected: list[tuple[Passages, Rejected]] = field(default_factory=list)
    members: list[dict[str, Any]] = field(default_factory=list)  # rejected attachments, recorded once the parent is
    formats: dict[str, dict[str, int]] = field(default_factory=dict)


def run(ctx: Context, shard: ShardRef) -> Summary:
    """Prepare one shard. Raises Retry when the source fails; nothing was decided then."""
    with ctx.step(shard.run_id, "prepare", shard.shard, shard.documents) as step:
        run_plan = plan.manifest(ctx, shard)
        settings = pipeline(ctx, run_plan["collection"])
        made_for = {"space": space_of(ctx, settings).id, "fingerprint": settings.fingerprint}
        fence = ledger.next_fence(ctx.pool)
        day = date.fromisoformat(run_plan["day"]) if run_plan["day"] else None
        rows = _Rows()
        work = plan.planned(ctx, shard)
        if work:
            ctx.validator.start()  # on this machine, where plan may have run elsewhere
            with passages(ctx, ctx.source(shard.source, day), work, settings) as results:
                for result in results:
                    _collect(rows, result, shard.source)
                    step.advance()
        _record(ctx, shard, settings, fence, rows)
        step.counts = _counts(rows)
        _write(ctx, shard, {"fence": fence, **made_for}, rows, step)
    return Summary("prepare", str(shard.run_id), step.counts, step.seconds)


def _collect(rows: _Rows, result: Passages, source: str) -> None:
    if result.unchanged and result.content_sha:
        rows.unchanged.append((document_id(source, result.work.listed.uri), result.version, result.content_sha))
        return
    stats = rows.formats.setdefault(result.work.format, dict.fromkeys(("documents", "bytes", "chunks", "tokens"), 0))
    stats["documents"] += 1
    stats["bytes"] += result.bytes
    loaded = any(not document.member for document, _ in result.documents)
    for document, cut in result.documents if loaded else ():
        stats["chunks"] += len(cut)
        stats["tokens"] += sum(chunk.tokens for chunk in cut)
        doc_id = document_id(source, document.uri, document.member).hex()
        rows.documents.append(document_row(source, result, document, doc_id))
        rows.chunks += [chunk_row(doc_id, chunk) for chunk in cut]
    for rejected in result.rejected:
        if not rejected.member:
            rows.rejected.append((result, rejected))
        elif loaded:
            rows.members.append(_member_row(source, result, rejected))


def document_row(source: str, result: Passages, document: Document, doc_id: str) -> dict[str, Any]:
    """A row of the schema DOCUMENTS."""
    return {
        "doc_id": doc_id,
        "uri": document.uri,
        "member": document.member,
        "parent_doc_id": document_id(source, document.uri).hex() if document.member else None,
        "version": result.version,
        "content_sha": result.content_sha.hex() if result.content_sha else None,
        "title": document.title,
        "media_type": document.media_type,
        "lang": document.lang,
        "metadata": json.dumps(document.metadata),
        "warnings": len(document.warnings),
        "warning_codes": list(document.warnings),
        "chars": len(document.text),
        "bytes": result.bytes if not document.member else 0,
        "modified": result.work.listed.modified,
        "known_fence": result.work.known_fence if not document.member else None,
    }


def chunk_row(doc_id: str, chunk: Chunk) -> dict[str, Any]:
    """A row of the schema CHUNKS."""
    return {
        "doc_id": doc_id,
        "ordinal": chunk.ordinal,
        "text": chunk.text,
        "text_sha": chunk.text_sha.hex(),
        "heading_path": list(chunk.heading_path),
        "char_start": chunk.char_start,
        "char_end": chunk.char_end,
        "tokens": chunk.tokens,
        "lang": chunk.lang,
        "kind": chunk.kind,
    }


def _member_row(source: str, result: Passages, rejected: Rejected) -> dict[str, Any]:
    return {
        "doc_id": document_id(source, rejected.uri, rejected.member).hex(),
        "parent_doc_id": document_id(source, rejected.uri).hex(),
        "uri": rejected.uri,
        "member": rejected.member,
        "version": result.version,
        "reason": rejected.reason.value,
        "detail": rejected.detail,
        "stage": "prepare",
    }


def _record(ctx: Context, shard: ShardRef, settings: Pipeline, fence: int, rows: _Rows) -> None:
    items = [
        quarantine.Quarantined(
            doc_id=document_id(shard.source, rejected.uri),
            uri=rejected.uri,
            source_version=result.version,
            reason=rejected.reason,
            detail=rejected.detail,
            pipeline_fingerprint=settings.fingerprint,
            stage="prepare",
            content_sha=result.content_sha,
        )
        for result, rejected in rows.rejected
    ]
    quarantine.record(
        ctx.pool,
        run_id=shard.run_id,
        fence=fence,
        source=shard.source,
        collection=settings.collection,
        items=items,
    )
    ledger.refresh(ctx.pool, run_id=shard.run_id, fence=fence, versions=rows.unchanged)


def _counts(rows: _Rows) -> dict[str, int]:
    return {
        "documents": len(rows.documents),
        "chunks": len(rows.chunks),
        "tokens": sum(row["tokens"] for row in rows.chunks),
        "unchanged": len(rows.unchanged),
        "quarantined": len(rows.rejected),
        "attachments_quarantined": len(rows.members),
    }


def _write(ctx: Context, shard: ShardRef, made: dict[str, Any], rows: _Rows, step: Step) -> None:
    """`made` says by which fence and for which space."""
    files = ctx.files(shard)
    files.write_manifest(
        "prepare",
        {
            "prepare": {
                **made,
                "documents": files.write_table("documents", rows.documents, DOCUMENTS),
                "chunks": files.write_table("chunks", rows.chunks, CHUNKS),
                "unchanged": len(rows.unchanged),
                "rejected": [[rejected.uri, rejected.reason.value] for _, rejected in rows.rejected],
                "members": rows.members,
                "formats": rows.formats,
                "counts": step.counts,
                "seconds": step.seconds,
            }
        },
    )

"""The audit of a source from end to end: the store against itself, and a sample of its documents against the source.

The store's own disagreements are found by SQL. That the loaded bytes are those the source has is asked of a few documents,
drawn at random: their bytes are read again and compared by digest. A document that differs is marked, so that the next sync
reads it again although its version is the same.
"""

from __future__ import annotations

import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pipelines.errors import SkipDocument
from pipelines.records import RawObject
from pipelines.store import audit, repair
from pipelines.store.audit import Finding

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.ports import Source

SAMPLE = 20  # documents of each source that one audit reads again
READERS = 8


def run(ctx: Context, source: str | None = None, sample: int = SAMPLE, seed: int | None = None) -> list[Finding]:
    """What is wrong now, in one source or in all. Raises Retry or FixConfiguration when a source cannot be read.

    `sample` documents of each source are read again, none with 0; without a seed, other ones each time.
    """
    if source is not None:
        ctx.settings.source(source)
    findings = audit.audit(ctx.pool, source)
    drawn = secrets.randbits(32) if seed is None else seed
    for name in [source] if source else list(ctx.settings.sources):
        findings += sampled(ctx, name, sample, drawn)
    return findings


def sampled(ctx: Context, source: str, count: int, seed: int) -> list[Finding]:
    """Compare at most `count` loaded documents, drawn by `seed`, with the source; those that differ are read again.

    Only the very version that was loaded is compared. Documents of a dated source are left out: its days are listed one by
    one and need not be there any more.
    """
    if not count or ctx.settings.source(source).dated:
        return []
    loaded = audit.sample(ctx.pool, source, count, seed)
    if not loaded:
        return []
    opened, limit = ctx.source(source), ctx.settings.limits.max_object_bytes
    with ThreadPoolExecutor(READERS, thread_name_prefix="sample") as threads:
        found = threads.map(lambda entry: _compared(opened, entry, limit), loaded)
        differing = [(entry, finding) for entry, finding in zip(loaded, found, strict=True) if finding]
    repair.doubt(ctx.pool, {entry.doc_id: entry.fence for entry, _ in differing})
    return [finding for _, finding in differing]


def _compared(source: Source, entry: audit.Sampled, limit: int) -> Finding | None:
    try:
        content = source.read(RawObject(entry.uri, entry.source_version, entry.size), limit)
    except SkipDocument:  # it is gone or may not be read just now: the next listing decides, not the sample
        return None
    if content.version != entry.source_version or hashlib.sha256(content.data).digest() == entry.content_sha:
        return None
    return Finding("content_differs", entry.doc_id.hex(), entry.uri, f"version {entry.source_version} holds other bytes")

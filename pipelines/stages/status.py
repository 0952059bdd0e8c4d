"""What the ledger knows of the sources: documents by state, the last runs, open quarantine, held deletions. Read only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.store import deletions, ledger, quarantine

if TYPE_CHECKING:
    from pipelines.context import Context


def run(ctx: Context, source: str | None = None) -> list[ledger.SourceStatus]:
    """The status of every configured source, and of those that are not configured any more but still served; or of one."""
    known = {status.source: status for status in ledger.source_status(ctx.pool, source)}
    gone = [name for name, entry in known.items() if name not in ctx.settings.sources and entry.served]
    if source is not None and source not in gone:
        ctx.settings.source(source)
    names = [source] if source else [*ctx.settings.sources, *gone]
    return [replace(known.get(name, ledger.SourceStatus(name)), configured=name not in gone) for name in names]


def held(ctx: Context, source: str | None = None) -> list[deletions.Hold]:
    """Deletions that wait for a person, and those a person decided about that are not carried out."""
    if source is not None:
        ctx.settings.source(source)
    return deletions.standing(ctx.pool, source)


def quarantined(ctx: Context, source: str | None = None) -> list[quarantine.QuarantineItem]:
    """Every document in quarantine with its reason, newest first."""
    return quarantine.open_items(ctx.pool, source=source)


def replay(ctx: Context, source: str, reason: str | None = None, uri: str | None = None) -> int:
    """Ask the next sync to try quarantined documents again; returns how many were marked."""
    ctx.settings.source(source)
    ids = [item.id for item in quarantine.open_items(ctx.pool, source=source) if item.uri == uri] if uri else None
    return quarantine.request_replay(ctx.pool, source=source, reason=reason, ids=ids)

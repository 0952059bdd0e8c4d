"""What the ledger knows of the sources: documents by state, the last runs, open quarantine, held deletions. Read only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.store import audit, ledger, quarantine

if TYPE_CHECKING:
    from pipelines.context import Context


def run(ctx: Context, source: str | None = None) -> list[ledger.SourceStatus]:
    """The status of every configured source, or of one."""
    if source is not None:
        ctx.settings.source(source)
    names = [source] if source else list(ctx.settings.sources)
    known = {status.source: status for status in ledger.source_status(ctx.pool, source)}
    return [known.get(name, ledger.SourceStatus(name)) for name in names]


def quarantined(ctx: Context, source: str | None = None) -> list[quarantine.QuarantineItem]:
    """Every document in quarantine with its reason, newest first."""
    return quarantine.open_items(ctx.pool, source=source)


def replay(ctx: Context, source: str, reason: str | None = None, uri: str | None = None) -> int:
    """Ask the next sync to try quarantined documents again; returns how many were marked."""
    ctx.settings.source(source)
    ids = [item.id for item in quarantine.open_items(ctx.pool, source=source) if item.uri == uri] if uri else None
    return quarantine.request_replay(ctx.pool, source=source, reason=reason, ids=ids)


def findings(ctx: Context, source: str | None = None) -> list[audit.Finding]:
    """What the auditor finds wrong now, in one source or in all."""
    if source is not None:
        ctx.settings.source(source)
    return audit.audit(ctx.pool, source)

"""Stage plan: compare the source's listing with the ledger and say what a sync must do.

`preview` changes nothing. `run` opens a run (its fence is taken before the source is listed), makes sure that the
collection's space exists, and writes the plan and its shards as stage files. A listing that fails or is incomplete raises
before anything is decided, so nothing is ever deleted on half a listing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines import sources
from pipelines.errors import FixConfiguration
from pipelines.records import PUBLIC_TENANT, RawObject, ShardRef, SyncRequest
from pipelines.stages import approvals, decide
from pipelines.stages.decide import Decisions, DeletionVerdict, Policy, Work
from pipelines.stages.estimate import Estimate, estimate, measured
from pipelines.stages.files import PLANNED, StageFiles
from pipelines.stages.passages import passages
from pipelines.stages.pipeline import Pipeline, pipeline, remark, space_of
from pipelines.store import audit, ledger, quarantine, repair, spaces, vectors
from pipelines.text.formats import format_of

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.ports import Source

SAMPLE_URIS = 20  # how many addresses a plan prints of each kind


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sync would do, or, with a run id, is about to do."""

    source: str
    scope: str
    decisions: Decisions
    verdict: DeletionVerdict
    estimate: Estimate
    run_id: int = 0  # 0 for a preview
    shards: tuple[ShardRef, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: counts exactly, deletions by address, the estimate with its intervals."""
        counts = self.decisions
        return {
            "source": self.source,
            "scope": self.scope,
            "run_id": self.run_id or None,
            "listed": counts.listed,
            "add": counts.added,
            "update": counts.updated,
            "repair": counts.repaired,
            "unchanged": counts.unchanged,
            "quarantined": dict(counts.quarantined),
            "excluded": dict(counts.excluded),
            "delete": [entry.uri for entry in self.verdict.allowed],
            "held": [entry.uri for entry in self.verdict.held],
            "held_because": self.verdict.why,
            "outside_root": self.verdict.outside,
            "kept": [entry.uri for entry in self.verdict.kept],
            "shards": len(self.shards),
            "estimate": self.estimate.as_dict(),
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """The plan for a person, a line per kind of work."""
        counts, price = self.decisions, self.estimate
        kind = "exact" if price.exact else "estimated"
        lines = [
            f"{self.source}: {counts.listed} objects listed under {self.scope}",
            f"  add {counts.added}, update {counts.updated}, repair {counts.repaired}, unchanged {counts.unchanged}",
            f"  delete {len(self.verdict.allowed)}, held {len(self.verdict.held)}, kept {len(self.verdict.kept)}"
            + (f" ({self.verdict.why})" if self.verdict.why else ""),
            f"  quarantined {_reasons(counts.quarantined)}, excluded {_reasons(counts.excluded)}",
            f"  chunks {_span(price.chunks, kind)}, tokens {_span(price.tokens, kind)},"
            f" embeddings {_span(price.embeddings, kind)}",
            f"  time {price.seconds.value:.0f} s ({price.seconds.low:.0f}-{price.seconds.high:.0f}),"
            f" cost {price.cost.value:.4f} {price.currency} ({price.cost.low:.4f}-{price.cost.high:.4f})",
        ]
        if self.verdict.outside and not self.verdict.why:
            lines.append(f"  {self.verdict.outside} of the deletions lie outside the source's present root")
        for title, entries in (("delete", self.verdict.allowed), ("held", self.verdict.held)):
            lines += [f"  {title} {entry.uri}" for entry in entries[:SAMPLE_URIS]]
            if len(entries) > SAMPLE_URIS:
                lines.append(f"  {title} … and {len(entries) - SAMPLE_URIS} more (--json lists all)")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


def preview(ctx: Context, request: SyncRequest, exact: bool = False) -> Plan:
    """What a sync would do. Changes nothing; `exact` also reads and parses, and still writes nothing."""
    settings = pipeline(ctx, ctx.settings.source(request.source).collection)
    source = _open(ctx, request)
    broken = frozenset(finding.uri for finding in audit.audit(ctx.pool, request.source) if finding.uri)
    decisions, verdict = _decide(ctx, request, source, settings, broken)
    history = _history(ctx, request.source)
    price = estimate(_bytes_by_format(decisions.work), history, ctx.settings.prices)
    if exact:
        price = _measure(ctx, source, settings, decisions.work, history)
    return Plan(request.source, _scope(source, request), decisions, verdict, price, notes=_notes(ctx, settings))


def run(ctx: Context, request: SyncRequest, fence: int | None = None) -> Plan:
    """Open a run and plan it; the plan's manifest is written last. The fence is taken here unless the caller has one."""
    collection = ctx.settings.source(request.source).collection
    settings = pipeline(ctx, collection)
    space = space_of(ctx, settings)
    source = _open(ctx, request)
    scope = _scope(source, request)
    opened = ledger.start_run(
        ctx.pool,
        source=request.source,
        collection=collection,
        door=request.door,
        external_id=request.external_id,
        scope=scope,
        fence=ledger.next_fence(ctx.pool) if fence is None else fence,
        request=request.as_dict(),
    )
    try:
        with ctx.step(opened.id, "plan") as step:
            findings = audit.audit(ctx.pool, request.source)
            repaired = repair.prepare_repair(ctx.pool, findings, source=request.source, run_id=opened.id)
            decisions, verdict = _decide(ctx, request, source, settings, repaired.broken)
            price = estimate(_bytes_by_format(decisions.work), _history(ctx, request.source), ctx.settings.prices)
            if decisions.work:
                ctx.validator.start()  # imports great_expectations while documents are read and parsed
            missing = {entry.doc_id for entry in decisions.deletions}
            approvals.record(ctx, request, _answered(ctx, request, source), missing)
            shards = _write(ctx, request, opened, decisions, verdict, settings, scope, space.id, findings)
            step.done = step.total = decisions.listed
    except BaseException as error:
        ledger.finish_run(ctx.pool, opened.id, "failed", listed=None, counts={}, notes=(_one_line(error),))
        raise
    return Plan(request.source, scope, decisions, verdict, price, opened.id, shards, _notes(ctx, settings))


def _notes(ctx: Context, settings: Pipeline) -> tuple[str, ...]:
    said = remark(ctx, settings)
    return (said,) if said else ()


def _open(ctx: Context, request: SyncRequest) -> Source:
    if request.prefix.startswith("/") or ".." in request.prefix.split("/"):
        raise FixConfiguration(f"prefix {request.prefix!r}: give a path below the source's root, such as 'policies/'")
    return ctx.source(request.source, request.day)


def _scope(source: Source, request: SyncRequest) -> str:
    return source.root(request.prefix)


def _answered(ctx: Context, request: SyncRequest, source: Source) -> str:
    """What the uris start with that this listing answers for: the scope, or every document of a source that is listed whole.

    Its documents outside the root are from before its bucket, folder or table changed, and nothing else would end them.
    """
    whole = not request.prefix and not ctx.settings.source(request.source).dated
    return "" if whole else _scope(source, request)


def _decide(
    ctx: Context, request: SyncRequest, source: Source, settings: Pipeline, broken: Collection[str]
) -> tuple[Decisions, DeletionVerdict]:
    config = ctx.settings.source(request.source)
    answered = _answered(ctx, request, source)
    known = {entry.uri: entry for entry in ledger.known(ctx.pool, PUBLIC_TENANT, request.source, answered)}
    asked = quarantine.replayable(ctx.pool, request.source)
    policy = Policy(
        fingerprint=settings.fingerprint,
        excluded=lambda listed: sources.excluded(config, sources.relative(source.root(), listed.uri)),
        format_of=lambda listed: source.format or format_of(listed.uri),
        full_rescan=request.full_rescan,
        replay={entry.uri for entry in known.values() if entry.doc_id in asked},
        broken=broken,
    )
    decisions = decide.compare(source.list(request.prefix), known, policy)
    present = sum(1 for entry in known.values() if entry.state != "deleted")
    verdict = decide.guard_deletions(
        decisions, present, config.delete_guard, approvals.said(ctx, request), source.root(request.prefix)
    )
    return decisions, verdict


def _write(
    ctx: Context,
    request: SyncRequest,
    opened: ledger.Run,
    decisions: Decisions,
    verdict: DeletionVerdict,
    settings: Pipeline,
    scope: str,
    space: int,
    findings: Sequence[audit.Finding],
) -> tuple[ShardRef, ...]:
    cut = decide.shards(decisions.work, ctx.settings.limits)
    shards = tuple(_shard(ctx, request, opened.id, index, work) for index, work in enumerate(cut, start=1))
    StageFiles(ctx.objects, request.source, opened.id).write_manifest(
        "plan",
        {
            "run_id": opened.id,
            "fence": opened.fence,
            "source": request.source,
            "day": request.day.isoformat() if request.day else None,
            "collection": settings.collection,
            "scope": scope,
            "space": space,
            "chunk_set": settings.chunk_set,
            "fingerprint": settings.fingerprint,
            "listed": decisions.listed,
            "unchanged": decisions.unchanged,
            "quarantined": dict(decisions.quarantined),
            "excluded": dict(decisions.excluded),
            "delete": [[entry.doc_id.hex(), entry.uri] for entry in verdict.allowed],
            "held": [[entry.doc_id.hex(), entry.uri] for entry in verdict.held],
            "held_because": verdict.why,
            "kept": len(verdict.kept),
            "damages": len(findings),
            "remarks": _notes(ctx, settings),
            "repairs": [f"{finding.check} {finding.uri}".rstrip() for finding in findings[:SAMPLE_URIS]],
            "shards": [shard.as_dict() for shard in shards],
        },
    )
    return shards


def _shard(ctx: Context, request: SyncRequest, run_id: int, index: int, work: list[Work]) -> ShardRef:
    name = f"{index:04d}"
    size = sum(item.listed.size for item in work)
    label = f"{name} · {len(work)} documents · {_size(size)}" if work else f"{name} · nothing to do"
    shard = ShardRef(run_id, request.source, name, label, len(work), size)
    rows = [
        {
            "uri": item.listed.uri,
            "version": item.listed.version,
            "size": item.listed.size,
            "modified": item.listed.modified,
            "format": item.format,
            "known_fence": item.known_fence,
            "known_sha": item.known_sha.hex() if item.known_sha else None,
        }
        for item in work
    ]
    files = ctx.files(shard)
    files.write_manifest("planned", {"file": files.write_table("planned", rows, PLANNED)})
    return shard


def planned(ctx: Context, shard: ShardRef) -> list[Work]:
    """The work of a shard, as plan wrote it."""
    files = ctx.files(shard)
    rows = files.read_table(files.require("planned")["file"]).to_pylist()
    return [
        Work(
            RawObject(row["uri"], row["version"], row["size"], row["modified"]),
            row["format"],
            row["known_fence"],
            bytes.fromhex(row["known_sha"]) if row["known_sha"] else None,
        )
        for row in rows
    ]


def manifest(ctx: Context, shard: ShardRef) -> dict[str, Any]:
    """The plan of a shard's run."""
    return StageFiles(ctx.objects, shard.source, shard.run_id).require("plan")


def left_out(ctx: Context, source: Source, name: str, uri: str) -> bool:
    """Whether the source's configuration excludes an address: by its root, by pattern or by type."""
    config = ctx.settings.source(name)
    if not uri.startswith(source.root()):
        return True
    unsupported = (source.format or format_of(uri)) is None
    return unsupported or sources.excluded(config, sources.relative(source.root(), uri))


def _measure(ctx: Context, source: Source, settings: Pipeline, work: list[Work], history: list[dict[str, Any]]) -> Estimate:
    chunks = tokens = 0
    shas: set[bytes] = set()
    with passages(ctx, source, work, settings) as results:
        for result in results:
            for _, cut in result.documents:
                chunks += len(cut)
                tokens += sum(chunk.tokens for chunk in cut)
                shas |= {chunk.text_sha for chunk in cut}
    space = spaces.active(ctx.pool, settings.collection)
    new = len(vectors.missing(ctx.pool, space, sorted(shas))) if space else len(shas)
    return measured(chunks, tokens, new, history, ctx.settings.prices)


def _history(ctx: Context, source: str) -> list[dict[str, Any]]:
    """The stats of the source's past runs, newest first."""
    return [past.stats for past in ledger.history(ctx.pool, source)]


def _bytes_by_format(work: list[Work]) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for item in work:
        sizes[item.format] += item.listed.size
    return sizes


def _reasons(counts: Counter[str]) -> str:
    total = counts.total()
    detail = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
    return f"{total} ({detail})" if detail else str(total)


def _span(price: Any, kind: str) -> str:
    if kind == "exact":
        return f"{price.value:.0f}"
    return f"about {price.value:.0f} ({price.low:.0f}-{price.high:.0f})"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:2000] or type(error).__name__

"""Stage validate: great-expectations suites on a shard's documents and chunks.

A row expectation that fails quarantines its document; a batch expectation that fails stops the shard. Zero rows never pass
a suite, so a shard without documents is not validated and publishes nothing. `embed` calls `check` for the vectors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.errors import FailRun
from pipelines.quality.validator import SuiteResult
from pipelines.records import Reason, ShardRef, Summary
from pipelines.scratch import Scratch
from pipelines.stages import plan
from pipelines.stages.pipeline import of_space
from pipelines.store import ledger, quarantine, spaces

if TYPE_CHECKING:
    from pipelines.context import Context


def run(ctx: Context, shard: ShardRef) -> Summary:
    """Validate what `prepare` wrote. Raises FailRun when a batch expectation fails."""
    with ctx.step(shard.run_id, "validate", shard.shard, shard.documents) as step:
        files = ctx.files(shard)
        chain = files.require("prepare")
        prepared = chain["prepare"]
        rejections = Rejections()
        notes: tuple[str, ...] = ()
        if prepared["counts"]["documents"]:
            ctx.validator.start()
            max_tokens = of_space(ctx, spaces.get(ctx.pool, prepared["space"])).max_tokens
            documents = check(ctx, shard, "documents", files.read_bytes(prepared["documents"]))
            chunks = check(ctx, shard, "chunks", files.read_bytes(prepared["chunks"]), max_tokens=max_tokens)
            failed = {**documents.failed_documents, **chunks.failed_documents}
            rejections = reject(ctx, shard, "validate", prepared, {Reason.VALIDATION_FAILED: failed})
            notes = (data_docs(shard, "documents"), data_docs(shard, "chunks"))
        step.done, step.counts = step.total, {"documents_failed": len(rejections.doc_ids)}
        files.write_manifest("validate", {**chain, "validate": rejections.as_dict()})
    return Summary("validate", str(shard.run_id), step.counts, step.seconds, notes)


def data_docs(shard: ShardRef, suite: str) -> str:
    """Where a suite's Data Docs begin, relative to the objects store."""
    return f"data-docs/{shard.source}/{shard.run_id}/{shard.shard}/{suite}/index.html"


def check(ctx: Context, shard: ShardRef, suite: str, parquet: bytes, **parameters: float) -> SuiteResult:
    """Run one suite, store its result and Data Docs. Raises FailRun when a batch expectation fails."""
    with Scratch() as folder:
        table, docs = folder / f"{suite}.parquet", folder / "docs"
        table.write_bytes(parquet)
        label = f"{shard.source}-{shard.run_id}-{shard.shard}"
        result = ctx.validator.validate(suite, table, docs, label, parameters)
        prefix = data_docs(shard, suite).removesuffix("index.html")
        for page in sorted(path for path in docs.rglob("*") if path.is_file()):
            ctx.objects.put(prefix + page.relative_to(docs).as_posix(), page.read_bytes())
    ledger.record_validation(
        ctx.pool,
        shard.run_id,
        shard.shard,
        suite,
        success=result.success,
        rows=result.rows,
        failed=[_failure(result, index) for index in range(len(result.failures))],
        docs_uri=ctx.objects.uri(data_docs(shard, suite)),
    )
    if not result.success:
        names = ", ".join(f"{failure.expectation}({failure.column})" for failure in result.failures)
        raise FailRun(
            f"suite {suite} failed for shard {shard.shard} of {result.rows} rows: {names}; the shard is not published; "
            f"see {ctx.objects.uri(data_docs(shard, suite))}"
        )
    return result


def _failure(result: SuiteResult, index: int) -> dict[str, Any]:
    failure = result.failures[index]
    return {
        "expectation": failure.expectation,
        "column": failure.column,
        "unexpected": failure.unexpected,
        "detail": failure.detail,
    }


@dataclass(frozen=True, slots=True)
class Rejections:
    """What failed after `prepare`: objects per reason, already quarantined, and attachments that `publish` quarantines."""

    doc_ids: tuple[str, ...] = ()
    reasons: dict[str, int] = field(default_factory=dict)
    members: tuple[dict[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The manifest's form."""
        return {"failed": list(self.doc_ids), "rejected": self.reasons, "members": list(self.members)}


def reject(
    ctx: Context,
    shard: ShardRef,
    stage: str,
    prepared: dict[str, Any],
    failed: Mapping[Reason, Mapping[str, tuple[str, ...]]],
) -> Rejections:
    """Quarantine documents of a prepared shard that failed later; `failed` maps reason to hex doc_id to details.

    An attachment needs its object in the ledger first, so `publish` records it.
    """
    why = {doc_id: (reason, details) for reason, entries in failed.items() for doc_id, details in entries.items()}
    if not why:
        return Rejections()
    run_plan = plan.manifest(ctx, shard)
    rows = [row for row in ctx.files(shard).read_table(prepared["documents"]).to_pylist() if row["doc_id"] in why]
    items = [_item(row, prepared["fingerprint"], stage, *why[row["doc_id"]]) for row in rows if not row["member"]]
    quarantine.record(
        ctx.pool,
        run_id=shard.run_id,
        fence=prepared["fence"],
        source=shard.source,
        collection=run_plan["collection"],
        items=items,
    )
    members = tuple(_member(row, stage, *why[row["doc_id"]]) for row in rows if row["member"])
    return Rejections(tuple(sorted(why)), dict(Counter(item.reason.value for item in items)), members)


def _member(row: dict[str, Any], stage: str, reason: Reason, details: tuple[str, ...]) -> dict[str, Any]:
    kept = {key: row[key] for key in ("doc_id", "parent_doc_id", "uri", "member", "version")}
    return kept | {"reason": reason.value, "detail": ", ".join(details), "stage": stage}


def _item(
    row: dict[str, Any], fingerprint: str, stage: str, reason: Reason, details: tuple[str, ...]
) -> quarantine.Quarantined:
    return quarantine.Quarantined(
        doc_id=bytes.fromhex(row["doc_id"]),
        uri=row["uri"],
        source_version=row["version"],
        pipeline_fingerprint=fingerprint,
        stage=stage,
        reason=reason,
        detail=", ".join(details),
        content_sha=bytes.fromhex(row["content_sha"]) if row["content_sha"] else None,
    )

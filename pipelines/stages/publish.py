"""Stage publish: micro-batches of documents, each batch one transaction, each document fenced.

Refuses a shard whose suites have not all passed. A document whose ledger row changed since the plan is checked against the
source again before it is written, so that older bytes never overwrite newer ones. When the collection was switched to
another space since the shard was prepared, it is prepared, validated and embedded once more, here, for the one that serves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pipelines.errors import FailRun, Switched
from pipelines.records import Reason, ShardRef, Summary
from pipelines.stages import embed, plan, prepare, validate
from pipelines.store import batch as store
from pipelines.store import ledger, lexicon, quarantine, spaces
from pipelines.store.publish import publish as load

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.ports import Source

SUITES = ("documents", "chunks", "vectors")
SWITCHES = 3  # of the collection while one shard is on its way


def run(ctx: Context, shard: ShardRef) -> Summary:
    """Publish one shard. Raises FailRun without passed suites, Retry when a vector is missing or the database fails."""
    for _ in range(SWITCHES):
        try:
            return _run(ctx, shard)
        except Switched:
            for stage in (prepare, validate, embed):
                stage.run(ctx, shard)
    return _run(ctx, shard)


def _run(ctx: Context, shard: ShardRef) -> Summary:
    with ctx.step(shard.run_id, "publish", shard.shard) as step:
        files = ctx.files(shard)
        # One attempt's chain of manifests: a zombie's later file of an earlier stage can't slip in between.
        chain = files.require("embed")
        prepared, validated, embedded = chain["prepare"], chain["validate"], chain["embed"]
        dropped = {*validated["failed"], *embedded["failed"]}
        families = _families(files.read_table(prepared["documents"]).to_pylist(), dropped)
        chunks: dict[str, list[dict[str, Any]]] = {}
        for row in files.read_table(prepared["chunks"]).to_pylist():
            chunks.setdefault(row["doc_id"], []).append(row)
        step.total = len(families)
        outcomes = {"loaded": 0, "superseded": 0, "quarantined": 0}
        if families:
            _require_suites(ctx, shard)
        refused = [*prepared["members"], *validated["members"], *embedded["members"]]
        members: list[dict[str, Any]] = []
        loaded: set[str] = set()
        for batch in _batches(families, ctx.settings.limits.publish_batch_documents):
            outcome = _publish(ctx, shard, prepared, batch, chunks, refused)
            loaded |= {doc_id.hex() for doc_id in outcome.loaded}
            members += _tally(ctx, shard, prepared, batch, outcome, outcomes)
            step.advance(len(batch))
        if outcomes["loaded"]:
            lexicon.fold(ctx.pool)
        # An attachment of an object that another attempt has written is that attempt's to judge.
        _quarantine_members(ctx, shard, prepared, [row for row in members if row["parent_doc_id"] in loaded])
        step.counts = outcomes
        rejected = {Reason.DB_REJECTED.value: outcomes["quarantined"]} if outcomes["quarantined"] else {}
        files.write_manifest("publish", {**chain, "publish": {"counts": outcomes, "rejected": rejected}})
    return Summary("publish", str(shard.run_id), step.counts, step.seconds)


def _require_suites(ctx: Context, shard: ShardRef) -> None:
    passed = ledger.passed_suites(ctx.pool, shard.run_id, shard.shard)
    missing = [suite for suite in SUITES if suite not in passed]
    if missing:
        raise FailRun(
            f"shard {shard.shard} of run {shard.run_id}: no passed result of suite {', '.join(missing)}; "
            "nothing is published; clear its validate and embed tasks"
        )


def _families(rows: list[dict[str, Any]], dropped: set[str]) -> list[list[dict[str, Any]]]:
    """Each object with its attachments; an object that was dropped takes its attachments along."""
    ordered = sorted(rows, key=lambda row: (row["uri"], row["member"]))
    families = [list(group) for _, group in groupby(ordered, key=lambda row: row["uri"])]
    alive = [family for family in families if not family[0]["member"] and family[0]["doc_id"] not in dropped]
    return [[row for row in family if row["doc_id"] not in dropped] for family in alive]


def _batches(families: list[list[dict[str, Any]]], size: int) -> Iterator[list[list[dict[str, Any]]]]:
    for start in range(0, len(families), size):
        yield families[start : start + size]


def _publish(
    ctx: Context,
    shard: ShardRef,
    prepared: dict[str, Any],
    families: list[list[dict[str, Any]]],
    chunks: dict[str, list[dict[str, Any]]],
    refused: list[dict[str, Any]],
) -> store.Outcome:
    run_plan = plan.manifest(ctx, shard)
    documents = [row for family in families for row in family]
    day = date.fromisoformat(run_plan["day"]) if run_plan["day"] else None
    versions = {bytes.fromhex(row["doc_id"]): (row["uri"], row["version"]) for row in documents}

    def still_current(doc_ids: Sequence[bytes]) -> set[bytes]:
        return _current(ctx.source(shard.source, day), {doc_id: versions[doc_id] for doc_id in doc_ids})

    return load(
        ctx.pool,
        store.Batch(
            run_id=shard.run_id,
            fence=prepared["fence"],
            space=spaces.get(ctx.pool, prepared["space"]),
            documents=tuple(_document(row, shard.source, prepared["fingerprint"]) for row in documents),
            chunks=tuple(stored_chunk(row) for entry in documents for row in chunks[entry["doc_id"]]),
            refused=[
                _refused(row, prepared["fingerprint"]) for row in refused if bytes.fromhex(row["parent_doc_id"]) in versions
            ],
        ),
        still_current,
    )


def _current(source: Source, versions: dict[bytes, tuple[str, str]]) -> set[bytes]:
    """Those whose object is at their version; each object is asked once, so that it and its attachments share the answer."""
    uris = sorted({uri for uri, _ in versions.values()})
    with ThreadPoolExecutor(8, thread_name_prefix="recheck") as threads:
        now = dict(zip(uris, threads.map(source.current_version, uris), strict=True))
    return {doc_id for doc_id, (uri, version) in versions.items() if now[uri] == version}


def _document(row: dict[str, Any], source: str, fingerprint: str) -> store.DocumentRow:
    return store.DocumentRow(
        doc_id=bytes.fromhex(row["doc_id"]),
        source=source,
        pipeline_fingerprint=fingerprint,
        uri=row["uri"],
        member=row["member"],
        parent_doc_id=bytes.fromhex(row["parent_doc_id"]) if row["parent_doc_id"] else None,
        source_version=row["version"],
        content_sha=bytes.fromhex(row["content_sha"]),
        title=row["title"],
        media_type=row["media_type"],
        lang=row["lang"],
        metadata=json.loads(row["metadata"]),
        warnings=tuple(row["warning_codes"]),
        bytes=row["bytes"],
        source_modified=row["modified"],
        expected_fence=row["known_fence"] or 0,
    )


def stored_chunk(row: dict[str, Any]) -> store.ChunkRow:
    """A row of the schema CHUNKS as it is stored."""
    return store.ChunkRow(
        doc_id=bytes.fromhex(row["doc_id"]),
        ordinal=row["ordinal"],
        text_sha=bytes.fromhex(row["text_sha"]),
        body=row["text"],
        heading_path=tuple(row["heading_path"]),
        char_start=row["char_start"],
        char_end=row["char_end"],
        tokens=row["tokens"],
        lang=row["lang"],
        kind=row["kind"],
    )


def _tally(
    ctx: Context,
    shard: ShardRef,
    prepared: dict[str, Any],
    families: list[list[dict[str, Any]]],
    outcome: store.Outcome,
    outcomes: dict[str, int],
) -> Sequence[dict[str, Any]]:
    """Count objects (an attachment counts with its object) and quarantine those that the database rejected; returns the
    rejected attachments."""
    objects = {bytes.fromhex(family[0]["doc_id"]) for family in families}
    rejected = {doc_id.hex(): (f"SQLSTATE {state}: {detail}",) for doc_id, state, detail in outcome.rejected}
    rejections = validate.reject(ctx, shard, "publish", prepared, {Reason.DB_REJECTED: rejected})
    outcomes["loaded"] += len(objects & set(outcome.loaded))
    outcomes["superseded"] += len(objects & set(outcome.superseded))
    outcomes["quarantined"] += sum(1 for doc_id in rejected if bytes.fromhex(doc_id) in objects)
    return rejections.members


def _quarantine_members(ctx: Context, shard: ShardRef, prepared: dict[str, Any], members: list[dict[str, Any]]) -> None:
    """Attachments that the database rejected; one that a kill here loses is missed by the audit."""
    run_plan = plan.manifest(ctx, shard)
    quarantine.record(
        ctx.pool,
        run_id=shard.run_id,
        fence=prepared["fence"],
        source=shard.source,
        collection=run_plan["collection"],
        items=[_refused(row, prepared["fingerprint"]) for row in members],
    )


def _refused(row: dict[str, Any], fingerprint: str) -> quarantine.Quarantined:
    return quarantine.Quarantined(
        doc_id=bytes.fromhex(row["doc_id"]),
        uri=row["uri"],
        member=row["member"],
        parent_doc_id=bytes.fromhex(row["parent_doc_id"]),
        source_version=row["version"],
        reason=Reason(row["reason"]),
        detail=row["detail"],
        pipeline_fingerprint=fingerprint,
        stage=row["stage"],
    )

"""Stage settle: deletions, accounting, audit, the end of the run. The only stage that may turn a run green.

Reads the plan and the shards' manifests; an object without an outcome, an audit finding or a held deletion makes the run
red, after everything that is safe has been done.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pipelines.errors import FailRun, Held, Retry
from pipelines.records import Accounting, ShardRef, State
from pipelines.stages import audit as source_audit
from pipelines.stages.confirm import confirm
from pipelines.stages.files import StageFiles
from pipelines.stages.savings import savings
from pipelines.store import audit, collect, deletions, ledger, lexicon, maintenance, questions, space_index, spaces

if TYPE_CHECKING:
    from pipelines.context import Context

STAGES = ("prepare", "validate", "embed", "publish")
SHOWN = 5
SAMPLE = 5  # documents that a run reads again to compare their bytes; `millrace audit` reads more
CACHE_DAYS = 30  # how long a vector is kept that no text needs


@dataclass(slots=True)
class _Sums:
    """The run's outcomes, added up from plan and manifests."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    stats: Counter[str] = field(default_factory=Counter)
    formats: dict[str, Counter[str]] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # notes that say nothing against the run
    unaccounted: int = 0
    holders: set[int] = field(default_factory=set)  # the runs under whose number the held deletions are approved


def run(ctx: Context, run_id: int) -> Accounting:
    """Settle a run. Raises FailRun for any gap or finding, Held when deletions wait for a person."""
    opened = ledger.run(ctx.pool, run_id)
    run_plan = StageFiles(ctx.objects, opened.source, run_id).require("plan")
    with ctx.step(run_id, "settle") as step:
        sums = _add_up(ctx, run_plan)
        _delete(ctx, run_plan, sums)
        _index(ctx, run_plan, sums)
        _caught_up(ctx, run_plan, sums)
        _collect_garbage(ctx, sums)
        _analyse(ctx, sums)
        _forget_questions(ctx, run_plan["collection"])
        lexicon.fold(ctx.pool)
        changed = bool(sums.counts[State.LOADED] or sums.counts[State.DELETED])
        findings = audit.audit(ctx.pool, opened.source, contents=changed or bool(run_plan["damages"]))
        findings += _sampled(ctx, opened, sums, changed)
        notes = _notes(run_plan, sums, findings)
        stats = _stats(opened, run_plan, sums)
        stats |= savings(stats, [run.stats for run in ledger.history(ctx.pool, opened.source)])
        state = _state(run_plan, sums, findings)
        accounting = Accounting(
            run_id, opened.source, state, run_plan["listed"], dict(sums.counts), dict(sums.reasons), stats, notes
        )
        ledger.finish_run(
            ctx.pool,
            run_id,
            state,
            listed=run_plan["listed"],
            counts=accounting.counts,
            reasons=accounting.reasons,
            stats=stats,
            notes=notes,
        )
        step.done = step.total = run_plan["listed"]
        if state == "failed":
            raise FailRun("; ".join(notes))
    if state == "held":
        raise Held(notes[0])
    return accounting


def _add_up(ctx: Context, run_plan: dict[str, Any]) -> _Sums:
    sums = _Sums()
    sums.counts.update({state.value: 0 for state in State})
    sums.stats.update(dict.fromkeys(("documents", "chunks", "tokens", "embedded", "reused", "superseded"), 0))
    sums.remarks += run_plan["remarks"]
    sums.counts[State.UNCHANGED] += run_plan["unchanged"]
    for state in (State.QUARANTINED, State.EXCLUDED):
        sums.reasons.update(run_plan[state.value])
        sums.counts[state] += sum(run_plan[state.value].values())
    stages = ledger.progress(ctx.pool, run_plan["run_id"])
    errors = {(stage.stage, stage.shard): stage.error for stage in stages if stage.error}
    for entry in run_plan["shards"]:
        _add_shard(ctx, ShardRef(**entry), sums, errors)
    listed = run_plan["listed"]
    in_listing = sum(sums.counts[state] for state in State if state is not State.DELETED)
    if in_listing + sums.unaccounted != listed:
        sums.gaps.append(f"{listed} objects were listed but {in_listing + sums.unaccounted} have an outcome")
    return sums


def _add_shard(ctx: Context, shard: ShardRef, sums: _Sums, errors: dict[tuple[str, str], str]) -> None:
    files = ctx.files(shard)
    chain = files.manifest("publish")
    if chain is None:
        if shard.documents:
            stopped = next((stage for stage in STAGES if files.manifest(stage) is None), "publish")
            why = f" ({errors[stopped, shard.shard]})" if (stopped, shard.shard) in errors else ""
            sums.unaccounted += shard.documents
            sums.gaps.append(f"shard {shard.shard} stopped at {stopped}{why}: {shard.documents} documents have no outcome")
        return
    prepared, published = chain["prepare"], chain["publish"]
    sums.counts[State.UNCHANGED] += prepared["unchanged"] + published["counts"]["superseded"]
    sums.counts[State.LOADED] += published["counts"]["loaded"]
    sums.stats["superseded"] += published["counts"]["superseded"]
    reasons = Counter(reason for _, reason in prepared["rejected"])
    for stage in ("validate", "embed", "publish"):
        reasons.update(chain[stage]["rejected"])
    sums.reasons.update(reasons)
    sums.counts[State.QUARANTINED] += reasons.total()
    embedded = chain["embed"]["counts"]
    sums.stats.update({key: embedded.get(key, 0) for key in ("embedded", "reused", "canaries", "canaries_exact")})
    sums.stats["embed_milliseconds"] += embedded.get("milliseconds", 0)
    sums.stats.update({key: prepared["counts"][key] for key in ("documents", "chunks", "tokens", "attachments_quarantined")})
    for fmt, numbers in prepared["formats"].items():
        sums.formats.setdefault(fmt, Counter()).update(numbers)


def _delete(ctx: Context, run_plan: dict[str, Any], sums: _Sums) -> None:
    """Delete what the plan allows and the source confirms to be gone; hold the rest exactly as listed."""
    run_id, source = run_plan["run_id"], run_plan["source"]
    if run_plan["held"]:
        held = {bytes.fromhex(doc_id): uri for doc_id, uri in run_plan["held"]}
        deletions.hold(ctx.pool, run_id, source, held.items())
        sums.holders = {hold.run_id for hold in deletions.open_holds(ctx.pool, source) if hold.doc_id in held}
    if not run_plan["delete"]:
        return
    confirmed = confirm(ctx, run_plan)
    sums.gaps += confirmed.gaps()
    outcome = deletions.delete(ctx.pool, run_id=run_id, fence=run_plan["fence"], doc_ids=confirmed.gone)
    sums.counts[State.DELETED] += len(outcome.deleted)
    sums.stats["deletions_superseded"] += len(run_plan["delete"]) - len(outcome.deleted)


def _sampled(ctx: Context, opened: ledger.Run, sums: _Sums, changed: bool) -> list[audit.Finding]:
    """Some documents compared with the source, which reads objects: after a change of the corpus, else once a day."""
    if not changed and ledger.sampled_today(ctx.pool, opened.source):
        return []
    try:
        found = source_audit.sampled(ctx, opened.source, SAMPLE, opened.fence)
    except Retry as error:
        sums.remarks.append(f"no sample was compared with the source: {error}")
        return []
    sums.stats["sampled"] = SAMPLE
    return found


def _index(ctx: Context, run_plan: dict[str, Any], sums: _Sums) -> None:
    """The index of the space that serves, once a first load is done; until it is there, search compares exactly.

    Whoever builds it at this moment may be stopped for long; a run does not wait for that.
    """
    space = spaces.active(ctx.pool, run_plan["collection"])
    if space is None:
        return
    try:
        sums.stats["indexes_built"] += space_index.ensure_index(ctx.pool, space, patience=0)
    except Retry as error:
        sums.remarks.append(f"the index of space {space.id} is not built yet, search compares exactly: {error}")


def _caught_up(ctx: Context, run_plan: dict[str, Any], sums: _Sums) -> None:
    """What the catch-up of the spaces that do not serve did, if there are such."""
    told = StageFiles(ctx.objects, run_plan["source"], run_plan["run_id"]).manifest("catch_up")
    if told is not None:
        sums.remarks += told["notes"]
        sums.stats["caught_up"] += told["counts"]["texts"]


def _collect_garbage(ctx: Context, sums: _Sums) -> None:
    if sums.counts[State.LOADED] or sums.counts[State.DELETED]:
        sums.stats["texts_collected"] += collect.collect(ctx.pool, cache_days=CACHE_DAYS).texts


def _analyse(ctx: Context, sums: _Sums) -> None:
    """After a load as large as the corpus: without statistics a search takes fifty times as long."""
    if sums.counts[State.LOADED]:
        maintenance.analyse_unknown(ctx.pool)


def _forget_questions(ctx: Context, collection: str) -> None:
    """Those older than the collection keeps them; all, once it keeps none."""
    questions.expire(ctx.pool, collection, ctx.settings.collections[collection].keep_questions_days)


def _stats(opened: ledger.Run, run_plan: dict[str, Any], sums: _Sums) -> dict[str, Any]:
    return {
        **sums.stats,
        **({"held_because": run_plan["held_because"]} if run_plan["held"] else {}),
        "formats": {fmt: dict(numbers) for fmt, numbers in sums.formats.items()},
        "seconds": round((datetime.now(UTC) - opened.started_at).total_seconds(), 1),
    }


def _state(run_plan: dict[str, Any], sums: _Sums, findings: list[audit.Finding]) -> Literal["succeeded", "held", "failed"]:
    if sums.gaps or findings:
        return "failed"
    return "held" if run_plan["held"] else "succeeded"


def _notes(run_plan: dict[str, Any], sums: _Sums, findings: list[audit.Finding]) -> tuple[str, ...]:
    notes = list(sums.gaps)
    for finding in findings[:SHOWN]:
        notes.append(f"audit: {finding.check}: {finding.uri or finding.doc_id} {finding.detail}".rstrip())
    if len(findings) > SHOWN:
        notes.append(f"audit: and {len(findings) - SHOWN} more findings; `millrace audit {run_plan['source']}` lists them")
    if run_plan["held"]:
        command = f"`millrace sync {run_plan['source']}"
        approve = " and ".join(f"{command} --approve {holder}`" for holder in sorted(sums.holders))
        reject = " and ".join(f"{command} --reject {holder}`" for holder in sorted(sums.holders))
        notes.append(
            f"{len(run_plan['held'])} deletions are held because {run_plan['held_because']}; everything else was done; "
            f"approve exactly these with {approve} or the DAG's approve_held, keep them served with {reject} or reject_held"
        )
    if run_plan["kept"]:
        notes.append(
            f"{run_plan['kept']} documents that the source no longer has are kept, as decided; "
            f"`millrace held {run_plan['source']}` lists them"
        )
    if run_plan["damages"]:
        shown = ", ".join(run_plan["repairs"][:SHOWN])
        notes.append(f"{run_plan['damages']} damages were found before the run and repaired by it: {shown}")
    if sums.stats["superseded"]:
        notes.append(f"{sums.stats['superseded']} documents were already written by a newer run")
    return (*notes, *sums.remarks)

"""Re-embed a collection: a space of another model or of other passages, filled beside the one that serves.

    plan -> rechunk (spans, only for another chunk set) -> measure -> fill (spans) -> build -> verify -> switch -> settle

Nothing is held up meanwhile: syncs publish into the space that serves, and their catch-up keeps the new one complete.
Every stage may be repeated; what is done is found in the tables. `run` does all of it in one process, the DAG `reembed`
spreads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import FailRun, FixConfiguration
from pipelines.records import Budget, ReembedRequest, SpanRef, Summary
from pipelines.stages import catch_up, fill, rechunk, verify
from pipelines.stages import switch as switching
from pipelines.stages.decide import MAX_SHARDS
from pipelines.stages.pipeline import ensure_chunk_set, wanted
from pipelines.store import fill as store
from pipelines.store import ledger, space_index, spaces

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.store.fill import Missing
    from pipelines.store.spaces import Space

TEXTS_PER_SPAN = 20_000
SOURCE = "reembed.{}"  # what a run of this kind calls its source; no source of sources.yaml has a dot in its name


@dataclass(frozen=True, slots=True)
class Reembedding:
    """An open run: the space to fill, what it lacks, the spans of documents to cut anew."""

    run_id: int
    space: Space
    lacking: Missing
    spans: tuple[SpanRef, ...]

    def text(self) -> str:
        """One line for a person."""
        return (
            f"space {self.space.id} of {self.space.collection} ({self.space.model}, {self.space.state}): "
            f"{self.lacking.documents} documents to cut anew, {self.lacking.texts} texts of {self.lacking.tokens} tokens "
            "to embed" + (", more once they are cut" if self.lacking.documents else "")
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a re-embedding ended. `left`: what its budget did not suffice for."""

    run_id: int
    collection: str
    space: int
    state: str  # of the space
    counts: dict[str, int]
    report: dict[str, Any]
    left: int = 0
    retired: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def run(ctx: Context, request: ReembedRequest) -> Outcome:
    """All of it in this process. Raises FailRun when the space is not good enough, and whatever the stages raise."""
    fence = ledger.next_fence(ctx.pool)
    with ctx.alive(fence):
        planned = plan(ctx, request, fence)
        try:
            for span in planned.spans:
                rechunk.run(ctx, span)
            for span in measure(ctx, planned.run_id):
                fill.run(ctx, span)
            if not build(ctx, planned.run_id).counts["left"]:
                check(ctx, planned.run_id)
                switch(ctx, planned.run_id)
        except BaseException as error:
            _close(ctx, planned.run_id, "failed", (" ".join(str(error).split())[:2000] or type(error).__name__,))
            raise
        return settle(ctx, planned.run_id)


def plan(ctx: Context, request: ReembedRequest, fence: int | None = None) -> Reembedding:
    """Open a run and its space. Raises FixConfiguration for a collection without a space and for an unknown model."""
    settings = wanted(ctx, request.collection, request.model)
    if spaces.active(ctx.pool, request.collection) is None:
        raise FixConfiguration(
            f"collection {request.collection!r} is empty; its first sync uses the configured model anyway"
        )
    space = spaces.begin(
        ctx.pool,
        ctx.models.embedder(settings.model),
        collection=request.collection,
        chunk_set=ensure_chunk_set(ctx, settings),
        storage=ctx.models.entry(settings.model).storage,
    )
    opened = ledger.start_run(
        ctx.pool,
        source=SOURCE.format(request.collection),
        collection=request.collection,
        door=request.door,
        external_id=request.external_id,
        scope="",
        fence=ledger.next_fence(ctx.pool) if fence is None else fence,
        request={**request.as_dict(), "space": space.id},
    )
    with ctx.step(opened.id, "plan") as step:
        lacking, limits = store.missing(ctx.pool, space), ctx.settings.limits
        count = max(-(-lacking.documents // limits.shard_documents), -(-lacking.document_bytes // limits.shard_bytes))
        step.counts = {"documents": lacking.documents, "texts": lacking.texts, "tokens": lacking.tokens}
    return Reembedding(opened.id, space, lacking, _spans(opened.id, space, count, Budget()))


def measure(ctx: Context, run_id: int) -> tuple[SpanRef, ...]:
    """Count the texts to embed, now that all are cut, and divide them and the budget into spans."""
    opened = ledger.run(ctx.pool, run_id)
    with ctx.step(run_id, "measure") as step:
        space = _space(ctx, run_id)
        lacking = store.missing(ctx.pool, space)
        step.counts = {"texts": lacking.texts, "tokens": lacking.tokens}
    budget = _shared(ctx, Budget(**opened.request["budget"]))
    return _spans(run_id, space, -(-lacking.texts // TEXTS_PER_SPAN), budget, opened.started_at.timestamp())


def build(ctx: Context, run_id: int) -> Summary:
    """Complete what changed meanwhile, then build the index. `left` counts what the budget did not suffice for."""
    space = _space(ctx, run_id)
    stopped = _stopped(ctx, run_id)
    with ctx.step(run_id, "build") as step:
        step.counts = {**dict.fromkeys(catch_up.COUNTS, 0), "built": 0, "left": 0}
        if not stopped and store.missing(ctx.pool, space):
            catch_up.complete(ctx, space, run_id, step)
        lacking = store.missing(ctx.pool, space)
        step.counts["left"] = lacking.documents + lacking.texts if stopped else 0
        if lacking and not stopped:
            raise FailRun(_unfinished(space, lacking, step.counts))
        if not lacking:
            step.counts["built"] = int(space_index.ensure_index(ctx.pool, space))
    return Summary("build", str(run_id), step.counts, step.seconds)


def check(ctx: Context, run_id: int) -> verify.Report:
    """Verify the space. Raises FailRun with what is not good enough; the report is stored either way."""
    space = _space(ctx, run_id)
    with ctx.step(run_id, "verify"):
        report = verify.run(ctx, space, by=_request(ctx, run_id)["decided_by"])
        if not report.passed:
            raise FailRun(
                f"space {space.id} of collection {space.collection!r} does not serve: {'; '.join(report.failures)}; "
                f"`millrace spaces {space.collection}` shows the report, "
                f"`millrace retire {space.collection} {space.id}` drops it"
            )
    return report


def switch(ctx: Context, run_id: int) -> bool:
    """Let the space serve if that was asked for; whether it does now. Raises FailRun while anything is missing."""
    space, request = _space(ctx, run_id), _request(ctx, run_id)
    if not request["switch"] or space.state == "active":
        return False
    with ctx.step(run_id, "switch"):
        switching.switch(ctx, space.collection, space.id, request["decided_by"])
    return True


def settle(ctx: Context, run_id: int) -> Outcome:
    """Retire spaces that are past their days, and close the run. Raises FailRun when a stage of it failed."""
    request, space = _request(ctx, run_id), _space(ctx, run_id)
    failed = [entry for entry in ledger.progress(ctx.pool, run_id) if entry.state != "succeeded"]
    if failed:
        notes = tuple(f"{entry.stage} {entry.shard}: {entry.error or 'did not end'}" for entry in failed)
        _close(ctx, run_id, "failed", notes)
        raise FailRun(
            f"{'; '.join(notes)}; nothing was switched; `millrace reembed {space.collection}` goes on where it stopped"
        )
    days = request["keep_days"]
    retired = [] if days is None else switching.retire_old(ctx, space.collection, days, request["decided_by"])
    lacking = store.missing(ctx.pool, space) if _stopped(ctx, run_id) else None
    left = lacking.documents + lacking.texts if lacking else 0
    report = next((one.space.report for one in switching.overview(ctx, space.collection) if one.space.id == space.id), {})
    notes = tuple(_notes(space, left, request["switch"]))
    _close(ctx, run_id, "succeeded", notes)
    counts = _totals(ctx, run_id)
    return Outcome(run_id, space.collection, space.id, space.state, counts, report, left, tuple(retired), notes)


def _spans(run_id: int, space: Space, count: int, budget: Budget, began: float = 0.0) -> tuple[SpanRef, ...]:
    """Equal ranges of 32-byte hashes, which are spread evenly; none for no work. The budget's seconds count from `began`."""
    count = min(count, MAX_SHARDS)
    edges = [b"", *((number * 2**256 // count).to_bytes(32, "big") for number in range(1, count)), b"\xff" * 32]
    until = None if budget.seconds is None else began + budget.seconds
    return tuple(
        SpanRef(
            run_id=run_id,
            space=space.id,
            shard=f"{number + 1:04d}",
            label=f"{number + 1:04d} of {count:04d}",
            after=edges[number].hex(),
            last=edges[number + 1].hex(),
            texts=_part(budget.texts, count),
            tokens=_part(budget.tokens, count),
            seconds=None if budget.cost is None else budget.cost / count,
            until=until,
        )
        for number in range(count)
    )


def _part(whole: int | None, count: int) -> int | None:
    return None if whole is None else -(-whole // count)


def _shared(ctx: Context, budget: Budget) -> Budget:
    """The budget with its cost as seconds of work, at the price of an hour."""
    price = ctx.settings.prices.cpu_hour
    if budget.cost is None or not price:
        return Budget(budget.texts, budget.tokens, budget.seconds, None)
    return Budget(budget.texts, budget.tokens, budget.seconds, budget.cost / price * 3600)


def _request(ctx: Context, run_id: int) -> dict[str, Any]:
    return ledger.run(ctx.pool, run_id).request


def _space(ctx: Context, run_id: int) -> Space:
    return spaces.get(ctx.pool, int(_request(ctx, run_id)["space"]))


def _stopped(ctx: Context, run_id: int) -> bool:
    """Whether a budget ended the fill."""
    return any(entry.counts.get("stopped") for entry in ledger.progress(ctx.pool, run_id) if entry.stage == "fill")


def _totals(ctx: Context, run_id: int) -> dict[str, int]:
    totals = dict.fromkeys(catch_up.COUNTS, 0)
    for entry in ledger.progress(ctx.pool, run_id):
        if entry.stage not in {"plan", "measure"}:
            for name in totals:
                totals[name] += entry.counts.get(name, 0)
    return totals


def _unfinished(space: Space, lacking: Missing, counts: dict[str, int]) -> str:
    why = ", ".join(f"{counts[name]} {name}" for name in (*rechunk.OUTCOMES[2:], "refused") if counts[name])
    return (
        f"space {space.id} of collection {space.collection!r} still lacks {lacking.documents} documents and {lacking.texts} "
        f"texts ({why or 'they appeared just now'}); sync the collection's sources, correct or exclude what is rejected, "
        f"then run `millrace reembed {space.collection}` again"
    )


def _notes(space: Space, left: int, asked: bool) -> list[str]:
    if left:
        return [f"stopped at its budget with {left} documents and texts left; `millrace reembed {space.collection}` goes on"]
    if space.state == "shadow" and not asked:
        return [f"ready: `millrace switch {space.collection} {space.id}` lets it serve"]
    return []


def _close(ctx: Context, run_id: int, state: Any, notes: tuple[str, ...]) -> None:
    ledger.finish_run(ctx.pool, run_id, state, listed=0, counts={}, stats=_totals(ctx, run_id), notes=notes)

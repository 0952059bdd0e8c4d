"""Stage promotion: may a challenger serve, and if a person or the policy says so too, let it.

    propose: evaluate if the verdict is older than the space, the champion or the benchmarks; weigh; judge; write the page
    promote: approve, then one transaction changes vectors, passages, champion and the proposal itself
    reject, expire: decided against, with the reason

A proposal that a check refuses is kept with all its reasons and goes no further. What was proposed is promoted only in the
place of the champion that it was compared with, and only while the newest evaluation still says so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipelines.errors import FailRun, FixConfiguration, MillraceError
from pipelines.evaluate import promotion, promotion_page
from pipelines.stages import evaluate, weigh
from pipelines.stages import switch as switching
from pipelines.store import benchmarks, promotions, registry, spaces
from pipelines.store.space_states import Switch

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.store.promotions import Proposal
    from pipelines.store.registry import Version, Waiting
    from pipelines.store.spaces import Space

PATH = "promotion/{}/{}/index.html"  # below data-docs/
POLICY = "policy"  # who approves where gates.yaml says automatic


@dataclass(frozen=True, slots=True)
class Proposed:
    """A judged challenger, and where its page is."""

    proposal: Proposal
    uri: str

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self.proposal), "at": self.proposal.at.isoformat(), "uri": self.uri}

    def text(self) -> str:
        """Some lines for a person."""
        lines = [self.proposal.text(), *(f"  {check['name']}: {check['reason']}" for check in self.proposal.checks)]
        return "\n".join([*lines, f"  page: {self.uri}"])


def choose(ctx: Context, collection: str, name: str = "") -> Version:
    """The version of this name, or the challenger of the collection. Raises FixConfiguration when there is none."""
    ctx.settings.require_collection(collection)
    if name:
        return registry.get(ctx.pool, name)
    alias = f"challenger of {collection}"
    found = next((version for version in registry.versions(ctx.pool) if alias in version.aliases), None)
    if found is None:
        raise FixConfiguration(
            f"no challenger waits in collection {collection!r}; name a version, `millrace models list` shows them"
        )
    return found


def waits(ctx: Context, collection: str, version: Version) -> bool:
    """Whether a verified space of the version waits. Raises FixConfiguration when it serves already."""
    if f"champion of {collection}" in version.aliases:
        raise FixConfiguration(f"{version.name} serves collection {collection!r} already; name another version")
    return registry.waiting(ctx.pool, version, collection) is not None


def propose(
    ctx: Context,
    collection: str,
    name: str = "",
    by: str = "",
    *,
    door: Literal["cli", "airflow"] = "cli",
    external_id: str = "",
) -> Proposed:
    """Judge a waiting version, keep the verdict with every reason, and write the page.

    Raises FixConfiguration when no verified space of it waits, and what an evaluation raises.
    """
    version = choose(ctx, collection, name)
    found, serving = _waiting(ctx, collection, version), _serving(ctx, collection)
    if not _judged(ctx, collection, found, serving):
        evaluate.run(ctx, collection, door=door, external_id=external_id)
        found, serving = _waiting(ctx, collection, version), _serving(ctx, collection)
    # Without a benchmark nothing was evaluated now, and what was before is no verdict beside this champion.
    evaluation = found.evaluation if found.beside == serving.id else None
    decision = None
    if evaluation is not None:
        decision = promotion.decision_of(promotions.decision(ctx.pool, evaluation, found.space))
    weights = weigh.run(ctx, serving, spaces.get(ctx.pool, found.space))
    judgement = promotion.judge(decision, weights, ctx.settings.gates)
    number = promotions.add(
        ctx.pool,
        collection,
        version=version.id,
        space=found.space,
        beside=serving.id,
        evaluation=evaluation,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        checks=judgement.as_dicts(),
        by=by,
    )
    return _with_page(ctx, number, serving, judgement)


def require(proposed: Proposed) -> None:
    """Raise FailRun with every reason unless the challenger may be promoted."""
    proposal = proposed.proposal
    if proposal.verdict != "promote":
        raise FailRun(
            f"{proposal.version} stays where it is: proposal {proposal.id} says {proposal.verdict}: "
            f"{'; '.join(proposal.reasons)}; page: {proposed.uri}; `millrace switch {proposal.collection} {proposal.space}` "
            "lets it serve all the same"
        )


def promote(ctx: Context, number: int, by: str) -> Switch:
    """Approve a proposal and let it serve; whoever repeats what he did before is given the same answer.

    Raises FailRun when somebody else decided, when it is too old or overtaken, and when a newer evaluation says otherwise;
    and what a switch raises: then it stays approved, and may be promoted again.
    """
    proposal = promotions.get(ctx.pool, number)
    done = Switch(proposal.collection, proposal.beside, proposal.space)
    if proposal.state == "promoted" and proposal.decided_by == by and _serves(ctx, proposal):
        return done
    _require_open(ctx, proposal)
    _require_current(ctx, proposal)
    if proposal.state == "proposed" and not promotions.decide(ctx.pool, number, "approved", by=by):
        _require_open(ctx, promotions.get(ctx.pool, number))  # one that another approved meanwhile is completed
    try:
        return switching.switch(ctx, proposal.collection, proposal.space, by, instead_of=proposal.beside)
    except MillraceError:
        _require_open(ctx, promotions.get(ctx.pool, number))
        raise


def promote_version(ctx: Context, collection: str, name: str, by: str) -> Switch:
    """Propose a version, unless a proposal of it waits that still holds, and promote it. Raises what both raise."""
    version = choose(ctx, collection, name)
    found = _waiting(ctx, collection, version)
    proposal = promotions.waiting(ctx.pool, found.space)
    if proposal is None or not (proposal.state == "approved" or _holds(ctx, proposal, found)):
        proposed = propose(ctx, collection, version.name, by)
        require(proposed)
        proposal = proposed.proposal
    return promote(ctx, proposal.id, by)


def reject(ctx: Context, number: int, by: str, reason: str = "") -> Proposal:
    """Decide against a proposal that waits. Raises FailRun when it waits no more."""
    if not promotions.decide(ctx.pool, number, "rejected", by=by, reason=reason):
        raise FailRun(f"{promotions.get(ctx.pool, number).text()}; only what waits can be rejected")
    return promotions.get(ctx.pool, number)


def expire(ctx: Context, number: int) -> Proposal:
    """End a proposal that nobody decided about; one that was decided stays so."""
    reason = f"nobody decided within {ctx.settings.gates.approval_hours:g} hours"
    promotions.decide(ctx.pool, number, "expired", reason=reason)
    return promotions.get(ctx.pool, number)


def listed(ctx: Context, collection: str | None = None) -> list[Proposal]:
    """The newest proposals of one collection or of all."""
    if collection is not None:
        ctx.settings.require_collection(collection)
    return promotions.listed(ctx.pool, collection)


def _waiting(ctx: Context, collection: str, version: Version) -> Waiting:
    found = registry.waiting(ctx.pool, version, collection)
    if found is None:
        raise FixConfiguration(
            f"no verified space of {version.name} waits in collection {collection!r}; "
            f"`millrace reembed {collection} --model {version.name}` makes one"
        )
    return found


def _serving(ctx: Context, collection: str) -> Space:
    found = spaces.active(ctx.pool, collection)
    assert found is not None  # where a space waits, one serves
    return found


def _judged(ctx: Context, collection: str, found: Waiting, serving: Space) -> bool:
    """Whether the newest verdict is about this champion and the present benchmarks."""
    if found.evaluation is None or found.beside != serving.id:
        return False
    decision = promotions.decision(ctx.pool, found.evaluation, found.space)
    return {entry["slice"] for entry in decision["slices"]} == {
        entry.label for entry in benchmarks.current(ctx.pool, collection)
    }


def _holds(ctx: Context, proposal: Proposal, found: Waiting) -> bool:
    """Whether a proposal that waits is of the newest evaluation and young enough."""
    return proposal.evaluation == found.evaluation and not _too_old(ctx, proposal)


def _too_old(ctx: Context, proposal: Proposal) -> bool:
    return proposal.state == "proposed" and proposal.age > 3600 * ctx.settings.gates.approval_hours


def _serves(ctx: Context, proposal: Proposal) -> bool:
    return _serving(ctx, proposal.collection).id == proposal.space


def _require_open(ctx: Context, proposal: Proposal) -> None:
    now = expire(ctx, proposal.id) if _too_old(ctx, proposal) else proposal
    if not now.open:
        raise FailRun(f"{now.text()}; `millrace models proposals {now.collection}` lists what waits")


def _require_current(ctx: Context, proposal: Proposal) -> None:
    """A newer evaluation may have changed its mind."""
    found = registry.waiting(ctx.pool, registry.get(ctx.pool, proposal.version), proposal.collection)
    if found is not None and found.evaluation != proposal.evaluation and found.verdict != "promote":
        raise FailRun(
            f"proposal {proposal.id} is of evaluation {proposal.evaluation}, and evaluation {found.evaluation} says "
            f"{found.verdict} since: {found.reason}; propose {proposal.version} again"
        )


def _with_page(ctx: Context, number: int, serving: Space, judgement: promotion.Judgement) -> Proposed:
    proposal = promotions.get(ctx.pool, number)
    content = promotion_page.render(
        promotion_page.Content(
            collection=proposal.collection,
            number=number,
            challenger=f"{proposal.version}, space {proposal.space}",
            champion=f"space {serving.id}, {serving.model}",
            evaluation=proposal.evaluation,
            judgement=judgement,
            tries=[promotion_page.Tries(*entry) for entry in promotions.tries(ctx.pool, proposal.collection)],
        )
    )
    path = PATH.format(proposal.collection, number)
    uri = ctx.objects.put(f"data-docs/{path}", content.encode())
    promotions.set_report(ctx.pool, number, path)
    return Proposed(promotions.get(ctx.pool, number), uri)

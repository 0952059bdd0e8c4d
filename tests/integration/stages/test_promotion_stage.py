"""A challenger is proposed with every reason, and serves by one decision, in the place of whom it was compared with."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from pipelines.config import Evaluation, Gates, Model
from pipelines.context import Context
from pipelines.errors import FailRun, FixConfiguration, MillraceError
from pipelines.records import Accounting, ReembedRequest
from pipelines.stages import benchmarks, evaluate, promotion, reembed, switch
from pipelines.store import promotions, registry
from pipelines.store.space_states import Switch
from tests.integration.stages.test_evaluate import golden

__all__ = ["golden"]  # fixture
pytestmark = pytest.mark.integration
GATES = Gates(cost_ratio=1000.0)  # timings of the deterministic embedder say nothing


def configure(ctx: Context, gates: Gates = GATES) -> None:
    """Two more models beside the one that serves, and a margin that twenty questions can certify."""
    evaluation = Evaluation(measures=("nDCG@10",), answers=0, margin=0.9)
    models = {"hash": Model(tier="hash"), "second": Model(tier="hash", seed=1), "third": Model(tier="hash", seed=2)}
    ctx.settings = ctx.settings.model_copy(update={"evaluation": evaluation, "models": models, "gates": gates})
    ctx.__dict__.pop("models", None)


@pytest.fixture
def waiting(ctx: Context, run: Callable[..., Accounting], golden: Path) -> int:
    """The number of a verified space of another model, with a benchmark to judge it by."""
    configure(ctx)
    run()
    benchmarks.load(ctx, "knowledge", golden, "main", "frozen", "ana")
    return reembed.run(ctx, ReembedRequest("knowledge", "second")).space


def states(ctx: Context) -> dict[int, str]:
    return {entry.id: entry.state for entry in promotion.listed(ctx, "knowledge")}


def history(dsn: str, number: int) -> list[tuple[str, str]]:
    with psycopg.connect(dsn) as conn:
        rows = conn.execute(
            "SELECT state, by FROM millrace.promotion_history WHERE promotion_id = %s ORDER BY id", (number,)
        ).fetchall()
    return [(state, by) for state, by in rows]


def champion(ctx: Context) -> str:
    return next(version.name for version in registry.versions(ctx.pool) if "champion of knowledge" in version.aliases)


def test_proposed_with_a_page_approved_and_promoted_in_one_go(ctx: Context, waiting: int, dsn: str) -> None:
    made = promotion.propose(ctx, "knowledge", by="ana")
    first = made.proposal
    assert (first.verdict, first.state, first.reasons, first.space) == ("promote", "proposed", [], waiting)
    assert [check["name"] for check in first.checks] == [
        "not worse on main/frozen v1",
        "latency",
        "size of vectors",
        "cost of embedding",
    ]
    promotion.require(made)
    assert made.as_dict()["uri"] == made.uri
    page = ctx.objects.get(f"data-docs/{first.report}").decode()
    assert "Proposal 1" in page
    assert page.count("<svg") == 2
    assert "How often each slice has judged" in page
    done = promotion.promote(ctx, first.id, "ana")
    assert done == Switch("knowledge", first.beside, waiting)
    assert champion(ctx) == first.version
    assert history(dsn, first.id) == [("proposed", "ana"), ("approved", "ana"), ("promoted", "ana")]
    assert promotion.promote(ctx, first.id, "ana") == done  # a task that is tried again
    with pytest.raises(FailRun, match="promoted by ana"):
        promotion.promote(ctx, first.id, "bob")
    with pytest.raises(FixConfiguration, match="no challenger waits"):
        promotion.propose(ctx, "knowledge")
    switch.rollback(ctx, "knowledge", "bob")
    with pytest.raises(FailRun, match="promoted by ana"):  # not the one that serves any more
        promotion.promote(ctx, first.id, "ana")
    assert states(ctx) == {first.id: "promoted"}


def test_the_refused_leaves_its_reasons_and_goes_no_further(ctx: Context, waiting: int) -> None:
    configure(ctx, Gates(superior=("main/*", "new/*"), cost_ratio=1000.0, size_ratio=0.5))
    made = promotion.propose(ctx, "knowledge", by="ana")
    told = " ".join(made.proposal.reasons)
    assert (made.proposal.verdict, made.proposal.state) == ("refuse", "refused")
    assert "better on main/frozen v1" in told
    assert "better on new/*: no slice" in told
    assert "size of vectors" in told
    assert "size of vectors" in made.text()
    with pytest.raises(FailRun, match=r"stays where it is: .*size of vectors.*millrace switch knowledge"):
        promotion.require(made)
    for decide in (promotion.promote, promotion.reject):
        with pytest.raises(FailRun, match="refused"):
            decide(ctx, made.proposal.id, "ana")
    assert promotions.tries(ctx.pool, "knowledge") == [("main/frozen v1", 1, 0, 1)]
    assert champion(ctx) == "hashing@1"


def test_without_a_benchmark_nobody_can_tell(ctx: Context, run: Callable[..., Accounting], golden: Path) -> None:
    configure(ctx)
    run()
    with pytest.raises(FixConfiguration, match="no challenger waits"):
        promotion.propose(ctx, "knowledge")
    version = registry.get(ctx.pool, "hashing@1")
    with pytest.raises(FixConfiguration, match="serves collection 'knowledge' already"):
        promotion.waits(ctx, "knowledge", version)
    reembed.run(ctx, ReembedRequest("knowledge", "second"))
    made = promotion.propose(ctx, "knowledge")
    assert (made.proposal.verdict, made.proposal.evaluation) == ("cannot tell", None)
    assert any("there is no benchmark" in reason for reason in made.proposal.reasons)
    assert promotion.waits(ctx, "knowledge", registry.get(ctx.pool, made.proposal.version))


def test_rejected_expired_and_proposed_anew(ctx: Context, waiting: int, dsn: str) -> None:
    first = promotion.propose(ctx, "knowledge").proposal
    second = promotion.propose(ctx, "knowledge").proposal
    assert second.evaluation == first.evaluation  # judged already
    assert states(ctx) == {first.id: "overtaken", second.id: "proposed"}
    assert promotion.reject(ctx, second.id, "bob", "not on a Friday").text().endswith("rejected by bob: not on a Friday")
    with pytest.raises(FailRun, match="rejected by bob: not on a Friday"):
        promotion.promote(ctx, second.id, "ana")
    third = promotion.propose(ctx, "knowledge").proposal
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE millrace.promotion SET at = at - interval '73 hours' WHERE id = %s", (third.id,))
    with pytest.raises(FailRun, match="expired: nobody decided within 72 hours"):
        promotion.promote(ctx, third.id, "ana")
    with pytest.raises(FailRun, match="expired"):
        promotion.reject(ctx, third.id, "ana")
    fourth = promotion.propose(ctx, "knowledge").proposal
    assert promotion.expire(ctx, fourth.id).state == "expired"
    assert champion(ctx) == "hashing@1"
    with pytest.raises(FixConfiguration, match="no proposal 99"):
        promotion.promote(ctx, 99, "ana")


def test_the_newest_evaluation_has_the_last_word(ctx: Context, waiting: int, dsn: str) -> None:
    first = promotion.propose(ctx, "knowledge").proposal
    gates = {f"space {waiting}": {"verdict": "refuse", "reason": "it got worse", "slices": [], "margin": 0.9, "alpha": 0.05}}
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "INSERT INTO millrace.evaluation (collection, space_id, door, corpus_sha, documents, verdict, gates) "
            "VALUES ('knowledge', %s, 'cli', '', 1, 'good', %s)",
            (first.beside, json.dumps(gates)),
        )
    with pytest.raises(FailRun, match="says refuse since: it got worse"):
        promotion.promote(ctx, first.id, "ana")
    assert states(ctx) == {first.id: "proposed"}


def test_a_verdict_beside_a_former_champion_counts_no_more(ctx: Context, waiting: int) -> None:
    third = reembed.run(ctx, ReembedRequest("knowledge", "third")).space
    first = promotion.propose(ctx, "knowledge", "hashing@2").proposal
    second = promotion.propose(ctx, "knowledge", "hashing@3").proposal
    assert (first.space, second.space, second.evaluation) == (waiting, third, first.evaluation)
    promotion.promote(ctx, first.id, "ana")
    assert promotions.get(ctx.pool, second.id).text().endswith(f"overtaken by ana: space {waiting} serves by now")
    with pytest.raises(FailRun, match="overtaken"):
        promotion.promote(ctx, second.id, "ana")
    again = promotion.propose(ctx, "knowledge", "hashing@3").proposal
    assert (again.beside, again.evaluation) == (waiting, (first.evaluation or 0) + 1)


def test_a_hand_that_switches_or_retires_overtakes(ctx: Context, waiting: int) -> None:
    first = promotion.propose(ctx, "knowledge").proposal
    switch.switch(ctx, "knowledge", waiting, "bob")
    assert states(ctx) == {first.id: "overtaken"}
    third = reembed.run(ctx, ReembedRequest("knowledge", "third")).space
    second = promotion.propose(ctx, "knowledge").proposal
    switch.retire(ctx, "knowledge", third, "bob")
    assert promotions.get(ctx.pool, second.id).reason == f"space {third} is retired by now"


def test_an_approved_one_that_could_not_be_switched_is_completed(ctx: Context, waiting: int, dsn: str) -> None:
    first = promotion.propose(ctx, "knowledge").proposal
    with psycopg.connect(dsn) as conn:
        kept = conn.execute(f"SELECT tenant, text_sha, embedding::text FROM millrace.space_{waiting} LIMIT 1").fetchone()
        assert kept is not None
        conn.execute(f"DELETE FROM millrace.space_{waiting} WHERE text_sha = %s", (kept[1],))
    with pytest.raises(FailRun, match="1 texts no vector"):
        promotion.promote(ctx, first.id, "ana")
    assert states(ctx) == {first.id: "approved"}
    for decide in (promotion.reject, promotion.promote):
        with pytest.raises(FailRun):
            decide(ctx, first.id, "bob")
    with pytest.raises(FailRun, match="is approved"):
        promotion.propose(ctx, "knowledge")
    with psycopg.connect(dsn) as conn:
        conn.execute(f"INSERT INTO millrace.space_{waiting} VALUES (%s, %s, %s)", kept)
    assert promotion.promote_version(ctx, "knowledge", first.version, "bob").serves == waiting
    assert history(dsn, first.id) == [("proposed", ""), ("approved", "ana"), ("promoted", "bob")]


def test_of_two_promoters_one_wins_and_the_other_is_told(ctx: Context, waiting: int) -> None:
    for round_ in range(3):
        (space,) = [entry.space.id for entry in switch.overview(ctx, "knowledge") if entry.space.state == "shadow"]
        number = promotion.propose(ctx, "knowledge").proposal.id
        with ThreadPoolExecutor(4) as pool:
            ended = [entry.result() for entry in [pool.submit(_try, ctx, number, by) for by in ("ana", "bob", "cyd", "dan")]]
        won = [entry for entry in ended if isinstance(entry, Switch)]
        assert len(won) == 1, ended
        assert won[0].serves == space
        assert all("promoted by" in str(entry) for entry in ended if not isinstance(entry, Switch)), ended
        if round_ < 2:
            models = {**ctx.settings.models, f"m{round_}": Model(tier="hash", seed=10 + round_)}
            ctx.settings = ctx.settings.model_copy(update={"models": models})
            ctx.__dict__.pop("models", None)
            reembed.run(ctx, ReembedRequest("knowledge", f"m{round_}"))


def test_a_decision_is_made_once(ctx: Context, waiting: int) -> None:
    number = promotion.propose(ctx, "knowledge").proposal.id
    with ThreadPoolExecutor(2) as pool:
        promoted = pool.submit(_try, ctx, number, "ana")
        rejected = pool.submit(_reject, ctx, number, "bob")
        outcomes = promoted.result(), rejected.result()
    served = isinstance(outcomes[0], Switch)
    assert served != (states(ctx)[number] == "rejected")
    assert served == isinstance(outcomes[1], MillraceError)
    evaluate.run(ctx, "knowledge")


def _try(ctx: Context, number: int, by: str) -> Switch | MillraceError:
    try:
        return promotion.promote(ctx, number, by)
    except MillraceError as error:
        return error


def _reject(ctx: Context, number: int, by: str) -> promotions.Proposal | MillraceError:
    try:
        return promotion.reject(ctx, number, by)
    except MillraceError as error:
        return error

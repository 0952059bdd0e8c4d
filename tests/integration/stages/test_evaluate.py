"""Benchmarks and evaluations against a real database: versions, review, scores, comparison, lost documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from pipelines.config import ChatServer, Evaluation, Model
from pipelines.context import Context
from pipelines.errors import FixConfiguration
from pipelines.records import Accounting, ReembedRequest
from pipelines.stages import agreement, benchmarks, evaluate, reembed
from pipelines.store import benchmarks as store
from tests.unit.generate.chat_server import saying, serving

pytestmark = pytest.mark.integration
Sync = Callable[..., Accounting]
THINGS = [
    *("anchor", "barge", "crane", "dredger", "engine", "ferry", "gangway", "hawser", "icebreaker", "jetty"),
    *("keel", "lock", "mooring", "navigator", "oar", "pilot", "quay", "rudder", "sail", "tug"),
]


@pytest.fixture
def golden(folder: Path, tmp_path: Path) -> Path:
    """Twenty documents, a question for each, and one that nothing answers."""
    lines = []
    for thing in THINGS:
        text = f"# The {thing} manual\n\nThe {thing} is inspected by the {thing} officer every spring.\n"
        (folder / f"{thing}.md").write_text(text)
        answers = [{"path": f"docs/{thing}.md"}]
        lines.append({"id": thing, "question": f"Who inspects the {thing}?", "answerable": True, "answers": answers})
    lines.append({"id": "none", "question": "What is the wifi password?", "answerable": False, "answers": []})
    path = tmp_path / "golden.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def small(ctx: Context, **fields: object) -> None:
    """Few answers, since each costs a search."""
    evaluation = Evaluation(measures=("nDCG@10", "R@10"), answers=2, **fields)  # type: ignore[arg-type]
    models = {**ctx.settings.models, "other": Model(tier="hash", seed=1)}
    ctx.settings = ctx.settings.model_copy(update={"evaluation": evaluation, "models": models})


def test_from_import_to_a_verdict_with_a_page(ctx: Context, run: Sync, golden: Path, folder: Path, dsn: str) -> None:
    small(ctx)
    run()
    assert evaluate.run(ctx, "knowledge").verdict == "cannot tell"  # no benchmark
    imported = benchmarks.load(ctx, "knowledge", golden, "main", "frozen", "ana")
    assert (imported.version, imported.new, imported.questions, imported.missing_documents) == (1, True, 21, 0)
    assert benchmarks.load(ctx, "knowledge", golden, "main", "frozen", "ana").new is False
    first = evaluate.run(ctx, "knowledge")
    assert first.verdict == "good"
    assert {(result.system, result.questions) for result in first.results} == {("served", 20), ("text", 20)}
    assert first.results[0].measures["R@10"]["mean"] > 0.8
    page = ctx.objects.get(f"data-docs/{first.page}").decode()
    assert "main/frozen v1" in page
    assert first.answers is not None
    assert first.answers.asked == 2
    (golden.parent / "asked.txt").write_text("\n".join(f"Who looks at the {thing}?" for thing in THINGS))
    small(ctx, present_questions=str(golden.parent / "asked.txt"))
    waiting = reembed.run(ctx, ReembedRequest("knowledge", "other"))
    second = evaluate.run(ctx, "knowledge")
    assert second.gates is not None
    (judged,) = second.gates[f"space {waiting.space}"].slices
    assert (judged.slice, judged.questions, judged.clusters) == ("main/frozen v1", 20, 20)
    assert [(entry.what, entry.measured) for entry in second.freshness] == [("passages", 20), ("questions", 20)]
    compared = second.results[0].compared["nDCG@10"]
    assert (compared["with"], compared["difference"], compared["p"], compared["same_corpus"]) == (
        first.number,
        0.0,
        1.0,
        True,
    )
    with psycopg.connect(dsn) as conn:
        stored = conn.execute("SELECT count(*), min(value) >= 0 FROM millrace.evaluation_score").fetchone()
        assert stored == (5 * 2 * 20, True)  # two systems, then three; two measures
        with pytest.raises(psycopg.errors.CheckViolation):
            conn.execute("UPDATE millrace.evaluation_score SET value = 'NaN'")

    benchmarks.build(ctx, "knowledge", "auto", "rolling", "titles", share=1.0, limit=4)
    ids = [entry.id for entry in benchmarks.proposed(ctx, "knowledge", "auto", "proposed", 10)]
    benchmarks.decide(ctx, "knowledge", "auto", ids, "accepted", "", "ana")
    benchmarks.release(ctx, "knowledge", "auto", "rolling", "ana")
    small(ctx, questions=4)
    ranked = agreement.run(ctx, "knowledge", "main/frozen", "auto/rolling")
    assert (ranked.first, ranked.second, len(ranked.means)) == ("main/frozen v1", "auto/rolling v1", 9)
    assert ranked.means["served"][1] > 0.9
    assert ranked.means["dense, in int8"] == ranked.means["dense, not reranked"]
    assert ranked.tau is not None or "the same score" in ranked.reason
    with pytest.raises(FixConfiguration, match=r"no slice 'main/rolling' \(known: auto/rolling, main/frozen\)"):
        agreement.run(ctx, "knowledge", "main/frozen", "main/rolling")

    for thing in THINGS[:8]:
        (folder / f"{thing}.md").unlink()
    ctx.settings.sources["docs"] = ctx.settings.source("docs").model_copy(
        update={"delete_guard": ctx.settings.source("docs").delete_guard.model_copy(update={"max_share": 1.0})}
    )
    run()
    third = evaluate.run(ctx, "knowledge")
    assert third.verdict == "cannot tell"
    assert "main/frozen v1: 8 of 20 questions have lost all their documents" in " ".join(third.notes)


def test_candidates_are_reviewed_and_released_as_versions_that_never_change(
    ctx: Context, run: Sync, golden: Path, dsn: str
) -> None:
    run()
    built = benchmarks.build(ctx, "knowledge", "auto", "rolling", "titles", share=1.0, limit=6)
    assert (built.candidates, built.new) == (6, 6)
    assert benchmarks.build(ctx, "knowledge", "auto", "rolling", "titles", share=1.0, limit=6).new == 0
    ids = [entry.id for entry in benchmarks.proposed(ctx, "knowledge", "auto", "proposed", 10)]
    with pytest.raises(FixConfiguration, match="a rejection needs a reason"):
        benchmarks.decide(ctx, "knowledge", "auto", ids, "rejected", " ", "ana")
    with pytest.raises(FixConfiguration, match="1 of the ids are no candidates"):
        benchmarks.decide(ctx, "knowledge", "auto", [999], "accepted", "", "ana")
    with pytest.raises(FixConfiguration, match="0 accepted candidates"):
        benchmarks.release(ctx, "knowledge", "auto", "rolling", "ana")
    benchmarks.decide(ctx, "knowledge", "auto", ids[:1], "rejected", "too easy", "ana")
    benchmarks.decide(ctx, "knowledge", "auto", ids[1:4], "accepted", "", "ben")
    (refused,) = benchmarks.proposed(ctx, "knowledge", "auto", "rejected", 10)
    assert (refused.reason, refused.decided_by, refused.decided_at is not None) == ("too easy", "ana", True)
    assert benchmarks.release(ctx, "knowledge", "auto", "rolling", "ana").questions == 3
    assert benchmarks.release(ctx, "knowledge", "auto", "rolling", "ana").new is False
    benchmarks.decide(ctx, "knowledge", "auto", ids[4:], "accepted", "", "ben")
    second = benchmarks.release(ctx, "knowledge", "auto", "rolling", "ana", quota=4)
    assert (second.version, second.questions) == (2, 4)
    (newest,) = store.current(ctx.pool, "knowledge")
    assert (newest.label, newest.documents) == ("auto/rolling v2", 20)
    assert benchmarks.overview(ctx, "knowledge")["candidates"] == {"knowledge auto/rolling": {"accepted": 5, "rejected": 1}}
    with psycopg.connect(dsn) as conn:
        assert conn.execute("SELECT count(*) FROM millrace.benchmark_query").fetchone() == (7,)  # version 1 is still there

    benchmarks.load(ctx, "knowledge", golden, "auto", "frozen", "ana")
    lines = golden.read_text().splitlines()
    golden.write_text("\n".join(lines[1:]))
    with pytest.raises(FixConfiguration, match="exists with other questions and never changes"):
        benchmarks.load(ctx, "knowledge", golden, "auto", "frozen", "ana")
    golden.write_text(lines[0].replace("docs/", "elsewhere/"))
    with pytest.raises(FixConfiguration, match="none of 1 judged documents"):
        benchmarks.load(ctx, "knowledge", golden, "other", "frozen", "ana")
    with pytest.raises(FixConfiguration, match="writer: missing"):
        benchmarks.build(ctx, "knowledge", "auto", "rolling", "questions")
    with serving() as llm:
        llm.usual = saying('["Which officer looks at it in spring?"]')
        small(ctx, writer=ChatServer(url=llm.url, model="m"))
        written = benchmarks.build(ctx, "knowledge", "llm", "challenge", "questions", share=1.0, limit=1)
    assert (written.candidates, len(llm.asked)) == (1, 1)
    with pytest.raises(FixConfiguration, match="serves nothing to evaluate"):
        evaluate.run(ctx, "nothing")

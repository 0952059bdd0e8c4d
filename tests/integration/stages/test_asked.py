"""Users' questions: kept where the collection says so, forgotten in time, read for drift and the benchmark's freshness."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from pipelines import terminal
from pipelines.config import Collection
from pipelines.context import Context
from pipelines.drift.verdict import State
from pipelines.errors import FixConfiguration
from pipelines.records import Accounting
from pipelines.search.query import Query
from pipelines.stages import ask, asked, drift, representation, search
from pipelines.store import questions, spaces

pytestmark = pytest.mark.integration
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
THINGS = ["anchor", "barge", "crane", "dredger", "engine", "ferry", "gangway", "hawser", "jetty", "keel", "lock", "mooring"]
FOOD = ["onion", "garlic", "butter", "flour", "oven", "saucepan", "whisk", "parsley", "lemon", "broth", "pastry", "clove"]


@pytest.fixture
def corpus(ctx: Context, run: Callable[..., Accounting], folder: Path) -> Context:
    keeping(ctx, 90)
    for thing in THINGS:
        (folder / f"{thing}.md").write_text(f"# The {thing}\n\nThe {thing} is looked at by the harbour master.\n")
    run()
    return ctx


def keeping(ctx: Context, days: int) -> None:
    kept = ctx.settings.collections["knowledge"].model_copy(update={"keep_questions_days": days})
    ctx.settings.collections["knowledge"] = Collection.model_validate(kept.model_dump())


def rows(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as conn:
        return conn.execute(
            "SELECT question, space_id, similarity > 0, hits FROM millrace.question_asked ORDER BY id"
        ).fetchall()


def query(text: str, **more: object) -> Query:
    return Query(text, "knowledge", k=3, by_user=True, **more)  # type: ignore[arg-type]


def test_what_users_ask_is_kept_and_nothing_else(corpus: Context, dsn: str) -> None:
    search.run(corpus, query(" who looks at the  anchor? "))
    search.run(corpus, query("anchor", mode="text"))
    ask.run(corpus, "Who looks at the crane?", by_user=True)
    search.run(corpus, Query("a benchmark's question", "knowledge"))
    search.run(corpus, query("who did?", as_of=datetime.now(UTC)))
    number = spaces.active(corpus.pool, "knowledge")
    assert number is not None
    kept = rows(dsn)
    assert kept[0] == ("who looks at the anchor?", number.id, True, 3)
    assert kept[1][:3] == ("anchor", None, None)
    assert kept[2][0] == "Who looks at the crane?"
    assert len(kept) == 3
    keeping(corpus, 0)
    search.run(corpus, query("not kept"))
    assert len(rows(dsn)) == 3


def test_they_are_listed_and_forgotten_word_for_word(corpus: Context) -> None:
    for text in ("Who looks at the crane?", "Who looks at the crane?", "How is onion broth made?"):
        search.run(corpus, query(text))
    search.run(corpus, query("anchor", mode="text"))
    farthest = asked.listing(corpus, "knowledge")
    assert [entry.question for entry in farthest] == ["How is onion broth made?", "Who looks at the crane?", "anchor"]
    assert farthest[-1].similarity is None  # found by words alone
    most = asked.listing(corpus, "knowledge", order="most", limit=1)
    assert [(entry.question, entry.times) for entry in most] == [("Who looks at the crane?", 2)]
    lines = terminal.questions(farthest).splitlines()
    assert lines[1].endswith("How is onion broth made?")
    assert len(lines) == 4
    assert asked.forget(corpus, "knowledge", " Who looks at the crane? ") == 2
    assert len(asked.listing(corpus, "knowledge")) == 2
    with pytest.raises(FixConfiguration, match="no such question is kept"):
        asked.forget(corpus, "knowledge", "Who looks at the crane?")
    with pytest.raises(FixConfiguration, match="there is no collection 'nowhere'"):
        asked.listing(corpus, "nowhere")
    keeping(corpus, 0)
    with pytest.raises(FixConfiguration, match="keeps no questions"):
        asked.listing(corpus, "knowledge")


def test_a_database_that_keeps_no_question_is_no_reason_not_to_answer(
    corpus: Context, dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("ALTER TABLE millrace.question_asked RENAME TO gone")
    monkeypatch.setattr(asked, "_WARNED", set())
    with caplog.at_level(logging.WARNING):
        assert search.run(corpus, query("who looks at the anchor?"))
        assert search.run(corpus, query("who looks at the crane?"))
    assert sum("questions are not kept" in record.message for record in caplog.records) == 1


def test_questions_are_forgotten_in_time(corpus: Context, run: Callable[..., Accounting], dsn: str) -> None:
    for text in ("old", "young"):
        search.run(corpus, query(text))
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE millrace.question_asked SET asked_at = now() - interval '91 days' WHERE question = 'old'")
    run()
    assert [row[0] for row in rows(dsn)] == ["young"]
    keeping(corpus, 0)
    run()
    assert rows(dsn) == []


def asked_on(corpus: Context, dsn: str, days: int, texts: list[str]) -> None:
    with psycopg.connect(dsn) as conn:
        last = conn.execute("SELECT coalesce(max(id), 0) FROM millrace.question_asked").fetchone()
    for text in texts:
        search.run(corpus, query(text))
    with psycopg.connect(dsn) as conn:
        at = TODAY - timedelta(days=days) + timedelta(hours=12)
        conn.execute("UPDATE millrace.question_asked SET asked_at = %s WHERE id > %s", (at, last[0] if last else 0))


def test_other_questions_are_drift_of_their_own_kind(corpus: Context, dsn: str) -> None:
    usual = [f"Who looks at the {thing} and the {other}?" for thing in THINGS for other in THINGS]
    random.Random(1).shuffle(usual)
    asked_on(corpus, dsn, 5, usual[:72])
    asked_on(corpus, dsn, 3, usual[72:120])
    asked_on(corpus, dsn, 2, [f"How is {food} cooked with {other}, please?" for food in FOOD[:4] for other in FOOD[4:]])
    same, other, idle = (drift.run(corpus, "knowledge", TODAY.date() - timedelta(days=days)) for days in (3, 2, 1))
    assert (same.state, same.kinds) == (State.NO_DRIFT, ())
    assert same.found["questions"]["asked"] == [72, 48]
    assert (other.state, other.kinds) == (State.DRIFT, ("questions",))
    assert "questions (p" in other.sentence
    assert "cooked" in other.found["questions"]["examples"][0]
    assert "test" not in other.found  # the passages have no part in it
    page = corpus.objects.get(f"data-docs/{other.page}").decode()
    assert "What users asked" in page
    assert "Typical new questions" in page
    assert idle.state is State.NOTHING_NEW
    assert any(note.startswith("cannot tell of questions") for note in idle.notes)


def test_the_benchmarks_freshness_is_measured_by_the_questions_kept(corpus: Context, dsn: str) -> None:
    space = spaces.active(corpus.pool, "knowledge")
    assert space is not None
    _, notes = representation.measure(corpus, space, [])
    assert notes == ("freshness of questions: not measured, 0 different questions were asked in 28 days, 10 are needed",)
    for food in FOOD:
        search.run(corpus, query(f"How is {food} cooked?"))
    found, notes = representation.measure(corpus, space, [])
    assert (found[1].what, found[1].measured, notes) == ("questions", 12, ())
    keeping(corpus, 0)
    assert "keeps none" in representation.measure(corpus, space, [])[1][0]
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE millrace.question_asked SET asked_at = now() - interval '29 days'")
    since = datetime.now(UTC) - timedelta(days=28)
    assert questions.asked(corpus.pool, space, since, datetime.now(UTC)).different == 0

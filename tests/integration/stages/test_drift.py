"""Drift over three days of a small corpus: found on the day it came, told the same way when the day is looked at again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from pipelines import cli_drift
from pipelines.context import Context
from pipelines.drift.verdict import State
from pipelines.errors import FailRun, FixConfiguration
from pipelines.records import Accounting
from pipelines.stages import drift, drift_windows

pytestmark = pytest.mark.integration
HARBOUR = ["anchor", "barge", "crane", "dredger", "engine", "ferry", "gangway", "hawser", "jetty", "keel", "lock", "mooring"]
KITCHEN = [
    "onion",
    "garlic",
    "butter",
    "flour",
    "oven",
    "saucepan",
    "whisk",
    "parsley",
    "lemon",
    "broth",
    "pastry",
    "cinnamon",
]
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def write(folder: Path, name: str, words: list[str], place: int) -> None:
    chosen = random.Random(f"{name}{place}").choices(words, k=30)
    (folder / f"{name}{place}.md").write_text(f"Note {place} is about {' and '.join(chosen)}.\n")


def dated(dsn: str, days: int) -> None:
    """Everything that came just now came at noon, so many days ago."""
    at = TODAY - timedelta(days=days) + timedelta(hours=12)
    with psycopg.connect(dsn) as conn:
        values = {"at": at, "now": TODAY}
        conn.execute("UPDATE millrace.chunk SET valid_from = %(at)s WHERE valid_from >= %(now)s", values)
        conn.execute("UPDATE millrace.chunk_past SET valid_to = %(at)s WHERE valid_to >= %(now)s", values)


def test_drift_is_found_on_its_day_and_told_the_same_way_later(
    ctx: Context, run: Callable[..., Accounting], folder: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FixConfiguration, match="serves nothing to look at"):
        drift.run(ctx, "knowledge", TODAY.date() - timedelta(days=1))
    for days, name, words, places in ((4, "a", HARBOUR, 40), (3, "b", HARBOUR, 12), (2, "c", KITCHEN, 16)):
        for place in range(places):
            write(folder, name, words, place)
        if days == 2:
            write(folder, "a", KITCHEN, 0)  # replaces
        run()
        dated(dsn, days)
    first, last = TODAY.date() - timedelta(days=4), TODAY.date() - timedelta(days=1)
    begun, usual, changed, idle = drift.history(ctx, "knowledge", first, last)
    assert begun.state is State.CANNOT_TELL
    assert begun.sentence == "Cannot tell: passages: the reference window is empty."
    assert usual.state is State.NO_DRIFT
    assert usual.found["documents"] == [40, 12]
    assert usual.notes[0].startswith(
        "which effect is usual is not known yet (0 of 20 earlier windows), p alone decides: passages"
    )
    assert changed.state is State.DRIFT
    assert changed.kinds == ("corpus",)
    assert changed.found["test"] == "passages"
    assert changed.found["documents"] == [52, 17]
    assert changed.found["sources"] == [["docs", 1.0]]
    assert {word for word, _ in changed.found["terms"]} & set(KITCHEN)
    assert "c" in changed.found["examples"][0]["address"]
    assert idle.state is State.NOTHING_NEW
    drift.require(idle)
    with pytest.raises(FailRun, match=f"drift in knowledge on 1 of 4 days: {TODAY.date() - timedelta(days=2)}"):
        drift.require_all([begun, usual, changed, idle])

    page = ctx.objects.get(f"data-docs/{changed.page}").decode()
    assert '<p class="state drift">Drift</p>' in page
    (again,) = drift.history(ctx, "knowledge", changed.since.date(), changed.since.date())
    assert again.as_dict() == changed.as_dict()
    assert ctx.objects.get(f"data-docs/{again.page}").decode() == page
    with psycopg.connect(dsn) as conn:
        assert conn.execute("SELECT count(*), count(report) FROM millrace.drift_report").fetchone() == (4, 4)
        conn.execute("DELETE FROM millrace.embedding_cache")
        conn.execute("DELETE FROM millrace.space_1")
    renewed = drift.run(ctx, "knowledge", changed.since.date())  # from the texts, which are kept
    assert (renewed.state, renewed.notes) == (State.DRIFT, changed.notes)
    assert renewed.found["examples"] == changed.found["examples"]
    monkeypatch.setattr(drift_windows, "EMBEDDED", 0)
    with psycopg.connect(dsn) as conn:
        conn.execute("DELETE FROM millrace.embedding_cache")
    lost = drift.run(ctx, "knowledge", changed.since.date())
    assert lost.state is State.CANNOT_TELL
    assert "have no vector any more" in lost.sentence

    monkeypatch.setattr("pipelines.context.open_context", lambda *_: nullcontext(ctx))
    shown = CliRunner().invoke(cli_drift.drift, ["knowledge", "--from", f"{first}", "--to", f"{first}", "--json"])
    assert isinstance(shown.exception, FailRun)
    (told,) = json.loads(shown.stdout)["reports"]
    assert (told["state"], told["page"]) == ("cannot tell", begun.uri)
    shown = CliRunner().invoke(cli_drift.drift, ["knowledge", "--source", "docs"])
    assert (shown.exit_code, shown.stdout.splitlines()[0]) == (
        0,
        f"knowledge, source docs, {last}: Nothing new: the interval brought no documents.",
    )

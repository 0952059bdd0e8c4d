"""Replaced and deleted passages: kept as long as the collection says, and what is asked of the time before is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from pipelines.config import Collection
from pipelines.context import Context
from pipelines.errors import FixConfiguration
from pipelines.records import Accounting
from pipelines.search.query import Query
from pipelines.stages import drift, maintain, search

pytestmark = pytest.mark.integration


@pytest.fixture
def corpus(ctx: Context, run: Callable[..., Accounting], folder: Path, dsn: str) -> Context:
    """The first run was 500 days ago; one passage was replaced 400 days ago, another 10 days ago."""
    for name in ("anchor", "barge", "crane"):
        (folder / f"{name}.md").write_text(f"# The {name}\n\nThe {name} is oiled in March.\n")
    run()
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE millrace.run SET started_at = now() - interval '500 days'")
        conn.execute("UPDATE millrace.chunk SET valid_from = now() - interval '500 days'")
    for name, days in (("anchor", 400), ("barge", 10)):
        (folder / f"{name}.md").write_text(f"# The {name}\n\nThe {name} is painted in June.\n")
        run()
        with psycopg.connect(dsn) as conn:
            values = {"days": days}
            conn.execute(
                "UPDATE millrace.chunk_past SET valid_to = now() - make_interval(days => %(days)s)"
                " WHERE valid_to > now() - interval '1 hour'",
                values,
            )
            conn.execute(
                "UPDATE millrace.chunk SET valid_from = now() - make_interval(days => %(days)s)"
                " WHERE valid_from > now() - interval '1 hour'",
                values,
            )
    return ctx


def keeping(ctx: Context, days: int | None) -> None:
    kept = ctx.settings.collections["knowledge"].model_copy(update={"keep_past_days": days})
    ctx.settings.collections["knowledge"] = Collection.model_validate(kept.model_dump())


def served(ctx: Context, days: int) -> set[str]:
    """The passages that said "oiled" so many days ago."""
    moment = datetime.now(UTC) - timedelta(days=days)
    found = search.run(ctx, Query("oiled in March", "knowledge", mode="text", as_of=moment))
    return {hit.title.split()[-1] for hit in found if "oiled" in hit.passage}


def test_what_is_older_than_the_collection_keeps_is_forgotten_and_said_to_be(corpus: Context) -> None:
    assert served(corpus, 450) == {"anchor", "barge", "crane"}
    drift.run(corpus, "knowledge", datetime.now(UTC).date() - timedelta(days=380))
    report = maintain.run(corpus)
    assert report.forgotten == 1
    assert "forgot 1 replaced passages (keep_past_days)" in report.text()
    assert served(corpus, 300) == {"barge", "crane"}
    assert served(corpus, 5) == {"crane"}
    with pytest.raises(FixConfiguration, match="some are gone \\(keep_past_days\\); ask for a later moment"):
        served(corpus, 450)
    with pytest.raises(FixConfiguration, match="look at a later day, or have fewer reference_days"):
        drift.run(corpus, "knowledge", datetime.now(UTC).date() - timedelta(days=380))
    drift.run(corpus, "knowledge", datetime.now(UTC).date() - timedelta(days=300))
    assert maintain.run(corpus).forgotten == 0


@pytest.mark.parametrize(("days", "forgotten"), [(None, 0), (10_000, 0), (0, 2)])
def test_days_are_the_collections_own(corpus: Context, days: int | None, forgotten: int) -> None:
    keeping(corpus, days)
    assert maintain.run(corpus).forgotten == forgotten

"""Backfills of the dated source over five days, three at a time, in any order and again: the state of five runs in order.

Collected first: the corpus holds nothing but tickets then, so its fingerprint can be compared.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from pipelines.connections import LocalConnections
from pipelines.context import Context, open_context
from pipelines.embedded.bucket import BUCKET, client
from pipelines.records import SyncRequest
from pipelines.stages import sync
from pipelines.store import audit, database
from tests.acceptance.rig import ROOT, Rig

pytestmark = [pytest.mark.airflow, pytest.mark.integration, pytest.mark.slow]

DAG = "sync_tickets"
DAYS = [date(2026, 10, 1) + timedelta(days=index) for index in range(5)]
FILES = sorted(path for day in DAYS for path in (ROOT / "include/sample").glob(f"tickets/raw/dt={day}/*"))
SWAPPED = ("tickets/raw/dt=2026-10-02/TK-2605.json", "tickets/raw/dt=2026-10-05/TK-2620.json")
REMOVED = "tickets/raw/dt=2026-10-04/TK-2613.json"
NO_WORK = {"loaded": 0, "unchanged": 0, "quarantined": 0, "deleted": 0, "excluded": 0, "embedded": 0}


@pytest.fixture(scope="module")
def in_order(rig: Rig) -> Iterator[Context]:
    """Another corpus database and state folder, on the same bucket."""
    home = rig.root / "in-order"
    if (rig.settings.home / "cache").is_dir():  # not yet in a clean clone: then this corpus converts the model too
        shutil.copytree(rig.settings.home / "cache", home / "cache", dirs_exist_ok=True)
    settings = rig.settings.model_copy(update={"home": home})
    connections = dict(LocalConnections(rig.settings))
    main = connections[settings.database]
    connections[settings.database] = main.model_copy(update={"schema_": "in_order"})
    rig.services.postgres.ensure_database("in_order")
    database.migrate(rig.services.postgres.dsn("in_order"))
    with open_context(settings, connections) as ctx:
        yield ctx


def test_backfills_end_in_the_state_of_five_runs_in_order(rig: Rig, in_order: Context) -> None:
    rig.airflow("dags", "unpause", DAG)
    forwards = backfill(rig)
    assert forwards.days == DAYS
    assert forwards.overlap <= 3
    assert forwards.sums == {**NO_WORK, "loaded": len(FILES), "embedded": len(FILES)}
    one_run_a_day(in_order)
    assert state(rig) == fingerprint(in_order)

    change_the_source(rig)
    backwards = backfill(rig, "--run-backwards", "--reprocess-behavior", "completed")
    assert backwards.days == DAYS[::-1]
    assert backwards.overlap <= 3
    assert backwards.sums == {**NO_WORK, "loaded": 2, "unchanged": len(FILES) - 3, "deleted": 1}
    one_run_a_day(in_order)
    assert state(rig) == fingerprint(in_order)

    settled = state(rig)
    skipped = backfill(rig, "--run-backwards")
    assert (skipped.days, skipped.sums) == ([], NO_WORK)  # a day that ran is left alone

    again = backfill(rig, "--reprocess-behavior", "completed")
    assert again.days == DAYS
    assert again.sums == {**NO_WORK, "unchanged": len(FILES) - 1}
    assert state(rig) == settled


@dataclass(frozen=True)
class Backfilled:
    """What one backfill did."""

    days: list[date]  # in the order the runs were queued
    overlap: int  # the most runs at a time
    sums: dict[str, int]  # outcomes and computed embeddings over all of its runs


def backfill(rig: Rig, *flags: str) -> Backfilled:
    """`airflow backfill create` over the five days, and its end."""
    [(newest,)] = rig.corpus("SELECT coalesce(max(id), 0) FROM run")
    period = ("--from-date", DAYS[0].isoformat(), "--to-date", DAYS[-1].isoformat())
    rig.airflow("backfill", "create", "--dag-id", DAG, *period, "--max-active-runs", "3", *flags)
    rig.until(lambda: rig.metadata("SELECT count(*) FROM backfill WHERE completed_at IS NULL") == [(0,)])
    rows = rig.metadata(
        "SELECT run.run_id, run.state, run.logical_date, run.start_date, run.end_date FROM backfill_dag_run member"
        " JOIN dag_run run ON run.id = member.dag_run_id"
        " WHERE member.backfill_id = (SELECT max(id) FROM backfill) AND member.exception_reason IS NULL"
        " ORDER BY member.sort_ordinal"
    )
    assert {row[1] for row in rows} <= {"success"}
    return Backfilled(
        [row[2].date() for row in rows],
        overlap([(row[3], row[4]) for row in rows]),
        sums(rig, newest, [row[0] for row in rows]),
    )


def overlap(spans: list[tuple[datetime, datetime]]) -> int:
    """The largest number of spans that hold one moment."""
    return max((sum(start <= moment < end for start, end in spans) for moment, _ in spans), default=0)


def sums(rig: Rig, newest: int, run_ids: list[str]) -> dict[str, int]:
    """Outcomes and embeddings of the ledger's runs after `newest` that these Airflow runs opened."""
    found: list[tuple[dict[str, int], dict[str, Any]]] = rig.corpus(
        "SELECT counts, stats FROM run WHERE id > %s AND external_id = ANY(%s)", newest, run_ids
    )
    assert len(found) == len(run_ids)
    outcomes = {name: sum(counts[name] for counts, _ in found) for name in NO_WORK if name != "embedded"}
    return {**outcomes, "embedded": sum(stats.get("embedded", 0) for _, stats in found)}


def one_run_a_day(ctx: Context) -> None:
    """What `millrace sync tickets --day D` does, for each day in order."""
    for day in DAYS:
        assert sync.run(ctx, SyncRequest("tickets", day=day)).state == "succeeded"


def change_the_source(rig: Rig) -> None:
    """Two tickets of different days change places, one of a third day goes away. No text is new."""
    with closing(client(rig.services.bucket.endpoint)) as s3:
        bodies = [s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in SWAPPED]
        for key, body in zip(SWAPPED, reversed(bodies), strict=True):
            s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        s3.delete_object(Bucket=BUCKET, Key=REMOVED)


def state(rig: Rig) -> str:
    """The fingerprint of what the stack serves, which must have no audit finding."""
    with closing(database.open_pool(rig.services.dsn, size=1)) as pool:
        assert audit.audit(pool) == []
        return audit.fingerprint(pool, "knowledge")


def fingerprint(ctx: Context) -> str:
    """The fingerprint of the corpus that was synced day by day."""
    assert audit.audit(ctx.pool) == []
    return audit.fingerprint(ctx.pool, "knowledge")

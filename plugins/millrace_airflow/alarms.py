"""What the drift tasks do around the stage: which day a run looks at, what it announces, and when it is red."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from millrace_airflow import assets, links
from pipelines.errors import FailRun, FixConfiguration

if TYPE_CHECKING:
    from pipelines.stages.drift import Report

log = logging.getLogger("millrace")
SCHEDULED, BACKFILL = "scheduled", "backfill"


def day(context: Mapping[str, Any]) -> date:
    """The day of the run's interval; of a manual run the form's, or yesterday.

    Raises FixConfiguration for a day in the form of a run that has an interval, and for one that has not ended.
    """
    run, asked = context["dag_run"], context["params"]["day"]
    if _kind(run) in {SCHEDULED, BACKFILL}:
        if asked:
            raise FixConfiguration(f"drift: param day={asked!r} in a run that has its own interval; leave it out")
        found: date = run.data_interval_start.date()
        return found
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    if asked and date.fromisoformat(asked) > yesterday:
        raise FixConfiguration(f"drift: {asked} has not ended in UTC; the last day that can be looked at is {yesterday}")
    return date.fromisoformat(asked) if asked else yesterday


def live(context: Mapping[str, Any]) -> bool:
    """Whether the run is about the present: it asks the embedder and wakes others. A backfill is about the past."""
    return _kind(context["dag_run"]) != BACKFILL and not context["params"]["day"]


def measured(context: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Log a report, link its page and announce each kind of drift; what `judge` needs of it."""
    for line in report.text().splitlines():
        log.info("%s", line)
    links.show(context, report.page)
    if live(context):
        for kind in report.kinds:
            assets.announce_drift(context["outlet_events"], kind, report.collection, report.sentence)
            log.info("announced on %s", assets.drift(kind, report.collection).uri)
    return {
        "collection": report.collection,
        "state": str(report.state),
        "text": " ".join(report.text().split()),
        "kinds": list(report.kinds),
        "report": report.page,
    }


def judge(found: Mapping[str, Any]) -> None:
    """Raise FailRun for drift; skip where nothing can be told, so that it is not green."""
    if found["state"] == "drift":
        raise FailRun(found["text"])
    if found["state"] == "cannot tell":
        raise AirflowSkipException(found["text"])
    log.info("%s", found["text"])


def _kind(run: Any) -> str:
    return str(getattr(run.run_type, "value", run.run_type))

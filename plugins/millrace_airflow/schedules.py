"""When a source's DAG runs."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import CronDataIntervalTimetable, CronTriggerTimetable

from pipelines.config import SourceConfig

Timetable = CronDataIntervalTimetable | CronTriggerTimetable


def timetable(source: SourceConfig) -> Timetable | None:
    """Data intervals for a dated source, so that `airflow backfill` can fill its history; a plain cron for the others."""
    if source.schedule is None:
        return None
    if source.dated:
        return CronDataIntervalTimetable(source.schedule, timezone="UTC")
    return CronTriggerTimetable(source.schedule, timezone="UTC")


def start(source: SourceConfig) -> datetime:
    """The first interval's start."""
    return datetime(source.start_date.year, source.start_date.month, source.start_date.day, tzinfo=UTC)


def active_runs(source: SourceConfig) -> int:
    """Days of a dated source may overlap; an undated source covers its whole listing, one run at a time."""
    return 3 if source.dated else 1

"""The trigger form: what its schemas accept, and the request that a run makes of it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.config import FolderSource
from pipelines.errors import FixConfiguration

PLAIN = FolderSource(kind="folder", path="/srv/docs")
DATED = FolderSource(kind="folder", path="/srv/{{ ds }}")


def filled(source: FolderSource, values: dict[str, Any]) -> dict[str, Any]:
    """The form with values, checked by Airflow's own schema check."""
    from airflow.sdk.definitions.param import ParamsDict
    from millrace_airflow.forms import sync_params

    params = ParamsDict(sync_params(source))
    params.update(values)
    return params.validate()


def request(source: FolderSource, conf: dict[str, Any], run_type: str = "manual", user: str | None = "ana") -> Any:
    from millrace_airflow.forms import sync_request

    start = datetime(2026, 10, 5, tzinfo=UTC)
    known = {key: value for key, value in conf.items() if key in filled(source, {})}
    run = SimpleNamespace(
        run_id="r1", run_type=run_type, conf=conf, data_interval_start=start, logical_date=start, triggering_user_name=user
    )
    return sync_request("docs", source, {"dag_run": run, "params": filled(source, known)})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dry_run", True),
        ("full_rescan", True),
        ("prefix", "policies/hr"),
        ("prefix", "Überblick 2026/a..b/.hidden"),
        ("prefix", None),
        ("approve_held", 17),
        ("reject_held", 17),
        ("day", "2026-02-28"),
        ("day", None),
    ],
)
def test_the_form_takes_what_it_describes(key, value):
    assert filled(DATED, {key: value})[key] == value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dry_run", "true"),
        ("dry_run", None),
        ("full_rescan", 1),
        ("prefix", "/etc"),
        ("prefix", ""),
        ("prefix", "../secrets"),
        ("prefix", "a/../../b"),
        ("prefix", "a/.."),
        ("prefix", "raw/{{ ds }}"),
        ("prefix", "a\nb"),
        ("prefix", "x" * 513),
        ("approve_held", 0),
        ("reject_held", "all"),
        ("approve_held", "17"),
        ("approve_held", True),
        ("day", "2026-02-30"),
        ("day", "yesterday"),
        ("day", 20261005),
    ],
)
def test_the_form_refuses_what_cannot_be_meant_and_names_the_field(key, value):
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError, match=key):
        filled(DATED, {key: value})


def test_every_field_has_title_description_and_section():
    from millrace_airflow.forms import sync_params

    for name, param in sync_params(DATED).items():
        assert param.schema["title"], name
        assert param.schema["section"], name
        assert len(param.description or "") > 20, name


def test_a_scheduled_run_covers_its_interval_and_asks_nothing():
    asked = request(DATED, {}, run_type="scheduled", user=None)
    assert asked.day == date(2026, 10, 5)
    assert (asked.prefix, asked.full_rescan, asked.approve, asked.reject, asked.decided_by) == ("", False, None, None, "")
    assert (asked.source, asked.door, asked.external_id) == ("docs", "airflow", "r1")
    assert request(DATED, {"full_rescan": True}, run_type="backfill").full_rescan is True
    assert request(PLAIN, {}, run_type="scheduled").day is None


def test_a_manual_run_of_a_dated_source_asks_for_the_day():
    assert request(DATED, {"day": "2026-10-01"}).day == date(2026, 10, 1)
    # Even with a logical date: it is the moment of the click, not the day that is meant.
    with pytest.raises(FixConfiguration, match=r"a manual run needs the day.*\"day\": \"YYYY-MM-DD\"") as error:
        request(DATED, {})
    assert "\n" not in str(error.value)


def test_a_day_is_refused_where_runs_have_their_own():
    with pytest.raises(FixConfiguration, match="has its own interval"):
        request(DATED, {"day": "2026-10-01"}, run_type="backfill")


def test_an_unknown_key_is_refused_before_anything_is_read():
    with pytest.raises(FixConfiguration, match="unknown key 'dryrun'; did you mean 'dry_run'"):
        request(PLAIN, {"dryrun": True})
    with pytest.raises(FixConfiguration, match="unknown key 'day'"):
        request(PLAIN, {"day": "2026-10-01"})


def test_a_decision_carries_who_took_it():
    approved = request(PLAIN, {"approve_held": 17})
    assert (approved.approve, approved.decided_by) == (17, "ana")
    rejected = request(PLAIN, {"reject_held": 17})
    assert (rejected.approve, rejected.reject, rejected.decided_by) == (None, 17, "ana")
    assert request(PLAIN, {"prefix": "hr/"}).decided_by == ""

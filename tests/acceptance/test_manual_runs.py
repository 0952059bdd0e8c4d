"""Runs that a person triggers through Airflow's API: what is refused, what fails with one line, what works."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from pipelines.errors import FixConfiguration
from tests.acceptance.rig import Rig

pytestmark = [pytest.mark.airflow, pytest.mark.integration, pytest.mark.slow]

DAG = "sync_tickets"
DAY = "2026-10-03"


def test_without_a_day_plan_fails_at_once_and_asks_for_it(rig: Rig) -> None:
    run_id, state = rig.run(DAG)
    assert state == "failed"
    with closing(rig.client()) as client:
        tasks = {task["task_id"]: task for task in client.task_instances(DAG, run_id)}
    assert (tasks["plan"]["state"], tasks["plan"]["try_number"]) == ("failed", 1)
    asked = [error["exc_value"] for error in errors(rig.task_log(DAG, run_id, "plan"))]
    assert asked == ['sync_tickets: a manual run needs the day to sync; trigger it with {"day": "YYYY-MM-DD"}']
    assert "plan did not end" in rig.task_log(DAG, run_id, "settle")
    assert rig.corpus("SELECT count(*) FROM run WHERE external_id = %s", run_id) == [(0,)]


def test_with_a_day_it_syncs_that_day(rig: Rig) -> None:
    run_id, state = rig.run(DAG, day=DAY)
    assert state == "success"
    [(scope, listed)] = rig.corpus("SELECT scope, listed FROM run WHERE external_id = %s", run_id)
    assert (scope, listed) == (f"s3://millrace-sample/tickets/raw/dt={DAY}/", 3)
    assert scope in rig.task_log(DAG, run_id, "plan")  # no word of it is masked as a secret


@pytest.mark.parametrize(
    "conf",
    [{"day": "tomorrow"}, {"dry_run": "perhaps"}, {"prefix": "../other"}, {"prefix": "/etc"}, {"approve_held": 0}],
    ids=str,
)
def test_the_api_refuses_invalid_params(rig: Rig, conf: dict[str, object]) -> None:
    before = rig.metadata("SELECT count(*) FROM dag_run")
    with closing(rig.client()) as client:
        rig.until(lambda: client.dag(DAG) is not None)
        with pytest.raises(FixConfiguration, match=f"400 .*{next(iter(conf))}"):
            client.trigger(DAG, conf)
    assert rig.metadata("SELECT count(*) FROM dag_run") == before


def errors(log: str) -> list[dict[str, str]]:
    """The exceptions of a task's log, whose lines are JSON."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line["error_detail"][-1] for line in lines if line.get("error_detail")]

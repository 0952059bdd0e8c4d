"""The stack itself: recovery of an interrupted start on taken ports, a second `up`, what tasks and commands see, `down`.

Collected last: its last test ends the stack.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipelines import config
from pipelines.embedded import stack
from pipelines.embedded.airflow import healthy
from pipelines.embedded.identity import processes_in
from pipelines.errors import FixConfiguration
from tests.acceptance.rig import Rig, project

pytestmark = [pytest.mark.airflow, pytest.mark.integration, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]


def test_a_killed_start_on_taken_ports_is_recovered_and_explained(rig: Rig) -> None:
    status = stack.status(rig.settings)
    assert all(entry["running"] for entry in status["services"].values())
    assert healthy(status["health"])
    assert f"port 8080 is taken; Airflow listens on {rig.services.airflow.home.port}" in rig.said
    assert rig.services.airflow.home.port != 8080
    assert rig.services.bucket.port != 9107


def test_a_second_up_changes_nothing_and_is_quick(rig: Rig) -> None:
    before = stack.status(rig.settings)["services"]
    began = time.monotonic()
    assert rig.millrace("up").returncode == 0
    assert time.monotonic() - began < 20
    assert stack.status(rig.settings)["services"] == before


def test_a_task_sees_the_loaded_settings_and_the_running_services(rig: Rig) -> None:
    run_id, state = rig.run("probe", any="conf")
    assert state == "success"
    [(seen,)] = rig.metadata("SELECT value FROM xcom WHERE run_id = %s AND key = 'return_value'", run_id)
    assert str(seen).strip('"') == f"{rig.services.bucket.endpoint} {rig.root} green"


def test_the_users_airflow_command_works(rig: Rig) -> None:
    assert "example.org" in rig.airflow("connections", "get", "elsewhere", "-o", "json").stdout


def test_the_command_line_finds_the_running_services(rig: Rig) -> None:
    done = rig.millrace("status", "sample", "--json")
    assert (done.returncode, done.stderr) == (0, "")


def test_bad_settings_file_stops_before_anything_starts(tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / "airflow_settings.yaml").write_text("airflow:\n  variables:\n  - {variable_nam: x}\n")
    settings = config.load(ROOT).model_copy(update={"root": tmp_path, "home": tmp_path / "home"})
    with pytest.raises(FixConfiguration, match="variable_nam"):
        stack.up(settings, lambda line: None)
    assert not settings.home.exists()


def test_down_leaves_no_process(rig: Rig) -> None:
    first, second = rig.millrace("down"), rig.millrace("down")
    assert (first.returncode, first.stdout.strip()) == (0, "stopped")
    assert (second.returncode, second.stdout.strip()) == (0, "nothing was running")
    assert not any(entry["running"] for entry in stack.status(rig.settings)["services"].values())
    for folder in ("run", "postgres", "airflow-db"):
        assert processes_in(rig.settings.home / folder) == []

"""airflow_settings.yaml: what is loaded, what is skipped, how a mistake is explained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines import connections
from pipelines.embedded import settings_file
from pipelines.errors import FixConfiguration

ROOT = Path(__file__).resolve().parents[2]


class FakeApi:
    """Remembers what was put."""

    def __init__(self) -> None:
        self.connections: list[Mapping[str, Any]] = []
        self.variables: list[Mapping[str, Any]] = []
        self.pools: list[Mapping[str, Any]] = []

    def put_connection(self, connection: Mapping[str, Any]) -> None:
        self.connections.append(connection)

    def put_variable(self, variable: Mapping[str, Any]) -> None:
        self.variables.append(variable)

    def put_pool(self, pool: Mapping[str, Any]) -> None:
        self.pools.append(pool)


def written(folder: Path, text: str) -> Path:
    path = folder / "airflow_settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def loaded(entries: settings_file.Entries) -> tuple[FakeApi, list[str]]:
    api = FakeApi()
    said: list[str] = []
    settings_file.load(api, entries, settings_file.connections(entries, {}), said.append)
    return api, said


def test_the_projects_own_file_loads_whole() -> None:
    api, said = loaded(settings_file.read(ROOT / "airflow_settings.yaml"))
    assert {"millrace_postgres", "millrace_s3"} <= {entry["connection_id"] for entry in api.connections}
    assert [(pool["name"], pool["slots"]) for pool in api.pools] == [("gpu", 1)]
    assert said == []


@pytest.mark.parametrize("extra", ['\'{"Region": "x"}\'', "{Region: x}"])
def test_extra_is_json_or_a_map_and_keeps_its_case(tmp_path: Path, extra: str) -> None:
    text = f"airflow:\n  connections:\n  - {{conn_id: one, conn_type: aws, conn_extra: {extra}}}\n"
    api, _ = loaded(settings_file.read(written(tmp_path, text)))
    assert json.loads(api.connections[0]["extra"]) == {"Region": "x"}


def test_uri_is_taken_apart(tmp_path: Path) -> None:
    text = "airflow:\n  connections:\n  - {conn_id: one, conn_uri: 'postgres://me:p%40ss@db.example:6000/corpus?sslmode=require'}\n"
    api, _ = loaded(settings_file.read(written(tmp_path, text)))
    [entry] = api.connections
    assert (entry["conn_type"], entry["host"], entry["port"], entry["schema"]) == ("postgres", "db.example", 6000, "corpus")
    assert entry["password"] == "p@ss"
    assert json.loads(entry["extra"]) == {"sslmode": "require"}


def test_empty_entries_are_skipped_each_with_a_line(tmp_path: Path) -> None:
    text = """
airflow:
  connections:
    - {conn_id: , conn_type: }
    - {conn_id: good, conn_type: http, conn_host: example.org}
  pools:
    - {pool_name: unused, pool_slot: 0, pool_description: }
    - {pool_name: used, pool_slot: 3}
  variables:
    - {variable_name: empty, variable_value: ""}
    - {variable_name: full, variable_value: "x"}
"""
    api, said = loaded(settings_file.read(written(tmp_path, text)))
    assert [entry["connection_id"] for entry in api.connections] == ["good"]
    assert [entry["key"] for entry in api.variables] == ["full"]
    assert api.pools == [{"name": "used", "slots": 3, "description": "", "include_deferred": False}]
    assert len(said) == 3
    assert any("'unused'" in line for line in said)


@pytest.mark.parametrize("text", ["", "airflow:\n", "airflow:\n  connections:\n  pools:\n  variables:\n"])
def test_empty_file_is_nothing(tmp_path: Path, text: str) -> None:
    api, said = loaded(settings_file.read(written(tmp_path, text)))
    assert (api.connections, api.variables, api.pools, said) == ([], [], [], [])


def test_absent_file_is_nothing(tmp_path: Path) -> None:
    assert settings_file.read(tmp_path / "airflow_settings.yaml") == settings_file.Entries()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("airflow:\n  connection: []\n", r"airflow\.connection"),
        ("airflow:\n  connections:\n  - {conn_id: a, conn_typ: http}\n", r"airflow\.connections\.0\.conn_typ"),
        ("airflow:\n  connections:\n  - {conn_id: a, conn_type: http, conn_port: many}\n", r"conn_port.*many"),
        ("airflow:\n  connections:\n  - {conn_id: a, conn_type: http, conn_extra: '{broken'}\n", r"conn_extra.*JSON"),
        ("airflow:\n  pools:\n  - {pool_name: a, pool_slot: two}\n", r"pool_slot.*two"),
        ("airflow:\n  variables:\n  - {variable_name: a, variable_value: 3}\n", r"variable_value.*string"),
        ("airflow: [\n", "not valid YAML"),
        ("just text\n", "airflow_settings.yaml"),
    ],
)
def test_a_mistake_is_one_line_with_file_key_and_remedy(tmp_path: Path, text: str, key: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(FixConfiguration, match=key) as caught:
        settings_file.read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert ";" in message


def test_running_services_override_the_file_and_reach_the_command_line(tmp_path: Path) -> None:
    text = """
airflow:
  connections:
    - conn_id: millrace_s3
      conn_type: aws
      conn_login: mine
      conn_extra: '{"region_name": "us-west-2", "endpoint_url": "http://127.0.0.1:1"}'
"""
    overrides: dict[str, dict[str, Any]] = {
        "millrace_s3": {"extra": {"endpoint_url": "http://127.0.0.1:9999"}},
        "millrace_postgres": {"conn_type": "postgres", "host": "/run/sock et", "port": 5432, "schema": "millrace"},
    }
    effective = settings_file.connections(settings_file.read(written(tmp_path, text)), overrides)
    s3 = connections.from_fields("millrace_s3", effective["millrace_s3"])
    assert s3.extra == {"region_name": "us-west-2", "endpoint_url": "http://127.0.0.1:9999"}
    assert s3.login == "mine"
    dsn = connections.postgres_dsn(connections.from_fields("millrace_postgres", effective["millrace_postgres"]))
    assert "%2Frun%2Fsock%20et" in dsn

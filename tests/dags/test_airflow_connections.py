"""Airflow's connections as the engine's records."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import config
from pipelines.errors import FixConfiguration

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def connections():
    from airflow.sdk.execution_time.cache import SecretCache
    from millrace_airflow.connections import AirflowConnections

    SecretCache.reset()
    return AirflowConnections(config.load(ROOT))


def test_a_connection_keeps_its_fields(connections, monkeypatch):
    value = '{"conn_type": "aws", "login": "key", "password": "s3cr3t", "extra": {"endpoint_url": "http://127.0.0.1:1"}}'
    monkeypatch.setenv("AIRFLOW_CONN_MILLRACE_S3", value)
    found = connections["millrace_s3"]
    assert (found.conn_type, found.login, found.password, found.host) == ("aws", "key", "s3cr3t", None)
    assert found.extra == {"endpoint_url": "http://127.0.0.1:1"}
    assert "s3cr3t" not in repr(found)


def test_a_socket_folder_and_a_port_survive(connections, monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_MILLRACE_POSTGRES", '{"conn_type": "postgres", "host": "/run/pg", "port": 5433, "schema": "millrace"}'
    )
    found = connections["millrace_postgres"]
    assert (found.host, found.port, found.schema_) == ("/run/pg", 5433, "millrace")


def test_an_unknown_id_is_one_line_with_the_remedy(connections, metadata):
    with pytest.raises(FixConfiguration, match=r"connection 'nowhere'.*Admin > Connections.*AIRFLOW_CONN_NOWHERE") as error:
        connections["nowhere"]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("extra", ['"[1, 2]"', '"not json"'])
def test_an_extra_that_is_no_object_is_named(connections, monkeypatch, extra):
    monkeypatch.setenv("AIRFLOW_CONN_MILLRACE_S3", f'{{"conn_type": "aws", "extra": {extra}}}')
    with pytest.raises(FixConfiguration, match="connection 'millrace_s3': extra"):
        connections["millrace_s3"]


def test_iterating_names_what_the_configuration_uses(connections):
    assert sorted(connections) == ["millrace_postgres", "millrace_s3"]
    assert len(connections) == 2

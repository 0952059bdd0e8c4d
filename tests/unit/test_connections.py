"""Connections come from the environment, the running services or the settings file, and become driver settings."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import sqlalchemy as sa

from pipelines import config
from pipelines.config import Connection, Settings
from pipelines.connections import (
    LocalConnections,
    from_fields,
    parse,
    postgres_dsn,
    s3_client_arguments,
    sqlalchemy_url,
)
from pipelines.errors import FixConfiguration

SETTINGS_FILE = """
airflow:
  connections:
    - conn_id: from_file
      conn_type: postgres
      conn_host: file-host
      conn_port: 5432
      conn_login: 4711
      conn_extra: '{"sslmode": "require"}'
    - conn_id: everywhere
      conn_type: postgres
      conn_host: file-host
      conn_extra: {sslmode: require}
    - conn_id:
      conn_type:
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIRFLOW_CONN_EVERYWHERE", "AIRFLOW_CONN_FROM_FILE", "AIRFLOW_CONN_C"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "airflow_settings.yaml").write_text(SETTINGS_FILE)
    shipped = config.load(Path(__file__).resolve().parents[2])
    return shipped.model_copy(update={"root": tmp_path, "home": tmp_path / ".millrace"})


def one_line(error: pytest.ExceptionInfo[FixConfiguration]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (
            "postgres://us%40er:p%2Fw%3A%40@Db.Example:5433/corpus?sslmode=require",
            {"login": "us@er", "password": "p/w:@", "host": "Db.Example", "port": 5433, "schema": "corpus"}
            | {"conn_type": "postgres", "extra": {"sslmode": "require"}},
        ),
        (
            "aws://AKIA%2F1:s%2Bcret@/?region_name=eu-central-1&endpoint_url=http%3A%2F%2F127.0.0.1%3A9107",
            {"conn_type": "aws", "login": "AKIA/1", "password": "s+cret"}
            | {"extra": {"region_name": "eu-central-1", "endpoint_url": "http://127.0.0.1:9107"}},
        ),
        (
            "postgres://user@%2Ftmp%2FSocket-Folder/corpus",
            {"host": "/tmp/Socket-Folder", "login": "user", "schema": "corpus"},
        ),
        ("postgres://[2001:db8::1]:5432/x", {"host": "2001:db8::1", "port": 5432}),
        ("google-cloud-platform://?__extra__=%7B%22a%22%3A+%7B%22b%22%3A+1%7D%7D", {"extra": {"a": {"b": 1}}}),
        ("sqlite:////data/tickets.db", {"conn_type": "sqlite", "schema": "/data/tickets.db"}),
        ("http://host", {"conn_type": "http", "host": "host", "port": None, "login": None, "schema": None}),
    ],
)
def test_a_uri_becomes_its_parts(uri: str, expected: dict[str, object]) -> None:
    got = parse("c", uri).model_dump(by_alias=True)
    assert {key: got[key] for key in expected} == expected


def test_json_becomes_its_parts_with_extra_as_object_or_text() -> None:
    fields = {"conn_type": "aws", "login": "a", "password": "b", "port": "9000", "extra": {"region_name": "x"}}
    as_object = parse("c", json.dumps(fields))
    as_text = parse("c", " " + json.dumps(fields | {"extra": json.dumps(fields["extra"])}))
    assert as_object == as_text
    assert (as_object.port, as_object.extra) == (9000, {"region_name": "x"})


@pytest.mark.parametrize(
    "raw",
    [
        '{"conn_type": "aws", ',
        '{"conn_type": "aws", "extra": "{"}',
        '{"conn_type": "aws", "extra": [1]}',
        '{"conn_type": "aws", "port": "many"}',
        "postgres://host:many/db",
        "postgres://u:s3cret[@host/db",
        "postgres://host/?__extra__=%7B",
    ],
)
def test_an_unreadable_value_names_its_connection_and_hides_the_password(raw: str) -> None:
    with pytest.raises(FixConfiguration) as caught:
        parse("corpus", raw)
    message = one_line(caught)
    assert "corpus" in message.lower()
    assert "s3cret" not in message


def test_the_environment_beats_the_running_services_which_beat_the_file(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LocalConnections(settings)["everywhere"].host == "file-host"
    settings.home.mkdir()
    running = {"everywhere": {"conn_type": "postgres", "host": "running-host"}}
    (settings.home / "connections.json").write_text(json.dumps(running))
    assert LocalConnections(settings)["everywhere"].host == "running-host"
    monkeypatch.setenv("AIRFLOW_CONN_EVERYWHERE", "postgres://env-host")
    assert LocalConnections(settings)["everywhere"].host == "env-host"
    assert LocalConnections(settings)["from_file"].host == "file-host"


def test_the_settings_file_gives_text_whatever_yaml_made_of_it(settings: Settings) -> None:
    connection = LocalConnections(settings)["from_file"]
    assert (connection.login, connection.port, connection.extra) == ("4711", 5432, {"sslmode": "require"})
    assert set(LocalConnections(settings)) >= {"from_file", "everywhere"}


def test_a_half_written_file_of_running_services_counts_as_absent(settings: Settings) -> None:
    settings.home.mkdir()
    (settings.home / "connections.json").write_text('{"everywhere": {"conn_ty')
    assert LocalConnections(settings)["everywhere"].host == "file-host"


def test_an_unknown_connection_names_those_known_and_the_remedy(settings: Settings) -> None:
    with pytest.raises(FixConfiguration) as caught:
        LocalConnections(settings)["missing_one"]
    message = one_line(caught)
    for part in ("'missing_one'", "everywhere", "from_file", "airflow_settings.yaml", "AIRFLOW_CONN_MISSING_ONE"):
        assert part in message


def test_without_any_file_nothing_is_known(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "airflow_settings.yaml").unlink()
    assert "from_file" not in set(LocalConnections(settings))


def test_bad_yaml_in_the_settings_file_is_one_line(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "airflow_settings.yaml").write_text("airflow: {")
    with pytest.raises(FixConfiguration, match="airflow_settings.yaml: not valid YAML") as caught:
        LocalConnections(settings)
    one_line(caught)


@pytest.mark.parametrize("host", ["db.example", "10.0.0.1", "2001:db8::1", "/tmp/sock et"])
@pytest.mark.parametrize("password", [None, "p@ss/w:ord%&?#"])
def test_a_postgres_uri_carries_every_part(host: str, password: str | None) -> None:
    connection = from_fields(
        "c", {"type": "postgres", "host": host, "port": 5433, "login": "u@x", "password": password, "schema": "my/db"}
    )
    url = urlsplit(postgres_dsn(connection))
    query = parse_qs(url.query)
    assert unquote(url.username or "") == "u@x"
    assert url.password is None if password is None else unquote(url.password or "") == password
    assert unquote(url.path[1:]) == "my/db"
    assert (url.hostname or query["host"][0], str(url.port or query["port"][0])) == (host, "5433")


def test_a_postgres_uri_has_defaults_and_libpq_options() -> None:
    assert postgres_dsn(Connection(conn_id="c", conn_type="postgres")) == "postgresql://postgres@localhost/millrace"
    connection = Connection(conn_id="c", conn_type="postgres", extra={"sslmode": "verify-full", "nested": {"a": 1}})
    assert postgres_dsn(connection).endswith("/millrace?sslmode=verify-full")


def test_a_connection_of_another_type_is_refused() -> None:
    for make in (postgres_dsn, s3_client_arguments):
        with pytest.raises(FixConfiguration, match="connection 'c': type 'ftp', expected .*correct it") as caught:
            make(Connection(conn_id="c", conn_type="ftp"))
        one_line(caught)


def test_s3_arguments_leave_out_what_is_empty() -> None:
    assert s3_client_arguments(Connection(conn_id="c", conn_type="aws")) == {}
    full = Connection(conn_id="c", conn_type="aws", login="k", password="s", extra={"endpoint_url": "http://x", "other": 1})
    assert s3_client_arguments(full) == {
        "endpoint_url": "http://x",
        "aws_access_key_id": "k",
        "aws_secret_access_key": "s",
    }


@pytest.mark.parametrize(
    ("connection", "backend", "database", "host"),
    [
        (parse("c", "sqlite:////data/t.db"), "sqlite", "/data/t.db", None),
        (Connection(conn_id="c", conn_type="sqlite", host="/data/t.db"), "sqlite", "/data/t.db", None),
        (parse("c", "postgres://u@h:1/d"), "postgresql", "d", "h"),
        (Connection(conn_id="c", extra={"sqlalchemy_url": "mysql+pymysql://u@h/d"}), "mysql", "d", "h"),
    ],
)
def test_a_sqlalchemy_url_fits_the_type(connection: Connection, backend: str, database: str, host: str | None) -> None:
    url = sa.make_url(sqlalchemy_url(connection))
    assert (url.get_backend_name(), url.database, url.host) == (backend, database, host)


def test_a_type_without_a_url_says_where_to_put_one() -> None:
    with pytest.raises(FixConfiguration, match="'oracle' has no built-in URL; put .*sqlalchemy_url"):
        sqlalchemy_url(Connection(conn_id="c", conn_type="oracle"))


def test_a_printed_connection_shows_no_secret() -> None:
    connection = from_fields("c", {"type": "aws", "password": "hush", "extra": {"aws_session_token": "hush"}})
    assert "hush" not in repr(connection)

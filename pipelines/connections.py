"""Where services are: the raw `Connection` records, and the driver settings made of them.

A DAG hands over Airflow's connections (`plugins/millrace_airflow/connections.py`). The CLI resolves the same ids, first
match wins: the environment (`AIRFLOW_CONN_<ID>`, a URI or JSON, Airflow's own convention), the running embedded services
(`.millrace/connections.json`, written by `millrace up`), then `airflow_settings.yaml`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import yaml

from pipelines.config import Connection, Settings
from pipelines.errors import FixConfiguration

Connections = Mapping[str, Connection]


class LocalConnections(Mapping[str, Connection]):
    """The CLI's view of the connections; unknown ids raise FixConfiguration naming file and remedy."""

    def __init__(self, settings: Settings) -> None:
        self._all = {
            **_from_settings_file(settings.root / "airflow_settings.yaml"),
            **_from_running(settings.home / "connections.json"),
            **_from_environment(),
        }

    def __getitem__(self, conn_id: str) -> Connection:
        try:
            return self._all[conn_id]
        except KeyError:
            raise unknown(conn_id, self._all) from None

    def __iter__(self) -> Any:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def unknown(conn_id: str, known: Mapping[str, object]) -> FixConfiguration:
    """The error for a connection id that nothing defines."""
    return FixConfiguration(
        f"airflow_settings.yaml: no connection {conn_id!r} (known: {', '.join(sorted(known)) or 'none'}); "
        f"add it there or set AIRFLOW_CONN_{conn_id.upper()}"
    )


def postgres_dsn(connection: Connection) -> str:
    """A libpq URI; `host` may be a socket folder, `extra` holds further libpq parameters such as sslmode."""
    _expect(connection, {"postgres", "postgresql"})
    login = quote(connection.login or "postgres", safe="")
    password = f":{quote(connection.password, safe='')}" if connection.password else ""
    options = {key: str(value) for key, value in connection.extra.items() if isinstance(value, (str, int))}
    host = connection.host or "localhost"
    if host.startswith("/"):
        options["host"], host = host, ""
    if ":" in host:
        host = f"[{host}]"
    port = f":{connection.port}" if connection.port and host else ""
    if connection.port and not host:
        options["port"] = str(connection.port)
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in sorted(options.items()))
    database = quote(connection.schema_ or "millrace", safe="")
    return f"postgresql://{login}{password}@{host}{port}/{database}" + (f"?{query}" if query else "")


def s3_client_arguments(connection: Connection) -> dict[str, Any]:
    """Keyword arguments of `boto3.client("s3", …)`; empty credentials fall through to boto3's own chain."""
    _expect(connection, {"aws", "s3"})
    arguments = {
        "endpoint_url": connection.extra.get("endpoint_url"),
        "region_name": connection.extra.get("region_name"),
        "aws_access_key_id": connection.login,
        "aws_secret_access_key": connection.password,
        "aws_session_token": connection.extra.get("aws_session_token"),
    }
    return {key: value for key, value in arguments.items() if value}


def sqlalchemy_url(connection: Connection) -> str:
    """The SQLAlchemy URL of a database that rows are read from: `extra.sqlalchemy_url`, else made of the fields."""
    url = connection.extra.get("sqlalchemy_url")
    if url:
        return str(url)
    if connection.conn_type == "sqlite":
        return f"sqlite:///{connection.host or connection.schema_ or ''}"
    if connection.conn_type in {"postgres", "postgresql"}:
        return "postgresql+psycopg" + postgres_dsn(connection).removeprefix("postgresql")
    raise FixConfiguration(
        f"connection {connection.conn_id!r}: type {connection.conn_type!r} has no built-in URL; "
        'put {"sqlalchemy_url": "dialect+driver://…"} into its extra'
    )


def http_server(url: str | None, connection_id: str | None, connections: Connections) -> tuple[str, str | None]:
    """(url, bearer token) of a server named by its url or by a connection. Raises FixConfiguration without a host."""
    if connection_id is None:
        return str(url), None
    connection = connections[connection_id]
    host = connection.host or ""
    if not host:
        raise FixConfiguration(f"connection {connection_id!r}: no host; give the server's")
    if "://" not in host:
        scheme = connection.schema_ if connection.schema_ in {"http", "https"} else "http"
        host = f"{scheme}://{host}"
    return f"{host}:{connection.port}" if connection.port else host, connection.password


def parse(conn_id: str, raw: str) -> Connection:
    """An `AIRFLOW_CONN_…` value, JSON or URI, as a Connection."""
    if raw.lstrip().startswith("{"):
        try:
            fields = json.loads(raw)
        except json.JSONDecodeError as error:
            raise FixConfiguration(f"AIRFLOW_CONN_{conn_id.upper()}: not valid JSON ({error}); correct it") from None
        return from_fields(conn_id, fields)
    return _from_uri(conn_id, raw)


def _from_uri(conn_id: str, raw: str) -> Connection:
    try:
        url = urlsplit(raw)
    except ValueError as error:  # the value holds a password: it is not repeated
        raise FixConfiguration(f"AIRFLOW_CONN_{conn_id.upper()}: not a URI ({error}); percent-encode its parts") from None
    credentials, _, place = url.netloc.rpartition("@")
    login, _, password = credentials.partition(":")
    host, port = _host_and_port(place)  # not url.hostname: it lower-cases socket folders
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    extra = query.pop("__extra__", None)
    fields = {
        "type": url.scheme.replace("-", "_"),
        "host": unquote(host),
        "port": port,
        "login": unquote(login),
        "password": unquote(password),
        "schema": unquote(url.path.removeprefix("/")),
    }
    connection = from_fields(conn_id, fields | {"extra": extra})
    return connection.model_copy(update={"extra": connection.extra | query})


def _host_and_port(place: str) -> tuple[str, str]:
    if place.startswith("["):  # an IPv6 address
        host, _, rest = place[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = place.partition(":")
    return host, port


def from_fields(conn_id: str, fields: Mapping[str, Any]) -> Connection:
    """A Connection from Airflow's field names, with or without the `conn_` prefix of airflow_settings.yaml."""
    value = {str(key).removeprefix("conn_"): entry for key, entry in fields.items()}
    try:
        return Connection(
            conn_id=conn_id,
            conn_type=str(value.get("type") or ""),
            host=_text(value.get("host")),
            port=int(value["port"]) if value.get("port") else None,
            login=_text(value.get("login")),
            password=_text(value.get("password")),
            schema=_text(value.get("schema")),
            extra=_extra(conn_id, value.get("extra")),
        )
    except (TypeError, ValueError):
        raise FixConfiguration(f"connection {conn_id!r}: port {value['port']!r} is not a number; correct it") from None


def _text(value: object) -> str | None:
    """YAML reads a login such as 4711 as a number."""
    return None if value is None or value == "" else str(value)


def _extra(conn_id: str, extra: object) -> dict[str, Any]:
    if isinstance(extra, str) and extra:
        try:
            extra = json.loads(extra)
        except json.JSONDecodeError as error:
            raise FixConfiguration(f"connection {conn_id!r}: extra is not valid JSON ({error}); correct it") from None
    if extra and not isinstance(extra, dict):
        raise FixConfiguration(f'connection {conn_id!r}: extra is no JSON object; write {{"name": "value"}}')
    return {str(key): value for key, value in extra.items()} if isinstance(extra, dict) else {}


def _from_environment() -> dict[str, Connection]:
    prefix = "AIRFLOW_CONN_"
    found = {key.removeprefix(prefix).lower(): raw for key, raw in os.environ.items() if key.startswith(prefix)}
    return {conn_id: parse(conn_id, raw) for conn_id, raw in found.items()}


def _from_running(path: Path) -> dict[str, Connection]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):  # absent, or half written by an interrupted `up`
        return {}
    return {conn_id: from_fields(conn_id, fields) for conn_id, fields in entries.items()}


def _from_settings_file(path: Path) -> dict[str, Connection]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FixConfiguration(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    entries = (document.get("airflow") or {}).get("connections") or []
    return {entry["conn_id"]: from_fields(entry["conn_id"], entry) for entry in entries if entry.get("conn_id")}


def _expect(connection: Connection, types: set[str]) -> None:
    if connection.conn_type not in types:
        raise FixConfiguration(
            f"connection {connection.conn_id!r}: type {connection.conn_type!r}, expected {' or '.join(sorted(types))}; "
            "correct it in airflow_settings.yaml or the Airflow UI"
        )

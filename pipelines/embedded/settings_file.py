"""airflow_settings.yaml, in the Astro CLI's format, loaded into a running Airflow through its REST API.

As the Astro CLI does: entries are created, and changed when they exist; a pool without slots and entries without a name or a
value are skipped. Unlike it, keys of an `extra` written as a YAML map keep their case.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import yaml
from pydantic import Field, field_validator

from pipelines.config import Connection, Strict, validate
from pipelines.connections import from_fields, parse
from pipelines.errors import FixConfiguration

NAME = "airflow_settings.yaml"


class ConnectionEntry(Strict):
    """One connection; `conn_extra` is a JSON string or a map."""

    conn_id: str | None = None
    conn_type: str | None = None
    conn_host: str | None = None
    conn_schema: str | None = None
    conn_login: str | None = None
    conn_password: str | None = Field(default=None, repr=False)
    conn_port: int | None = Field(default=None, ge=0, le=65535)
    conn_uri: str | None = None
    conn_extra: dict[str, Any] | None = None

    @property
    def complete(self) -> bool:
        """Whether there is something to create."""
        return bool(self.conn_id and (self.conn_type or self.conn_uri))

    @field_validator("conn_extra", mode="before")
    @classmethod
    def _json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value.strip() else None
        except json.JSONDecodeError as error:
            raise ValueError(f"not valid JSON ({error})") from None


class PoolEntry(Strict):
    """One pool; `pool_slot: 0` means that it is skipped."""

    pool_name: str | None = None
    pool_slot: int | None = Field(default=None, ge=-1)
    pool_description: str | None = None

    @property
    def complete(self) -> bool:
        """Whether there is something to create."""
        return bool(self.pool_name and self.pool_slot)


class VariableEntry(Strict):
    """One variable; the value is a string, JSON included."""

    variable_name: str | None = None
    variable_value: str | None = None

    @property
    def complete(self) -> bool:
        """Whether there is something to create."""
        return bool(self.variable_name and self.variable_value)


class Entries(Strict):
    """The lists of the file; an empty list may be written as nothing."""

    connections: tuple[ConnectionEntry, ...] = Field(default=(), strict=False)
    pools: tuple[PoolEntry, ...] = Field(default=(), strict=False)
    variables: tuple[VariableEntry, ...] = Field(default=(), strict=False)

    @field_validator("connections", "pools", "variables", mode="before")
    @classmethod
    def _nothing(cls, value: object) -> object:
        return () if value is None else value


class SettingsFile(Strict):
    """The whole file."""

    airflow: Entries = Entries()


class Api(Protocol):
    """The part of the REST client that the loader needs."""

    def put_connection(self, connection: Mapping[str, Any]) -> None: ...
    def put_variable(self, variable: Mapping[str, Any]) -> None: ...
    def put_pool(self, pool: Mapping[str, Any]) -> None: ...


def read(path: Path) -> Entries:
    """The file's entries; none when it is absent. FixConfiguration with file, key and remedy when it is wrong."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Entries()
    except yaml.YAMLError as error:
        raise FixConfiguration(f"{path}: not valid YAML: {' '.join(str(error).split())}; correct it") from None
    raw = {} if raw is None else raw
    if isinstance(raw, dict) and raw.get("airflow", {}) is None:
        raw = {}
    return validate(raw, SettingsFile, str(path)).airflow


def connections(entries: Entries, overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The effective connections by id: the file's, with the embedded services' fields replaced."""
    known = {str(entry.conn_id): _fields(entry) for entry in entries.connections if entry.complete}
    for conn_id, fields in overrides.items():
        base = known.get(conn_id, {})
        known[conn_id] = {**base, **fields, "extra": {**(base.get("extra") or {}), **(fields.get("extra") or {})}}
    return known


def load(api: Api, entries: Entries, effective: Mapping[str, Mapping[str, Any]], say: Callable[[str], None]) -> None:
    """Create or change everything in Airflow; each skipped entry is one line."""
    for conn_id, fields in effective.items():
        extra = json.dumps(fields["extra"]) if fields.get("extra") else None
        api.put_connection({**fields, "connection_id": conn_id, "extra": extra})
    for variable in entries.variables:
        if variable.complete:
            api.put_variable({"key": variable.variable_name, "value": variable.variable_value})
    for pool in entries.pools:
        if pool.complete:
            body = {"name": pool.pool_name, "slots": pool.pool_slot, "description": pool.pool_description or ""}
            api.put_pool({**body, "include_deferred": False})
    for line in skipped(entries):
        say(line)


def skipped(entries: Entries) -> list[str]:
    """One line for each entry that is not loaded."""
    lines = [
        *(f"connection {entry.conn_id!r} without id or type" for entry in entries.connections if not entry.complete),
        *(f"variable {entry.variable_name!r} without name or value" for entry in entries.variables if not entry.complete),
        *(f"pool {entry.pool_name!r} without name or slots" for entry in entries.pools if not entry.complete),
    ]
    return [f"{NAME}: skipped: {line}" for line in lines]


def _fields(entry: ConnectionEntry) -> dict[str, Any]:
    connection = parse(str(entry.conn_id), entry.conn_uri) if entry.conn_uri else _from_entry(entry)
    fields = connection.model_dump(by_alias=True, exclude={"conn_id"})
    return {name: value for name, value in fields.items() if value not in (None, {})}


def _from_entry(entry: ConnectionEntry) -> Connection:
    return from_fields(str(entry.conn_id), entry.model_dump())

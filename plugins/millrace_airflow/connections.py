"""Airflow's connections as the records that the engine understands. Resolved one by one, when a stage first needs them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from pipelines import config
from pipelines.errors import FixConfiguration


class AirflowConnections(Mapping[str, config.Connection]):
    """Every connection that Airflow can resolve; iterating names those that `sources.yaml` uses.

    An id that neither a secrets backend, the environment nor Airflow's database knows raises FixConfiguration.
    """

    def __init__(self, settings: config.Settings) -> None:
        self._ids = connection_ids(settings)

    def __getitem__(self, conn_id: str) -> config.Connection:
        try:
            found = BaseHook.get_connection(conn_id)
        except AirflowNotFoundException:
            raise FixConfiguration(
                f"connection {conn_id!r}: Airflow does not know it; add it under Admin > Connections, in a secrets backend, "
                f"as AIRFLOW_CONN_{conn_id.upper()}, or in airflow_settings.yaml for a local stack"
            ) from None
        return config.Connection(
            conn_id=conn_id,
            conn_type=found.conn_type or "",
            host=found.host or None,
            port=found.port,
            login=found.login or None,
            password=found.password or None,
            schema=found.schema or None,
            extra=_extra(conn_id, found.extra),
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


def connection_ids(settings: config.Settings) -> list[str]:
    """The connection ids that the configuration names, sorted."""
    named = {settings.database}
    named |= {source.connection for source in settings.sources.values() if not isinstance(source, config.FolderSource)}
    if settings.objects is not None:
        named.add(settings.objects.connection)
    return sorted(named)


def _extra(conn_id: str, raw: str | None) -> dict[str, Any]:
    try:
        extra = json.loads(raw or "{}")
    except json.JSONDecodeError as error:
        raise FixConfiguration(f"connection {conn_id!r}: extra is not valid JSON ({error}); correct it") from None
    if not isinstance(extra, dict):
        raise FixConfiguration(f"connection {conn_id!r}: extra must be a JSON object, such as {{}}; correct it")
    return extra

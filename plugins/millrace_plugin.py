"""The only plugin module that Airflow scans; everything else is in the package `millrace_airflow`.

Airflow executes this file in every one of its processes, so it imports nothing heavy: the web routes are built when the
API server asks for them.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

ROOT = "/millrace"


class Lazy:
    """A class attribute that is computed at each access, on the class as on an instance."""

    def __get__(self, instance: object, owner: type) -> list[dict[str, Any]]:
        from millrace_airflow import console  # noqa: PLC0415 - only the API server pays for FastAPI

        return [{"name": "millrace", "app": console.app(), "url_prefix": ROOT}]


class MillracePlugin(AirflowPlugin):
    """Millrace's routes below /millrace: the Data Docs that the tasks' links open."""

    name = "millrace"
    fastapi_apps = Lazy()

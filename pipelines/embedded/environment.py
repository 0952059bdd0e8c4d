"""The environment that embedded services start with: the caller's, without what would point them elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DROPPED = ("AIRFLOW_HOME", "AIRFLOW_CONFIG", "AIRFLOW__", "AWS_", "BOTO_", "MOTO_", "PG", "PYTHON", "WEB_CONCURRENCY")
LOCAL = "localhost,127.0.0.1"


def service_environment(**additions: str) -> dict[str, str]:
    """A copy of the environment in which `pipelines` imports uninstalled and no proxy stands between the services."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(DROPPED)}
    proxy = ",".join(filter(None, (kept.get("NO_PROXY") or kept.get("no_proxy"), LOCAL)))
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "NO_PROXY": proxy, "no_proxy": proxy, **additions}

"""Keeps the corpus tables and indexes in shape, weekly. Wiring only; the work is in pipelines/stages/maintain.py."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, task
from millrace_airflow import documentation, retries, runtime

DEFAULTS: dict[str, Any] = {
    "owner": "millrace",
    "retries": retries.RETRIES,
    "retry_delay": retries.DELAY,
    "retry_policy": retries.BY_ERROR_CLASS,
    "execution_timeout": timedelta(hours=12),
}


@dag(
    description="Vacuums the corpus, rebuilds worn indexes and checks that vector indexes find what exact search does",
    doc_md=documentation.MAINTAIN,
    schedule="0 3 * * 0",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["millrace", "maintain"],
    default_args=DEFAULTS,
)
def maintain() -> None:
    """One task: tables share the connection and the order."""

    @task(task_id="maintain")
    def upkeep() -> dict[str, Any]:
        """Vacuum, rebuild, measure recall; red when an index finds too little."""
        from pipelines.stages import maintain

        with runtime.open_task() as ctx:
            return runtime.maintained(maintain.run(ctx), maintain.require)

    upkeep()


maintain()

"""Whether this machine has the engine that computes a model's vectors: the extra `models` of pyproject.toml."""

from __future__ import annotations

from importlib.util import find_spec

from pipelines.config import Model
from pipelines.errors import FixConfiguration


def require(model: Model, queue: str) -> None:
    """Refuse, before anything is read, a task that this worker cannot do. Imports no engine.

    Raises FixConfiguration, which Airflow does not repeat: the next try would most likely meet the same worker.
    """
    if model.tier == "hash" or model.http is not None or _installed(model.engine):
        return
    raise FixConfiguration(
        f"this worker has no {model.engine}, so it cannot embed: install the extra `models` (requirements-worker-gpu.txt) "
        f"on it, or let only workers that have it serve queue {queue!r}; then clear the task"
    )


def no_torch(error: ModuleNotFoundError) -> FixConfiguration:
    """What to say where engine torch is configured and a package of it is missing."""
    return FixConfiguration(
        f"include/config/models.yaml: engine torch needs the extra `models` and {error.name} is not installed; "
        "install requirements-worker-gpu.txt or run the task on a queue whose workers have it"
    )


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False

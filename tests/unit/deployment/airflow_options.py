"""Which options Airflow and its executors' providers know; read from their files, without importing Airflow."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import yaml

PROVIDERS = ("celery", "cncf/kubernetes")


@cache
def options() -> frozenset[tuple[str, str]]:
    """Every (section, option) of airflow.cfg."""
    spec = importlib.util.find_spec("airflow")
    assert spec is not None
    assert spec.submodule_search_locations
    airflow = Path(next(iter(spec.submodule_search_locations)))
    sections = yaml.safe_load((airflow / "config_templates/config.yml").read_text(encoding="utf-8"))
    for provider in PROVIDERS:
        sections |= _provider(airflow / "providers" / provider / "get_provider_info.py")
    return frozenset((section, option) for section, entry in sections.items() for option in entry["options"])


def unknown(environment: dict[str, object]) -> list[str]:
    """The AIRFLOW__SECTION__OPTION variables that Airflow would ignore."""
    found = []
    for name in environment:
        if name.startswith("AIRFLOW__"):
            section, _, option = name.removeprefix("AIRFLOW__").lower().partition("__")
            if (section, option) not in options():
                found.append(name)
    return found


def _provider(path: Path) -> dict[str, dict[str, dict[str, object]]]:
    spec = importlib.util.spec_from_file_location("provider_info", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config: dict[str, dict[str, dict[str, object]]] = module.get_provider_info()["config"]
    return config

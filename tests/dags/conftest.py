"""An Airflow of its own for these tests: a throw-away AIRFLOW_HOME with SQLite, this checkout's dags and plugins.

The home is set when this file is imported, because Airflow reads it once per process.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(tempfile.mkdtemp(prefix="millrace-airflow-"))
CONFIG = f"""\
[core]
dags_folder = {ROOT / "dags"}
plugins_folder = {ROOT / "plugins"}
load_examples = False
simple_auth_manager_users = ana:admin
simple_auth_manager_passwords_file = {HOME / "passwords.json"}
[database]
sql_alchemy_conn = sqlite:///{HOME / "airflow.db"}
[api_auth]
jwt_secret = a-secret-of-these-tests-only-0123456789-0123456789-0123456789-abc
[api]
secret_key = another-secret-of-these-tests
[logging]
base_log_folder = {HOME / "logs"}
logging_level = WARNING
"""
(HOME / "airflow.cfg").write_text(CONFIG, encoding="utf-8")
os.environ["AIRFLOW_HOME"] = str(HOME)
sys.path[:0] = [str(ROOT / "plugins")]

# Airflow 3.3.2 and its libraries warn about themselves; exactly these are let through.
AIRFLOW_WARNINGS = [
    "ignore:GitWildMatchPattern:DeprecationWarning",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            for warning in AIRFLOW_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="session", autouse=True)
def airflow_home() -> Iterator[Path]:
    """The folder, removed after the last test."""
    yield HOME
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def metadata() -> None:
    """Airflow's tables in the throw-away SQLite file."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture(scope="session")
def bag() -> Any:
    """The parsed DAGs of this checkout."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(dag_folder=ROOT / "dags")

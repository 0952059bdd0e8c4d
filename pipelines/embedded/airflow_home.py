"""AIRFLOW_HOME of the embedded Airflow: airflow.cfg, the secrets and the login, all written by `up` and kept over restarts.

`AIRFLOW_HOME=$PWD/.millrace/airflow .venv/bin/airflow …` then works with no further environment. airflow.cfg is rewritten at
every `up`; a lasting change belongs in SECTIONS below.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.config import Settings
from pipelines.embedded.files import read_json, write_json, write_text
from pipelines.embedded.postgres import Postgres

USER = "admin"
PORT = 8080
DATABASE = "airflow"
HEADER = "# Written by `make up` on every start: edit pipelines/embedded/airflow_home.py instead.\n"
# Short intervals everywhere: one person on one machine waits for each of them.
SECTIONS: dict[str, dict[str, str]] = {
    "core": {
        "executor": "LocalExecutor",
        "parallelism": "4",
        "load_examples": "False",
        "dags_are_paused_at_creation": "True",
        "simple_auth_manager_users": f"{USER}:admin",
        "hostname_callable": "socket.gethostname",
        "max_map_length": "1024",
        "min_serialized_dag_update_interval": "5",
    },
    "scheduler": {
        "scheduler_idle_sleep_time": "0.2",
        "enable_health_check": "False",
        "max_tis_per_query": "32",
    },
    "dag_processor": {
        "refresh_interval": "10",
        "min_file_process_interval": "15",
        "bundle_refresh_check_interval": "2",
        "parsing_processes": "2",
        "dag_file_processor_timeout": "120",
    },
    "api": {"host": "127.0.0.1", "workers": "1", "expose_config": "False"},
    "workers": {"min_heartbeat_interval": "1", "max_failed_heartbeats": "20", "execution_api_timeout": "30"},
    "execution_api": {"jwt_expiration_time": "3600"},
    "usage_data_collection": {"enabled": "False"},
    "logging": {"colored_console_log": "False"},
}


@dataclass(frozen=True)
class Login:
    """Who enters the UI and the REST API."""

    user: str
    password: str


class AirflowHome:
    """The folder `<home>/airflow`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.home / "airflow"
        self.config = self.folder / "airflow.cfg"
        self._secrets = self.folder / "secrets.json"
        self._passwords = self.folder / "simple_auth_manager_passwords.json.generated"
        self._state = self.folder / "state.json"

    def write(self, metadata: Postgres, port: int) -> None:
        """Write airflow.cfg for this port; secrets and the password are made once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.login()
        own = self._own_sections(metadata, port)
        sections = {name: SECTIONS.get(name, {}) | own.get(name, {}) for name in [*SECTIONS, *(set(own) - set(SECTIONS))]}
        write_text(self.config, HEADER + "".join(_section(name, sections[name]) for name in sections))
        self.remember(port=port)

    def login(self) -> Login:
        """The login; its password is generated at the first call."""
        known = read_json(self._passwords).get(USER)
        if not known:
            known = secrets.token_urlsafe(9)
            write_text(self._passwords, json.dumps({USER: known}) + "\n")
        return Login(USER, str(known))

    @property
    def port(self) -> int:
        """The API server's port at the last start; the preferred one before."""
        return int(read_json(self._state).get("port", PORT))

    @property
    def migrated(self) -> tuple[str, str]:
        """(Airflow version, schema revision) that the metadata database was last migrated to; empty before."""
        state = read_json(self._state)
        return str(state.get("version", "")), str(state.get("revision", ""))

    def remember(self, **values: object) -> None:
        """Merge values into the state file."""
        write_json(self._state, read_json(self._state) | values)

    def _own_sections(self, metadata: Postgres, port: int) -> dict[str, dict[str, str]]:
        keys = self._keys()
        return {
            "core": {
                "dags_folder": str(self.settings.root / "dags"),
                "plugins_folder": str(self.settings.root / "plugins"),
                "fernet_key": keys["fernet"],
                "execution_api_server_url": f"http://127.0.0.1:{port}/execution/",
            },
            "database": {
                "sql_alchemy_conn": f"postgresql+psycopg2://postgres@/{DATABASE}?host={metadata.sockets}&port={metadata.port}"
            },
            "api": {"port": str(port), "base_url": f"http://localhost:{port}", "secret_key": keys["api"]},
            "api_auth": {"jwt_secret": keys["jwt"], "jwt_issuer": "millrace"},
            "logging": {"base_log_folder": str(self.folder / "logs")},
        }

    def _keys(self) -> dict[str, str]:
        known = read_json(self._secrets)
        made = {name: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode() for name in ("fernet", "api", "jwt")}
        if not made.keys() <= known.keys():
            known = made | known
            write_json(self._secrets, known)
        return {name: str(value) for name, value in known.items()}


def _section(name: str, options: Mapping[str, str]) -> str:
    lines = (f"{key} = {value.replace('%', '%%')}\n" for key, value in options.items())
    return f"\n[{name}]\n" + "".join(lines)

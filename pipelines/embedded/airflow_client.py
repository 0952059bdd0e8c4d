"""A small client of Airflow's REST API (`/api/v2`): what `up` and `demo` need of it, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from pipelines.embedded.airflow_home import Login
from pipelines.errors import FixConfiguration, Retry

COMPONENTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")


class AirflowClient:
    """Talks to one API server. Raises Retry when it does not answer or fails, FixConfiguration when it refuses a request."""

    def __init__(self, url: str, login: Callable[[], Login]) -> None:
        self.url = url
        self._login = login
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._token = ""

    def close(self) -> None:
        """Release the connection."""
        self._http.close()

    def health(self) -> dict[str, str]:
        """Status of each component (`healthy`, `unhealthy`, or empty when it never ran); empty when the server is away."""
        try:
            answer = self._http.get("/api/v2/monitor/health", timeout=5)
        except httpx.HTTPError:
            return {}
        if answer.status_code != httpx.codes.OK:
            return {}
        body = answer.json()
        return {name: str((body.get(name) or {}).get("status") or "") for name in COMPONENTS}

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """The DAG as Airflow knows it, or None while it has not been parsed."""
        return self._get(f"/api/v2/dags/{_part(dag_id)}")

    def import_errors(self) -> dict[str, str]:
        """File name -> the last line of its import error."""
        errors = (self._get("/api/v2/importErrors") or {}).get("import_errors", [])
        return {str(error["filename"]): str(error["stack_trace"]).strip().splitlines()[-1] for error in errors}

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run the DAG."""
        self._send("PATCH", f"/api/v2/dags/{_part(dag_id)}", {"is_paused": False})

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, run_after: datetime | None = None) -> str:
        """Start a run without a logical date; returns its run id. Queued runs start in the order of `run_after`."""
        body: dict[str, Any] = {"logical_date": None, "conf": dict(conf or {})}
        if run_after is not None:
            now = datetime.now(UTC).isoformat()
            body |= {"run_after": run_after.isoformat(), "dag_run_id": f"manual__{now}"}
        return str(self._send("POST", f"/api/v2/dags/{_part(dag_id)}/dagRuns", body)["dag_run_id"])

    def dag_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One run; its `state` is queued, running, success or failed."""
        return self._get(f"/api/v2/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}") or {}

    def unfinished_runs(self, dag_id: str) -> list[str]:
        """Ids of the runs that are queued or running."""
        answer = self._get(f"/api/v2/dags/{_part(dag_id)}/dagRuns", {"state": ["queued", "running"]}) or {}
        return [str(run["dag_run_id"]) for run in answer.get("dag_runs", [])]

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The run's task instances."""
        path = f"/api/v2/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances"
        return list((self._get(path, {"limit": 100}) or {}).get("task_instances", []))

    def put_connection(self, connection: Mapping[str, Any]) -> None:
        """Create or change a connection: connection_id, conn_type, host, …"""
        self._put("connections", "connection_id", connection)

    def put_variable(self, variable: Mapping[str, Any]) -> None:
        """Create or change a variable: key, value, description."""
        self._put("variables", "key", variable)

    def put_pool(self, pool: Mapping[str, Any]) -> None:
        """Create or change a pool: name, slots, description, include_deferred."""
        self._put("pools", "name", pool)

    def _put(self, kind: str, key: str, body: Mapping[str, Any]) -> None:
        answer = self._request("PATCH", f"/api/v2/{kind}/{_part(str(body[key]))}", json=body)
        if answer.status_code == httpx.codes.NOT_FOUND:  # the other order logs a traceback for each entry that exists
            answer = self._request("POST", f"/api/v2/{kind}", json=body)
        self._check(answer)

    def _get(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        answer = self._request("GET", path, params=params)
        return None if answer.status_code == httpx.codes.NOT_FOUND else self._check(answer)

    def _send(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._check(self._request(method, path, json=body))

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, headers=self._headers(), **arguments)
            if answer.status_code == httpx.codes.UNAUTHORIZED:  # the token expired
                self._token = ""
                answer = self._http.request(method, path, headers=self._headers(), **arguments)
        except httpx.HTTPError as error:
            raise Retry(f"Airflow at {self.url} does not answer ({error}); see .millrace/logs/api-server.log") from error
        return answer

    def _headers(self) -> dict[str, str]:
        if not self._token:
            login = self._login()
            answer = self._http.post("/auth/token", json={"username": login.user, "password": login.password})
            self._token = str(self._check(answer)["access_token"])
        return {"Authorization": f"Bearer {self._token}"}

    def _check(self, answer: httpx.Response) -> dict[str, Any]:
        where = f"Airflow: {answer.request.method} {answer.request.url.path}: {answer.status_code}"
        if answer.is_server_error:
            raise Retry(f"{where}; see .millrace/logs/api-server.log")
        if answer.is_client_error:
            raise FixConfiguration(f"{where} {' '.join(answer.text.split())[:300]}")
        return dict(answer.json())


def _part(text: str) -> str:
    return quote(text, safe="")

"""The plugin's routes in Airflow's real API application: who may see them, and what they give away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import FixConfiguration, Retry

PAGES = {
    "data-docs/sample/17/0001/documents/index.html": b"<h1>documents</h1>",
    "data-docs/sample/17/0001/chunks/index.html": b"<h1>chunks</h1>",
    "data-docs/sample/17/0001/chunks/validations/chunks.html": b"<script>alert(1)</script>",
    "data-docs/sample/17/0001/chunks/validations/chunks.json": b"{}",
    "data-docs/sample/17/0001/chunks/rows.parquet": b"PAR1",
    "stage/sample/17/0001/documents.json": b"secret",
}


class Objects:
    def __init__(self) -> None:
        self.files = dict(PAGES)
        self.asked: list[str] = []

    def get(self, path: str) -> bytes:
        self.asked.append(path)
        return self.files[path]

    def list(self, prefix: str) -> list[str]:
        return sorted(path for path in self.files if path.startswith(prefix))


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> Objects:
    from millrace_airflow import console

    store = Objects()
    monkeypatch.setattr(console, "_objects", lambda: store)
    return store


@pytest.fixture(scope="module")
def web(metadata: None) -> Iterator[Any]:
    from airflow.api_fastapi.app import create_app
    from fastapi.testclient import TestClient

    with TestClient(create_app(apps="core"), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def ana(web: Any) -> dict[str, str]:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="ana", role="viewer"))
    return {"Authorization": f"Bearer {token}"}


PAGE = "/millrace/data-docs/sample/17/0001/chunks/index.html"


def test_only_signed_in_users_see_data_docs(web, ana, objects):
    assert web.get(PAGE).status_code == 401
    assert web.get(PAGE, headers={"Authorization": "Bearer forged"}).status_code in (401, 403)
    assert objects.asked == []
    seen = web.get(PAGE, headers=ana)
    assert (seen.status_code, seen.content) == (200, b"<h1>chunks</h1>")
    cookie = {"Cookie": f"_token={ana['Authorization'].removeprefix('Bearer ')}"}
    assert web.get(PAGE, headers=cookie).status_code == 200


def test_there_is_no_other_open_door(web):
    for path in ("/millrace/", "/millrace/docs", "/millrace/openapi.json", "/millrace/data-docs/"):
        assert web.get(path).status_code in (401, 403, 404), path


def test_pages_can_neither_run_nor_load_anything(web, ana, objects):
    page = web.get("/millrace/data-docs/sample/17/0001/chunks/validations/chunks.html", headers=ana)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "http" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    json = web.get("/millrace/data-docs/sample/17/0001/chunks/validations/chunks.json", headers=ana)
    assert json.headers["content-type"] == "application/json"


def test_a_shard_lists_its_suites(web, ana, objects):
    page = web.get("/millrace/data-docs/sample/17/0001/", headers=ana)
    assert page.status_code == 200
    assert 'href="chunks/index.html"' in page.text
    assert 'href="documents/index.html"' in page.text
    assert web.get("/millrace/data-docs/sample/18/0001/", headers=ana).status_code == 404


def test_names_in_a_listing_are_text_not_markup(web, ana, objects):
    objects.files['data-docs/sample/17/0001/<img src="x">/index.html'] = b""
    page = web.get("/millrace/data-docs/sample/17/0001/", headers=ana)
    assert "<img" not in page.text


@pytest.mark.parametrize(
    "path",
    [
        "../stage/sample/17/0001/documents.json",
        "%2e%2e/stage/sample/17/0001/documents.json",
        "sample/..%2f..%2fstage/sample/17/0001/documents.json",
        "sample/%2e%2e/%2e%2e/stage/sample/17/0001/documents.json",
        "..%5cstage%5csample.json",
        "%2fetc/passwd.html",
        "/etc/passwd.html",
        "sample//17/index.html",
        "sample/.hidden/index.html",
        "sample/17%00.html",
        "sample/17/0001/chunks/rows.parquet",
        "sample/17/0001/chunks/absent.html",
        "sample/17/0001/chunks",
        "",
        "/",
        "../",
    ],
)
def test_nothing_outside_the_data_docs_is_reachable(web, ana, objects, path):
    answer = web.get(f"/millrace/data-docs/{path}", headers=ana)
    assert answer.status_code == 404, answer.text
    assert b"secret" not in answer.content
    assert not [asked for asked in objects.asked if not asked.startswith("data-docs/sample/")]


@pytest.mark.parametrize("error", [Retry("the store is away"), FixConfiguration("connection 'x': wrong")])
def test_an_unreachable_store_says_so(web, ana, monkeypatch, error):
    from millrace_airflow import console

    def away() -> Any:
        raise error

    monkeypatch.setattr(console, "_objects", away)
    answer = web.get(PAGE, headers=ana)
    assert (answer.status_code, answer.json()["detail"]) == (503, str(error))


def test_the_routes_close_when_airflow_moves_its_security(monkeypatch):
    from fastapi.testclient import TestClient
    from millrace_airflow import console

    def gone(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", gone)
    with TestClient(console.app()) as client:
        assert client.get("/data-docs/sample/17/0001/chunks/index.html").status_code == 403


def test_only_the_registration_file_is_executed_as_a_plugin():
    from airflow._shared.module_loading import find_path_from_directory

    root = Path(__file__).resolve().parents[2]
    found = [Path(path) for path in find_path_from_directory(root / "plugins", ".airflowignore", "glob")]
    assert [path.name for path in found if path.suffix == ".py"] == ["millrace_plugin.py"]
    dags = [Path(path).name for path in find_path_from_directory(root / "dags", ".airflowignore", "glob")]
    assert "sync.py" in dags
    assert not [name for name in dags if name.endswith(".pyc")]


def test_airflow_loads_the_plugin_without_error():
    from airflow import plugins_manager

    names = {plugin.name for plugin in plugins_manager._get_plugins()[0]}
    assert "millrace" in names
    assert plugins_manager.get_import_errors() == {}

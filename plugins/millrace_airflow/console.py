"""Millrace's web routes inside Airflow's API server: the Data Docs, for signed-in users.

Only what lies under `data-docs/` in the objects store is served; stage files hold the documents themselves and are not
reachable. A page comes from the corpus' own text, so it may neither run scripts nor load or send anything. Imported by the
API server only. Airflow's security helpers are not a declared public interface: if they move, every route answers 403.
"""

from __future__ import annotations

import functools
import html
import importlib
import logging
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, HTTPException, Response

from millrace_airflow.connections import AirflowConnections
from pipelines import config
from pipelines.errors import MillraceError

if TYPE_CHECKING:
    from pipelines.ports import Objects

log = logging.getLogger("millrace")
ROOT = "data-docs/"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; sandbox allow-same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Data Docs</title>
<style>body{{font:16px system-ui,sans-serif;margin:3rem auto;max-width:40rem}}</style>
<h1>Data Docs</h1><p>{where}</p><ul>{items}</ul></html>"""


def app() -> FastAPI:
    """The sub-application that Airflow mounts; every route needs the right to see plugins."""
    api = FastAPI(title="Millrace", dependencies=[Depends(guard())], docs_url=None, redoc_url=None, openapi_url=None)
    api.get("/data-docs/{path:path}", response_class=Response)(data_docs)
    return api


def guard() -> Any:
    """Airflow's check of the signed-in user, or one that refuses everybody."""
    try:
        security = importlib.import_module("airflow.api_fastapi.core_api.security")
        details = importlib.import_module("airflow.api_fastapi.auth.managers.models.resource_details")
        return security.requires_access_view(details.AccessView.PLUGINS)
    except (ImportError, AttributeError):
        log.exception("Airflow's security helpers are not where they were; Millrace's routes are closed")
        return _closed


def data_docs(path: str) -> Response:
    """A page of Data Docs; for a folder (a trailing slash) the list of its pages. 404 for anything else."""
    confined(path)
    try:
        return _folder(path) if path.endswith("/") else _page(path)
    except MillraceError as error:
        raise HTTPException(503, str(error)) from None


def confined(path: str) -> None:
    """Raises 404 unless the path stays below the Data Docs and names nothing twice."""
    parts = path.removesuffix("/").split("/")
    if any(part in {"", ".", ".."} or part.startswith(".") or not part.isprintable() or "\\" in part for part in parts):
        raise HTTPException(404, "no such page")


def _page(path: str) -> Response:
    media_type = TYPES.get(PurePosixPath(path).suffix.lower())
    if media_type is None:
        raise HTTPException(404, "no such page")
    try:
        data = _objects().get(ROOT + path)
    except KeyError:
        raise HTTPException(404, f"no page {path!r}: the run wrote none, or it was cleaned up") from None
    return Response(data, media_type=media_type, headers=HEADERS)


def _folder(path: str) -> Response:
    indexes = [found.removeprefix(ROOT + path) for found in _objects().list(ROOT + path) if found.endswith("/index.html")]
    if not indexes:
        raise HTTPException(404, f"no Data Docs under {path!r}: nothing was validated, or they were cleaned up")
    items = "".join(f'<li><a href="{html.escape(name)}">{html.escape(name.split("/")[0])}</a></li>' for name in indexes)
    return Response(PAGE.format(where=html.escape(path), items=items), media_type=TYPES[".html"], headers=HEADERS)


@functools.cache
def _objects() -> Objects:
    from pipelines.context import open_context

    settings = config.load()
    return open_context(settings, AirflowConnections(settings)).objects


def _closed() -> None:
    raise HTTPException(403, "closed: this Airflow version is not supported by Millrace's plugin")

"""Data Docs: great_expectations' own renderers, written as plain files that open without a network.

One folder holds the pages of one shard: `validations/<suite>.html`, the same result as JSON beside it, and `index.html`
listing what the folder holds. great_expectations' site builder would add four megabytes of images per folder and pages that
fetch scripts from public content networks; scripts and foreign references are removed, because a page shows text of
unknown origin inside a signed-in interface.
"""

from __future__ import annotations

import html
import json
import os
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from great_expectations.render.components import (
    RenderedDocumentContent,
    RenderedHeaderContent,
    RenderedSectionContent,
    RenderedStringTemplateContent,
    RenderedTableContent,
)
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view.view import DefaultJinjaIndexPageView, DefaultJinjaPageView

EXAMPLE_CHARS = 120
ACTIVE = re.compile(r"<script\b.*?</script\s*>|<link\b[^>]*>|<img\b[^>]*>|url\('https?:[^)]*\)", re.IGNORECASE | re.DOTALL)
HOME = re.compile(r'href="(?:\.\./)+index\.html"')


def write(folder: Path, styles: Path, result: Any, label: str) -> str:
    """Write the result's page and refresh the folder's index; the page's path relative to the folder."""
    name = result.suite_name
    record = {"suite": name, "label": label, "success": bool(result.success), "statistics": result.statistics}
    record["results"] = [_record(entry.to_json_dict()) for entry in result.results]
    for entry in result.results:
        entry.result, entry.exception_info = _harmless(entry.result), _harmless(entry.exception_info)
    _entitle(result.meta, label or name)
    content = ValidationResultsPageRenderer().render(result)
    page = _view(DefaultJinjaPageView, styles).render(content, show_how_to_buttons=False)
    relative = f"validations/{name}.html"
    _put(folder / relative, HOME.sub('href="../index.html"', ACTIVE.sub("", page)))
    _put(folder / f"validations/{name}.json", json.dumps(record, indent=1))
    _put(folder / "index.html", _index(folder, styles))
    return relative


def _entitle(meta: dict[str, Any], title: str) -> None:
    """What the page's overview shows of the batch: a title and a time instead of names made for this process."""
    meta["run_id"] = {"run_name": html.escape(title), "run_time": datetime.now(UTC).isoformat(timespec="seconds")}
    meta["batch_kwargs"] = {"data_asset_name": html.escape(title)}
    for internal in ("batch_markers", "batch_spec", "active_batch_definition"):
        meta.pop(internal, None)


def _record(entry: dict[str, Any]) -> dict[str, Any]:
    config = entry["expectation_config"]
    return {"success": entry["success"], "type": config["type"], "kwargs": config["kwargs"], "result": entry["result"]}


def _harmless(value: Any) -> Any:
    """Example values with their markup escaped and their length bounded: they come out of the corpus."""
    if isinstance(value, str):
        return html.escape(value[:EXAMPLE_CHARS])
    if isinstance(value, dict):
        return {key: _harmless(entry) for key, entry in value.items()}
    return [_harmless(entry) for entry in value] if isinstance(value, list) else value


def _index(folder: Path, styles: Path) -> str:
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "validations").glob("*.json"))]
    header = RenderedHeaderContent(content_block_type="header", header=_text("Data Docs | Millrace"))
    table = RenderedTableContent(
        content_block_type="table",
        header_row=["Suite", "Table", "Result", "Expectations met"],
        table=[_row(record) for record in records],
    )
    document = RenderedDocumentContent(
        renderer_type="SiteIndexPageRenderer",
        utm_medium="index-page",
        sections=[RenderedSectionContent(section_name="Validation Results", content_blocks=[header, table])],
    )
    return ACTIVE.sub("", _view(DefaultJinjaIndexPageView, styles).render(document, show_how_to_buttons=False))


def _row(record: dict[str, Any]) -> list[RenderedStringTemplateContent]:
    statistics = record["statistics"]
    met = f"{statistics['successful_expectations']} of {statistics['evaluated_expectations']}"
    link = {"tag": "a", "styling": {"attributes": {"href": f"validations/{record['suite']}.html"}}}
    verdict = "every expectation met" if record["success"] else "expectations failed"
    return [_text(record["suite"], **link), _text(record["label"]), _text(verdict), _text(met)]


def _text(value: str, **options: Any) -> RenderedStringTemplateContent:
    template = {"template": "$value", "params": {"value": value}, "styling": {}} | options
    return RenderedStringTemplateContent(content_block_type="string_template", string_template=template)


@cache
def _view(kind: type[DefaultJinjaPageView], styles: Path) -> Any:
    """A view with its templates compiled, which takes as long as rendering ten pages."""
    return kind(custom_styles_directory=str(styles))


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)

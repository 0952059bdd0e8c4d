"""Where text comes from: the table of adapters, and the rules that hold for every source.

An adapter is imported when its kind is opened, so importing this package costs nothing. Rules here: how a dated source gets
its day, what a relative address is, and which addresses a source excludes. Nothing here lists or reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from fnmatch import fnmatchcase
from importlib import import_module
from urllib.parse import unquote

from pipelines.config import DAY, Connection, SourceConfig
from pipelines.errors import FixConfiguration
from pipelines.ports import Source

# kind -> class with `open(name, config, connections, day) -> Source`
ADAPTERS = {
    "s3": "pipelines.sources.s3:S3",
    "folder": "pipelines.sources.folder:Folder",
    "sql": "pipelines.sources.sql:Sql",
}


def open_source(name: str, config: SourceConfig, connections: Mapping[str, Connection], day: date | None = None) -> Source:
    """The adapter of one entry of sources.yaml; `day` is the interval of a dated source and ignored by the others.

    Raises FixConfiguration for a dated source without a day, an unknown connection or an unusable one.
    """
    if config.dated and day is None:
        raise FixConfiguration(f"source {name!r} is dated ({DAY}) and asks for the day: give it as YYYY-MM-DD")
    module, _, attribute = ADAPTERS[config.kind].partition(":")
    adapter = getattr(import_module(module), attribute)
    source: Source = adapter.open(name, config, connections, day)
    return source


def render(name: str, template: str, day: date | None) -> str:
    """`{{ ds }}` of a prefix or path replaced by the day; any other placeholder raises FixConfiguration."""
    text = template.replace(DAY, day.isoformat()) if day else template
    if "{{" in text:
        raise FixConfiguration(f"source {name!r}: unknown placeholder in {template!r}; write the day as {DAY}")
    return text


def relative(root: str, uri: str) -> str:
    """The address below a source's `root()`, percent-decoded: what exclude patterns and people read."""
    if not uri.startswith(root):
        raise ValueError(f"{uri!r} is not below {root!r}")
    return unquote(uri[len(root) :], errors="surrogateescape")


def excluded(config: SourceConfig, uri_relative: str) -> bool:
    """Whether one of the source's `exclude` patterns matches the relative address.

    Shell patterns, case-sensitive, over the whole address; `*` also crosses `/`, so `drafts/*` covers every depth below
    drafts and `*.tmp` every folder.
    """
    return any(fnmatchcase(uri_relative, pattern) for pattern in config.exclude)

"""JSON: nested objects as readable `path: value` lines, a record per element of an array of objects.

Numbers keep the author's digits (they are text here), and a key that occurs twice keeps both values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pipelines.errors import SkipDocument
from pipelines.records import Content, Document, Reason
from pipelines.text.blocks import Blocks
from pipelines.text.decode import decode

MAX_DEPTH = 200
TITLE_KEYS = ("title", "subject", "headline", "question")
_DOCUMENT_TITLE_KEYS = (*TITLE_KEYS, "name")


class Object(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that no duplicate key is lost."""


def parse(content: Content) -> list[Document]:
    """One Document. Raises SkipDocument(MALFORMED | TOO_DEEP | ENCODING_LOSS)."""
    text, warnings = decode(content.data)
    try:
        value = loads(text)
    except json.JSONDecodeError as error:
        raise SkipDocument(Reason.MALFORMED, f"line {error.lineno}: {error.msg}; correct the JSON") from None
    blocks = Blocks()
    read(value, blocks)
    blocks.first_heading = ""  # a key or the first record's title, not the file's
    title = title_of(value, _DOCUMENT_TITLE_KEYS) if isinstance(value, Object) else ""
    return [blocks.document(content, "application/json", title, warnings=warnings)]


def loads(text: str) -> Any:
    """The value with objects as pairs and numbers as text. Raises JSONDecodeError, SkipDocument(TOO_DEEP)."""
    try:
        return json.loads(text, object_pairs_hook=Object, parse_int=str, parse_float=str, parse_constant=str)
    except RecursionError:
        raise SkipDocument(Reason.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels; flatten the JSON") from None


def read(value: Any, blocks: Blocks, name: str = "", level: int = 1) -> None:
    """Add a value: arrays of objects below objects become headed lists of records, the rest one record."""
    if _is_records(value):
        for element in value:
            add_record(element, blocks, level)
        return
    if not isinstance(value, Object):
        blocks.add("\n".join(lines(value, name)), "record")
        return
    own: list[str] = []
    lists: list[tuple[str, Any]] = []
    for path, child in _split(value, name, 1):
        if _is_records(child):
            lists.append((path, child))
        else:
            own.extend(lines(child, path))
    blocks.add("\n".join(own), "record")
    for path, children in lists:
        blocks.heading(level, path)
        for element in children:
            add_record(element, blocks, level + 1)


def add_record(value: Any, blocks: Blocks, level: int) -> None:
    """Add one element of an array as a record, below its own title where it has one."""
    title = title_of(value, TITLE_KEYS)
    if title:
        blocks.heading(level, title)
    blocks.add("\n".join(lines(value, "")), "record")
    if title:
        blocks.close(level)


def title_of(value: Any, keys: tuple[str, ...]) -> str:
    """The first non-empty text under one of the keys of an object, or ""."""
    if not isinstance(value, Object):
        return ""
    found = {key.lower(): child for key, child in value if isinstance(child, str) and child.strip()}
    return next((" ".join(found[key].split()) for key in keys if key in found), "")


def lines(value: Any, path: str, depth: int = 1) -> Iterator[str]:
    """`path: value` per scalar; arrays of scalars stay on one line."""
    if depth > MAX_DEPTH:
        raise SkipDocument(Reason.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels; flatten the JSON")
    if isinstance(value, Object):
        for key, child in value:
            yield from lines(child, f"{path}.{key}" if path else key, depth + 1)
    elif isinstance(value, list):
        if any(isinstance(child, list) for child in value):
            for number, child in enumerate(value, 1):
                yield from lines(child, f"{path}[{number}]", depth + 1)
        elif value:
            yield _line(path, ", ".join(filter(None, map(_scalar, value))))
    elif text := _scalar(value):
        yield _line(path, text)


def _split(value: Object, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    """The children of an object, descending through objects, so that nested arrays of records are found."""
    if depth > MAX_DEPTH:
        raise SkipDocument(Reason.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels; flatten the JSON")
    for key, child in value:
        name = f"{path}.{key}" if path else key
        if isinstance(child, Object):
            yield from _split(child, name, depth + 1)
        else:
            yield name, child


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and not isinstance(value, Object) and any(isinstance(child, Object) for child in value)


def _scalar(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _line(path: str, text: str) -> str:
    return f"{path}: {text}" if path else text

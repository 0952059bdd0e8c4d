"""How values of any database become text and JSON, the same way on every run. Pure.

Null is empty text. Numbers keep their decimals; NaN and infinities are words. Moments with a zone are written in UTC, those
without stay without: no zone is guessed. Bytes are text when they are UTF-8, else `\\x` and hex. Lists and objects are JSON
with sorted keys. NUL and unpaired surrogates, which Postgres refuses, are dropped and replaced.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from string import Formatter
from typing import Any

from pipelines.errors import FixConfiguration


def template_columns(template: str, where: str) -> list[str]:
    """The columns a template names, in order, each once. Raises FixConfiguration unless each field is a plain `{column}`."""
    try:
        fields = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise FixConfiguration(f"{where}: {template!r}: {error}; double a literal brace") from None
    for name, spec, conversion in fields:
        if spec or conversion or not name or not name.replace("_", "a").replace("$", "a").replace(" ", "a").isalnum():
            raise FixConfiguration(
                f"{where}: {template!r}: {{{name}}} is no plain column; write {{column}}, double a literal brace"
            )
    return list(dict.fromkeys(str(field[0]) for field in fields))


def fill(template: str, row: Mapping[str, Any]) -> str:
    """The template with each `{column}` replaced by the row's value as text; values are never read as templates."""
    parts = Formatter().parse(template)
    return "".join(literal + (text(row[name]) if name is not None else "") for literal, name, _, _ in parts)


def text(value: Any) -> str:
    """A value as text."""
    if value is None:
        return ""
    render = next((render for kind, render in _TEXT if isinstance(value, kind)), str)
    return _storable(render(value))


def as_json(value: Any) -> Any:
    """A value as JSON: null, booleans, integers, finite floats, text, lists and objects stay; anything else is its text."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else text(value)
    if isinstance(value, Mapping):
        return {text(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(entry) for entry in value]
    return text(value)


def _storable(value: str) -> str:
    return value.replace("\0", "").encode("utf-8", "replace").decode()


def _float(value: float) -> str:
    return repr(value) if math.isfinite(value) else _word(value)


def _decimal(value: Decimal) -> str:
    return format(value, "f") if value.is_finite() else _word(value)


def _word(value: float | Decimal) -> str:
    sign = "-" if str(value).startswith("-") else ""
    return sign + "Infinity" if "inf" in str(value).lower() else "NaN"


def _moment(value: datetime) -> str:
    return (value.astimezone(UTC) if value.tzinfo else value).isoformat()


def _bytes(value: bytes | bytearray | memoryview) -> str:
    data = bytes(value)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "\\x" + data.hex()


def _structure(value: Any) -> str:
    return json.dumps(as_json(value), ensure_ascii=False, sort_keys=True)


# First match wins: bool is an int, datetime is a date.
_TEXT: list[tuple[type | tuple[type, ...], Callable[[Any], str]]] = [
    (Enum, lambda value: text(value.value)),
    (bool, lambda value: "true" if value else "false"),
    (float, _float),
    (Decimal, _decimal),
    (datetime, _moment),
    ((date, time), lambda value: value.isoformat()),
    ((bytes, bytearray, memoryview), _bytes),
    ((Mapping, list, tuple), _structure),
]

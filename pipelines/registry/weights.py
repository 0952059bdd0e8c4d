"""Checks a safetensors file before anything loads it: its header, its offsets, and that every number is finite.

The format is 8 bytes of header length, a JSON header, then the tensors without gaps
(https://huggingface.co/docs/safetensors). Nothing is executed; memory stays at one block of numbers.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import FixConfiguration

MAX_HEADER = 100 * 2**20  # bytes; the reference implementation's limit
BLOCK = 4 * 2**20  # numbers looked at together
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
FLOATS: dict[str, np.dtype[Any]] = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
BF16_EXPONENT = 0x7F80  # all ones: infinite or no number


def check_weights(path: Path) -> None:
    """FixConfiguration, in one line with file and reason, for a file that is no sound safetensors file."""
    start, header = _header(path)
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: _begin(path, *item)):
        begin, stop = _span(path, name, entry)
        if begin != end:
            raise _bad(path, f"tensor {name!r} begins at {begin}, the one before ends at {end}")
        end = stop
    if start + end != path.stat().st_size:
        raise _bad(path, f"it has {path.stat().st_size} bytes, its header says {start + end}")
    for name, entry in header.items():
        _check_finite(path, name, entry, start)


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Where the tensors begin, and what the header says of each."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, path.stat().st_size - 8):
            raise _bad(path, f"its header says that it is {length} bytes long; at most {MAX_HEADER} and the file's size")
        text = stream.read(length)
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"its header is not valid JSON ({str(error)[:100]})") from None
    if not isinstance(header, dict):
        raise _bad(path, "its header is not a JSON object")
    header.pop("__metadata__", None)
    if not header:
        raise _bad(path, "it has no tensors")
    return 8 + length, header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is used twice")
    return found


def _begin(path: Path, name: str, entry: Any) -> int:
    return _span(path, name, entry)[0]


def _span(path: Path, name: str, entry: Any) -> tuple[int, int]:
    """[begin, end) of a tensor behind the header, its size as its shape says."""
    try:
        kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        sound = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
        size = BYTES[kind] * math.prod(shape)
    except (KeyError, TypeError, ValueError):
        sound, size, begin, end = False, 0, 0, 0
    if not sound:
        raise _bad(path, f"tensor {name!r} has no known dtype, shape and data_offsets")
    if end - begin != size:
        raise _bad(path, f"tensor {name!r} has {end - begin} bytes, its shape takes {size}")
    return begin, end


def _check_finite(path: Path, name: str, entry: dict[str, Any], start: int) -> None:
    kind, begin = entry["dtype"], start + entry["data_offsets"][0]
    count = math.prod(entry["shape"])
    if not count or kind not in {*FLOATS, "BF16"}:
        return
    stored: np.dtype[Any] = FLOATS.get(kind, np.dtype("<u2"))
    numbers = np.memmap(path, dtype=stored, mode="r", offset=begin, shape=(count,))
    for at in range(0, count, BLOCK):
        block = numbers[at : at + BLOCK]
        finite = (block & BF16_EXPONENT) != BF16_EXPONENT if kind == "BF16" else np.isfinite(block)
        if not finite.all():
            raise _bad(path, f"tensor {name!r} holds a value that is no finite number, at {at + int(np.argmin(finite))}")


def _bad(path: Path, what: str) -> FixConfiguration:
    return FixConfiguration(f"{path}: {what}; download or export the model again")

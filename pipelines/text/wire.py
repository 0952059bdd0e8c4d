"""What parent and parse child say to each other: length-prefixed JSON and raw bytes, never pickles.

The parent believes nothing: a reply has a size limit, its address is the parent's own, every offset and reason is checked.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.records import Content, Document, Reason, Rejected, Section

LENGTH = struct.Struct(">Q")
HEADER_LIMIT = 16 * 2**20


def request(content: Content, fmt: str, seconds: float) -> list[bytes]:
    """The parts of one request: header length, header, body length, body. `seconds` is processor time."""
    header = json.dumps(
        {"uri": content.uri, "version": content.version, "metadata": content.metadata, "fmt": fmt, "seconds": seconds},
        default=str,
    ).encode()
    return [LENGTH.pack(len(header)), header, LENGTH.pack(len(content.data)), content.data]


def read_request(stream: BinaryIO) -> tuple[Content, str, float] | None:
    """The next request, or None at the end of the stream."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    header = json.loads(stream.read(LENGTH.unpack(head)[0]))
    (size,) = LENGTH.unpack(stream.read(LENGTH.size))
    data = stream.read(size)
    content = Content(header["uri"], header["version"], data, metadata=header["metadata"])
    return content, header["fmt"], header["seconds"]


def ready() -> bytes:
    """The parser is imported and the document's clock starts: the child's own size in MB."""
    try:
        return LENGTH.pack(size_mb("self"))
    except OSError:  # a system without /proc
        return LENGTH.pack(0)


def size_mb(pid: int | str) -> int:
    """The address space of a process. Raises OSError when it is gone or the system does not say."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def reply(results: list[Document | Rejected]) -> bytes:
    """A child's answer."""
    items = []
    for item in results:
        fields = asdict(item)
        del fields["uri"]  # the parent knows whom it asked about
        fields["type"] = "document" if isinstance(item, Document) else "rejected"
        items.append(fields)
    return json.dumps(items, ensure_ascii=False).encode("utf-8", "replace")


def read_reply(data: bytes, content: Content) -> list[Document | Rejected]:
    """The answer about `content`. Raises ValueError when it is not one."""
    try:
        items = json.loads(data)
        results = [_item(item, content.uri) for item in items]
    except (KeyError, TypeError, AttributeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"malformed reply: {type(error).__name__}") from None
    members = {item.member for item in results}
    if not results or len(members) != len(results):
        raise ValueError("malformed reply: no result or two for one member")
    return results


def _item(item: dict[str, Any], uri: str) -> Document | Rejected:
    if item.pop("type") == "rejected":
        return Rejected(uri, Reason(item["reason"]), _text(item["detail"]), _text(item["member"]))
    text = _text(item["text"])
    sections = []
    position = 0
    for raw in item["sections"]:
        start, end = raw["start"], raw["end"]
        if not (type(start) is type(end) is int and position <= start < end <= len(text)):
            raise ValueError("malformed reply: section offsets")
        sections.append(Section(tuple(map(_text, raw["heading_path"])), start, end, _text(raw["kind"])))
        position = end
    if not isinstance(item["metadata"], dict) or not text:
        raise ValueError("malformed reply: metadata or text")
    return Document(
        uri,
        text,
        tuple(sections),
        title=_text(item["title"]),
        member=_text(item["member"]),
        media_type=_text(item["media_type"]),
        lang=_text(item["lang"]),
        metadata=item["metadata"],
        warnings=tuple(map(_text, item["warnings"])),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text expected")
    if "\0" in value or not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("malformed reply: unclean text")
    return value

"""The guard before any zip container is opened by a library: bombs, lies and document type definitions.

Sizes are counted while inflating and never taken from the central directory, which a bomb's author writes.
"""

from __future__ import annotations

import io
import lzma
import re
import zipfile
import zlib

from pipelines.errors import SkipDocument
from pipelines.records import Reason

MAX_TOTAL = 200 * 2**20  # inflated bytes of all entries together
MAX_RATIO = 100  # inflated : stored, judged above RATIO_FROM
RATIO_FROM = 2**20
MAX_ENTRIES = 2000
_BLOCK = 65536
_DTD = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_XML_NAMES = (".xml", ".rels", ".vml")
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


def check(data: bytes) -> None:
    """Inflate every entry into nothing.

    Raises SkipDocument: CONTAINER_BOMB, XML_DTD, NEEDS_PASSWORD, or MALFORMED for a truncated or damaged container.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as container:
            entries = container.infolist()
            if len(entries) > MAX_ENTRIES:
                raise SkipDocument(Reason.CONTAINER_BOMB, f"{len(entries)} entries, limit {MAX_ENTRIES}")
            _check_overlap(entries, len(data))
            total = 0
            for entry in entries:
                total = _check_entry(container, entry, total)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise SkipDocument(Reason.MALFORMED, f"damaged zip container: {error}; save the file again") from None


def _check_overlap(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Entries that share the same stored bytes multiply them; together they cannot be longer than the file."""
    if sum(entry.compress_size for entry in entries) > size:
        raise SkipDocument(Reason.CONTAINER_BOMB, "entries overlap; save the file again")


def _check_entry(container: zipfile.ZipFile, entry: zipfile.ZipInfo, total: int) -> int:
    if entry.flag_bits & 0x1:
        raise SkipDocument(Reason.NEEDS_PASSWORD, f"entry {entry.filename!r} is encrypted; save without a password")
    if entry.compress_type not in _METHODS:
        raise SkipDocument(Reason.MALFORMED, f"entry {entry.filename!r} is packed by a method Office files do not use")
    is_xml = entry.filename.lower().endswith(_XML_NAMES)
    inflated, tail = 0, b""
    with container.open(entry) as stream:
        while block := stream.read(_BLOCK):
            inflated += len(block)
            _check_sizes(entry, inflated, total + inflated)
            if is_xml:
                tail = _check_dtd(entry, tail + block)
    return total + inflated


def _check_sizes(entry: zipfile.ZipInfo, inflated: int, total: int) -> None:
    if total > MAX_TOTAL:
        raise SkipDocument(Reason.CONTAINER_BOMB, f"inflates to more than {MAX_TOTAL >> 20} MiB")
    if inflated > RATIO_FROM and inflated > MAX_RATIO * max(1, entry.compress_size):
        raise SkipDocument(Reason.CONTAINER_BOMB, f"entry {entry.filename!r} inflates more than {MAX_RATIO}:1")


def _check_dtd(entry: zipfile.ZipInfo, window: bytes) -> bytes:
    # UTF-16 parts hide the letters between zeros
    if _DTD.search(window.replace(b"\0", b"")):
        raise SkipDocument(Reason.XML_DTD, f"entry {entry.filename!r} declares a document type; Office files never do")
    return window[-32:]

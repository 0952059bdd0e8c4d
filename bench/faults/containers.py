"""Zip containers that lie: bombs, overlaps, encrypted entries, document types, made from an honest Word document."""

from __future__ import annotations

import io
import struct
import zipfile

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def archive(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip container of these entries, the same bytes at any time."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in entries.items():
            made.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def with_entry(container: bytes, name: str, data: bytes) -> bytes:
    """The container with one entry added or replaced."""
    with zipfile.ZipFile(io.BytesIO(container)) as old:
        entries = {entry.filename: old.read(entry) for entry in old.infolist()}
    return archive({**entries, name: data})


def lying_bomb(size: int) -> bytes:
    """A part of `size` bytes that both directories call a thousand bytes long, its checksum made to fit that."""
    data = bytearray(archive({"word/document.xml": b" " * size}))
    directory = data.rindex(b"PK\x01\x02")
    for place in (22, directory + 24):
        data[place : place + 4] = struct.pack("<I", 1000)
    return bytes(data)


def overlapping(body: bytes) -> bytes:
    """Five entries that share the same stored bytes."""
    data = archive({"a.bin": body, "b.bin": b"x"}, zipfile.ZIP_STORED)
    first, second, end = data.index(b"PK\x01\x02"), data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    directory = data[first:second] + (data[first : first + 46] + b"c.bin") * 4 + data[second:end]
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 6, 6, len(directory), first, 0)
    return data[:first] + directory + tail


def encrypted_entry(body: bytes) -> bytes:
    """One entry that says it is encrypted, in both directories."""
    data = bytearray(archive({"word/document.xml": body}))
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def encrypted_office(body: bytes) -> bytes:
    """What Word writes with a password: an OLE container with one encrypted package."""
    return OLE + body + "EncryptedPackage".encode("utf-16-le") + body

"""Which parser reads an object: by its extension, checked against its first bytes.

Standard library only, so that plan can ask for the format of a hundred thousand keys without importing a parser.
"""

from __future__ import annotations

from pipelines.errors import SkipDocument
from pipelines.records import Reason

TEXT, MARKDOWN, HTML, DOCX, PDF, CSV, JSON, JSONL, EML = (
    "text",
    "markdown",
    "html",
    "docx",
    "pdf",
    "csv",
    "json",
    "jsonl",
    "eml",
)
BY_EXTENSION = {
    "txt": TEXT,
    "text": TEXT,
    "rst": TEXT,
    "log": TEXT,
    "md": MARKDOWN,
    "markdown": MARKDOWN,
    "html": HTML,
    "htm": HTML,
    "docx": DOCX,
    "pdf": PDF,
    "csv": CSV,
    "tsv": CSV,
    "json": JSON,
    "jsonl": JSONL,
    "ndjson": JSONL,
    "eml": EML,
}
BY_MEDIA_TYPE = {
    "text/plain": TEXT,
    "text/markdown": MARKDOWN,
    "text/html": HTML,
    "text/csv": CSV,
    "text/tab-separated-values": CSV,
    "application/json": JSON,
    "application/pdf": PDF,
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": DOCX,
    "message/rfc822": EML,
}
MEDIA_TYPES = {
    TEXT: "text/plain",
    MARKDOWN: "text/markdown",
    HTML: "text/html",
    DOCX: "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    PDF: "application/pdf",
    CSV: "text/csv",
    JSON: "application/json",
    JSONL: "application/x-ndjson",
    EML: "message/rfc822",
}

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = b"PK\x03\x04"
_SIGNATURES = (
    (b"%PDF-", "a PDF"),
    (_ZIP, "a zip container"),
    (b"PK\x05\x06", "an empty zip container"),
    (_OLE, "an OLE container (old Office)"),
    (b"\x1f\x8b\x08", "gzip data"),
    (b"BZh9", "bzip2 data"),
    (b"\xfd7zXZ\x00", "xz data"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x7fELF", "an ELF program"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"PAR1", "a Parquet file"),
    (b"{\\rtf", "an RTF document"),
)
_TITLE_LETTERS = 3  # fewer are a number or a code, which would say nothing in front of a passage
_PDF_HEADER_WITHIN = 1024  # bytes; the specification lets a PDF begin late


def format_of(uri: str) -> str | None:
    """The format name of an address by its extension, or None when no parser reads it. A table row is always text."""
    if uri.startswith("sql://"):
        return TEXT
    name = uri.rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    return BY_EXTENSION.get(extension.lower()) if dot and stem else None


def title_from(name: str) -> str:
    """A readable title from a file's address, for tables and logs that have none: `a/cost-centres.csv` -> `cost centres`."""
    stem = name.rpartition("/")[2].rpartition(".")[0]
    title = " ".join(stem.replace("-", " ").replace("_", " ").split())
    return title if sum(map(str.isalpha, title)) >= _TITLE_LETTERS else ""


def sniff(data: bytes, fmt: str) -> None:
    """Check the first bytes against the format.

    Raises SkipDocument: TYPE_MISMATCH names what the bytes look like, NEEDS_PASSWORD for an encrypted Office file.
    """
    if fmt == DOCX and data.startswith(_OLE) and "EncryptedPackage".encode("utf-16-le") in data:
        raise SkipDocument(Reason.NEEDS_PASSWORD, "an encrypted Office document; save it without a password")
    if fmt == PDF and b"%PDF-" in data[:_PDF_HEADER_WITHIN]:
        return
    looks = next((label for magic, label in _SIGNATURES if data.startswith(magic)), None)
    if fmt == DOCX and looks == "a zip container":
        return
    if looks is None and fmt not in (PDF, DOCX):
        return
    found = looks or "something else"
    raise SkipDocument(Reason.TYPE_MISMATCH, f"named like {fmt} but the bytes are {found}; rename it or remove it")

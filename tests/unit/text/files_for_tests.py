"""Small real files, made in memory: PDF by hand, docx by python-docx, zip containers that lie."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import docx

from pipelines.records import Content, Document, Rejected
from pipelines.text.parse import parse


def parsed(data: bytes | str, fmt: str, uri: str = "file:///x") -> list[Document | Rejected]:
    return parse(Content(uri, "1", data.encode() if isinstance(data, str) else data), fmt)


def document(data: bytes | str, fmt: str) -> Document:
    (found,) = parsed(data, fmt)
    assert isinstance(found, Document), found
    return found


def rejected(data: bytes | str, fmt: str) -> Rejected:
    (found,) = parsed(data, fmt)
    assert isinstance(found, Rejected), found
    return found


def outline(found: Document) -> list[tuple[str, str, str]]:
    """(heading path, kind, words) per section."""
    return [(" > ".join(part.heading_path), part.kind, found.text[part.start : part.end]) for part in found.sections]


def pdf(pages: Sequence[Sequence[tuple[int, str]]]) -> bytes:
    """A PDF with one line of Helvetica per (size, text)."""
    objects: list[bytes] = [b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for lines in pages:
        y, operators = 780, []
        for size, text in lines:
            escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
            operators.append(f"BT /F1 {size} Tf 50 {y} Td ({escaped}) Tj ET")
            y -= size + 6
        stream = "\n".join(operators).encode("latin-1")
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        objects.append(
            b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 595 842] /Contents %d 0 R"
            b" /Resources << /Font << /F1 1 0 R >> >> >>" % (2 + 2 * len(pages), len(objects))
        )
        kids.append(b"%d 0 R" % len(objects))
    objects.append(b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids)))
    objects.append(b"<< /Type /Catalog /Pages %d 0 R >>" % len(objects))
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer << /Size %d /Root %d 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(objects), start)
    return bytes(out)


def word() -> bytes:
    """A policy with title, headings, list, table and an umlaut."""
    made = docx.Document()
    made.add_heading("Travel policy", 0)
    made.add_heading("Hotels", 1)
    made.add_paragraph("You may book any hotel up to 150 euros a night in Zürich.")
    made.add_paragraph("Keep the receipt", style="List Bullet")
    made.add_paragraph("Ask first", style="List Bullet")
    table = made.add_table(3, 2)
    for i, row in enumerate([("City", "Limit"), ("Bern", "190"), ("Basel", "180")]):
        for j, cell in enumerate(row):
            table.cell(i, j).text = cell
    made.add_heading("Trains", 2)
    made.add_paragraph("Second class only.")
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def archive(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in entries.items():
            made.writestr(name, data)
    return out.getvalue()


def with_entry(container: bytes, name: str, data: bytes) -> bytes:
    """The container with one entry replaced."""
    with zipfile.ZipFile(io.BytesIO(container)) as old:
        entries = {entry.filename: old.read(entry) for entry in old.infolist()}
    return archive({**entries, name: data})

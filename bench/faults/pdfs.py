"""PDF files by hand, whole and hostile: no library would write the hostile ones."""

from __future__ import annotations

from collections.abc import Sequence

_FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
_BOX = b"/MediaBox [0 0 595 842]"


def page(text: str) -> bytes:
    """One page with one line of text; none at all for an empty text, as a scanner leaves it."""
    operators = b"BT /F1 11 Tf 50 700 Td (%s) Tj ET" % text.encode("latin-1") if text else b"0 0 1 rg 50 50 400 600 re f"
    return _file([_FONT, _stream(operators), *_one_page(4, b"/Font << /F1 1 0 R >>", 2)])


def _one_page(pages: int, resources: bytes, contents: int) -> list[bytes]:
    """The page, the page tree with number `pages`, and the catalog."""
    return [
        b"<< /Type /Page /Parent %d 0 R %s /Contents %d 0 R /Resources << %s >> >>" % (pages, _BOX, contents, resources),
        b"<< /Type /Pages /Kids [%d 0 R] /Count 1 >>" % (pages - 1),
        b"<< /Type /Catalog /Pages %d 0 R >>" % pages,
    ]


def _stream(operators: bytes, entries: bytes = b"") -> bytes:
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries, len(operators), operators)


def _file(objects: Sequence[bytes]) -> bytes:
    """The objects numbered from 1, the catalog last, with their cross-reference table."""
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(b"%010d 00000 n \n" % len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, b"".join(places))
    out += b"trailer << /Size %d /Root %d 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(objects), start)
    return bytes(out)

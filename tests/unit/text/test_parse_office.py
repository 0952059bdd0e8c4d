"""PDF, Word and the zip guard in front of it."""

from __future__ import annotations

import io
import random
import struct
import sys
import time
import tracemalloc
import zipfile

import pypdf
import pytest

from pipelines.errors import SkipDocument
from pipelines.records import Document, Reason
from pipelines.text import zips
from tests.unit.text.files_for_tests import archive, document, outline, parsed, pdf, rejected, with_entry, word

_BODY = "The heating is switched on in October and nobody may change it."


@pytest.fixture(scope="module", autouse=True)
def _without_torch():
    """As the parse child does: spaCy would import it, for seconds and for nothing."""
    with pytest.MonkeyPatch.context() as patch:
        if "torch" not in sys.modules:
            patch.setitem(sys.modules, "torch", None)
        yield


@pytest.fixture(scope="module")
def docx() -> bytes:
    return word()


def test_pdf_headings_by_size():
    lines = [
        (24, "House rules"),
        (11, _BODY),
        (11, "It is warm then."),
        (16, "Windows"),
        (11, "Keep them shut."),
        (11, _BODY),
    ]
    found = document(pdf([lines, [(16, "Doors"), (11, _BODY)]]), "pdf")
    assert [path for path, _, _ in outline(found)] == ["House rules", "House rules > Windows", "House rules > Doors"]
    assert found.title == "House rules"
    assert found.metadata == {"pages": 2}
    assert "It is warm then." in found.text


def test_pdf_without_headings_is_cut_by_page():
    found = document(pdf([[(11, _BODY)], [], [(11, "Second " + _BODY)]]), "pdf")
    assert [path for path, _, _ in outline(found)] == ["Page 1", "Page 3"]
    assert found.title == ""
    assert found.warnings == ("pages_without_text",)
    assert found.metadata == {"pages": 3, "pages_without_text": 1}


def test_pdf_without_text_needs_ocr():
    assert rejected(pdf([[], []]), "pdf").reason is Reason.NEEDS_OCR


def test_encrypted_pdf_needs_a_password():
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf([[(11, _BODY)]])))
    writer.encrypt("secret", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    assert rejected(out.getvalue(), "pdf").reason is Reason.NEEDS_PASSWORD


def test_broken_pdf():
    whole = pdf([[(11, _BODY)]] * 3)
    assert rejected(whole[:200], "pdf").reason is Reason.PDF_MALFORMED
    assert rejected(b"%PDF-1.7\n" + b"garbage " * 200, "pdf").reason is Reason.PDF_MALFORMED


def test_mutated_pdfs_never_escape_the_closed_list():
    generator = random.Random(7)
    whole = pdf([[(20, "Title"), (11, _BODY)], [(11, _BODY)]])
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(generator.randint(1, 30)):
            data[generator.randrange(8, len(data))] = generator.randrange(256)
        for item in parsed(bytes(data), "pdf"):
            assert isinstance(item, Document) or item.reason in Reason


def test_docx(docx):
    found = document(docx, "docx")
    assert found.title == "Travel policy"
    assert outline(found) == [
        ("Hotels", "prose", "You may book any hotel up to 150 euros a night in Zürich."),
        ("Hotels", "list", "- Keep the receipt\n- Ask first"),
        ("Hotels", "table", "City: Bern; Limit: 190\nCity: Basel; Limit: 180"),
        ("Hotels > Trains", "prose", "Second class only."),
    ]


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_truncated_docx(docx, keep):
    assert rejected(docx[: int(len(docx) * keep)], "docx").reason is Reason.MALFORMED


def test_a_zip_that_is_no_docx(docx):
    assert rejected(archive({"a.txt": b"hello"}), "docx").reason is Reason.MALFORMED
    assert rejected(with_entry(docx, "word/document.xml", b"<broken"), "docx").reason is Reason.MALFORMED


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_docx_with_a_document_type(docx, encoding):
    bomb = f'<?xml version="1.0" encoding="{encoding}"?>{" " * 70000}<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'
    assert rejected(with_entry(docx, "word/document.xml", bomb.encode(encoding)), "docx").reason is Reason.XML_DTD


def _refused(data: bytes) -> Reason:
    began = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(SkipDocument) as caught:
            zips.check(data)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - began < 5
    return caught.value.reason


def test_zip_bombs(monkeypatch):
    assert _refused(archive({"word/document.xml": b" " * 2**24})) is Reason.CONTAINER_BOMB
    assert _refused(archive({f"{i}.xml": b"" for i in range(zips.MAX_ENTRIES + 1)})) is Reason.CONTAINER_BOMB
    monkeypatch.setattr(zips, "MAX_TOTAL", 2**22)
    assert _refused(archive({f"{i}.bin": random.Random(i).randbytes(2**19) for i in range(9)})) is Reason.CONTAINER_BOMB


def test_a_lying_directory_does_not_get_past():
    data = bytearray(archive({"word/document.xml": b" " * 2**24}))
    directory = data.rindex(b"PK\x01\x02")
    for place in (22, directory + 24):  # the inflated size in the local header and in the directory
        data[place : place + 4] = struct.pack("<I", 1000)
    assert _refused(bytes(data)) in (Reason.CONTAINER_BOMB, Reason.MALFORMED)


def test_overlapping_entries_are_refused():
    data = archive({"a.bin": random.Random(1).randbytes(5000), "b.bin": b"x"}, zipfile.ZIP_STORED)
    second = data.rindex(b"PK\x01\x02")
    first = data.index(b"PK\x01\x02")
    entry = data[first : first + 46] + b"c.bin"
    count = 4
    end = data.rindex(b"PK\x05\x06")
    directory = data[first:second] + entry * count + data[second:end]
    total = 2 + count
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, total, total, len(directory), first, 0)
    assert _refused(data[:first] + directory + tail) is Reason.CONTAINER_BOMB


def test_an_encrypted_entry_needs_a_password():
    data = bytearray(archive({"a.xml": b"hello"}))
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    assert _refused(bytes(data)) is Reason.NEEDS_PASSWORD


def test_an_ordinary_container_passes(docx):
    zips.check(docx)

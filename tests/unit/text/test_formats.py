"""The format comes from the name and must fit the bytes."""

from __future__ import annotations

import pytest

from pipelines.errors import SkipDocument
from pipelines.records import Reason
from pipelines.text.formats import BY_EXTENSION, format_of, sniff, title_from


@pytest.mark.parametrize(
    ("uri", "fmt"),
    [
        ("s3://b/a/Report.PDF", "pdf"),
        ("s3://b/a.b/c?d#e.htm", "html"),
        ("file:///x/data.tsv", "csv"),
        ("file:///x/log.2024.log", "text"),
        ("s3://b/x.ndjson", "jsonl"),
        ("sql://db/faq/17.pdf", "text"),
        ("s3://b/.md", None),
        ("s3://b.md/x", None),
        ("s3://b/x.xlsx", None),
        ("", None),
    ],
)
def test_format_of(uri, fmt):
    assert format_of(uri) == fmt


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("s3://b/a/cost-centres_2026.csv", "cost centres 2026"),
        ("mail.eml/list (2).csv", "list (2)"),
        ("s3://b/17.json", ""),
        ("x", ""),
    ],
)
def test_a_title_from_the_name(name, title):
    assert title_from(name) == title


@pytest.mark.parametrize("fmt", sorted(set(BY_EXTENSION.values())))
@pytest.mark.parametrize("magic", [b"\x89PNG\r\n\x1a\n", b"\x1f\x8b\x08", b"\x7fELF", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"])
def test_foreign_bytes_are_refused_under_every_name(fmt, magic):
    with pytest.raises(SkipDocument, match="rename it") as caught:
        sniff(magic + b"rest" * 400, fmt)
    assert caught.value.reason is Reason.TYPE_MISMATCH


@pytest.mark.parametrize(
    ("data", "fmt"), [(b"%PDF-1.7", "text"), (b"PK\x03\x04", "markdown"), (b"plain words", "pdf"), (b"x", "docx")]
)
def test_swapped_containers_are_refused(data, fmt):
    with pytest.raises(SkipDocument) as caught:
        sniff(data, fmt)
    assert caught.value.reason is Reason.TYPE_MISMATCH


def test_fitting_bytes_pass():
    sniff(b"junk\n%PDF-1.7", "pdf")
    sniff(b"PK\x03\x04", "docx")
    for fmt in ("text", "markdown", "html", "csv", "json", "jsonl", "eml"):
        sniff("Grüße".encode(), fmt)


def test_an_encrypted_office_file_needs_a_password():
    with pytest.raises(SkipDocument) as caught:
        sniff(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100 + "EncryptedPackage".encode("utf-16-le"), "docx")
    assert caught.value.reason is Reason.NEEDS_PASSWORD

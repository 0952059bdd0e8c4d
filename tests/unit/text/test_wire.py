"""The parent takes nothing from a child on trust."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records import Content, Document, Reason, Rejected, Section
from pipelines.text import wire

_CONTENT = Content("s3://b/ö\udc80", "v1", b"\x00\xff", metadata={"a": [1, None, "ü"]})
_DOCUMENT = Document(
    "ignored",
    "Größe\n\nx",
    (Section(("A", "B"), 0, 5), Section((), 7, 8, "code")),
    title="T",
    metadata={"n": 1},
    warnings=("w",),
)


def test_requests_come_back_as_sent():
    stream = io.BytesIO(b"".join(wire.request(_CONTENT, "text", 1.5) + wire.request(Content("u", "2", b""), "pdf", 2)))
    assert wire.read_request(stream) == (_CONTENT, "text", 1.5)
    assert wire.read_request(stream) == (Content("u", "2", b""), "pdf", 2)
    assert wire.read_request(stream) is None


def test_replies_come_back_under_the_parents_address():
    rejected = Rejected("ignored", Reason.NEEDS_OCR, "scan", "a.pdf")
    document, other = wire.read_reply(wire.reply([_DOCUMENT, rejected]), _CONTENT)
    assert isinstance(document, Document)
    assert (document.uri, document.text, document.sections) == (_CONTENT.uri, _DOCUMENT.text, _DOCUMENT.sections)
    assert (document.title, document.metadata, document.warnings) == ("T", {"n": 1}, ("w",))
    assert other == Rejected(_CONTENT.uri, Reason.NEEDS_OCR, "scan", "a.pdf")


def _tampered(**fields: object) -> bytes:
    (item,) = json.loads(wire.reply([_DOCUMENT]))
    return json.dumps([{**item, **fields}]).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        _tampered(text=""),
        _tampered(text=5),
        _tampered(text="a\0b" * 9),
        _tampered(text="a\ud800b" * 9),
        _tampered(metadata=[]),
        _tampered(title=None),
        _tampered(type="rejected", reason="because", detail="", member=""),
        _tampered(sections=[{"heading_path": [], "start": 0, "end": 99, "kind": "prose"}]),
        _tampered(sections=[{"heading_path": [], "start": True, "end": 2, "kind": "prose"}]),
        _tampered(
            sections=[
                {"heading_path": [], "start": 3, "end": 5, "kind": "prose"},
                {"heading_path": [], "start": 0, "end": 2, "kind": ""},
            ]
        ),
        wire.reply([_DOCUMENT, _DOCUMENT]),
    ],
)
def test_a_malformed_reply_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        wire.read_reply(data, _CONTENT)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)).map(
        lambda v: json.dumps(v).encode()
    )
)
def test_any_other_reply_is_refused_as_such(data):
    with pytest.raises(ValueError, match=r"."):
        wire.read_reply(data, _CONTENT)

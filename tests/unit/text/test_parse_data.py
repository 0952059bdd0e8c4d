"""Tables, JSON and JSON lines."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records import Document, Reason
from tests.unit.text.files_for_tests import document, outline, parsed, rejected


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_rows_become_records(delimiter):
    rows = [
        ["Name", "City", "Note"],
        ["Ada", "Bern", f"likes{delimiter} lakes"],
        ["Bo", "", "two\nlines"],
        ["C", "D", "E", "F"],
    ]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    found = document(out.getvalue(), "csv")
    assert outline(found) == [
        ("", "record", f"Name: Ada; City: Bern; Note: likes{delimiter if delimiter != chr(9) else ''} lakes"),
        ("", "record", "Name: Bo; Note: two lines"),
        ("", "record", "Name: C; City: D; Note: E; column 4: F"),
    ]
    assert found.metadata["columns"] == ["Name", "City", "Note"]


def test_a_table_without_header_joins_its_cells():
    assert [words for _, _, words in outline(document("1,Ada\n2,Bo\n", "csv"))] == ["1 | Ada", "2 | Bo"]


def test_a_header_alone_is_text():
    assert document("Name;City\n", "csv").text == "Name | City"


@given(
    st.lists(
        st.lists(st.text(alphabet="abcdef ,'\n", min_size=1, max_size=9), min_size=2, max_size=4), min_size=1, max_size=8
    )
)
def test_no_cell_is_lost(rows):
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    if not any(character.isalpha() for row in rows for cell in row for character in cell):
        return
    found = document(out.getvalue(), "csv")
    text = "\n".join([found.text, *found.metadata.get("columns", [])])  # an empty column's name is only there
    assert all(" ".join(cell.split()) in text for row in rows for cell in row)


def test_json_object():
    value = {
        "title": "Support",
        "contact": {"mail": "a@b.c", "phones": ["1", "2"]},
        "open": True,
        "none": None,
        "big": 10**400,
        "price": 1.10,
        "faq": [
            {"question": "Lost key?", "answer": "Call\nus"},
            {"question": "Late?", "answer": "Wait", "tags": [{"id": 1}]},
        ],
        "deep": {"rows": [{"a": 1}, {"a": 2}]},
    }
    found = document(json.dumps(value).replace("1.1,", "1.10,"), "json")
    assert found.title == "Support"
    parts = outline(found)
    assert parts[0][0] == ""
    lines = parts[0][2].split("\n")
    assert lines == [
        "title: Support",
        "contact.mail: a@b.c",
        "contact.phones: 1, 2",
        "open: true",
        "big: 1" + "0" * 400,
        "price: 1.10",
    ]
    assert parts[1:] == [
        ("faq > Lost key?", "record", "question: Lost key?\nanswer: Call\nus"),
        ("faq > Late?", "record", "question: Late?\nanswer: Wait\ntags[1].id: 1"),
        ("deep.rows", "record", "a: 1"),
        ("deep.rows", "record", "a: 2"),
    ]


def test_json_array_and_duplicate_keys():
    assert outline(document('[{"a": 1, "a": 2}, "x", [3, 4]]', "json")) == [
        ("", "record", "a: 1\na: 2"),
        ("", "record", "x"),
        ("", "record", "3, 4"),
    ]


_JSON = st.recursive(
    st.text(alphabet="pqrst", min_size=1, max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet="kl", max_size=2), inner, max_size=4),
    max_leaves=20,
)


@given(_JSON)
def test_json_keeps_every_value(value):
    leaves: list[str] = []

    def collect(node: object) -> None:
        if isinstance(node, str):
            leaves.append(node)
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            collect(child)

    collect(value)
    if leaves:
        text = document(json.dumps(value), "json").text
        assert all(text.count(leaf) >= leaves.count(leaf) for leaf in leaves)


@pytest.mark.parametrize("depth", [250, 900, 100_000])
@pytest.mark.parametrize("pair", ["[]", ('{"a":', "}")])
def test_json_depth(depth, pair):
    assert rejected(pair[0] * depth + "1" + pair[1] * depth, "json").reason is Reason.TOO_DEEP


def test_broken_json_names_the_line():
    found = rejected('{"a": 1,\n "b": }', "json")
    assert found.reason is Reason.MALFORMED
    assert "line 2" in found.detail


def test_json_lines():
    found = document('{"id": 1, "text": "one"}\n\n{"id": 2, "title": "Two", "text": "zwei"}\n', "jsonl")
    assert outline(found) == [("", "record", "id: 1\ntext: one"), ("Two", "record", "id: 2\ntitle: Two\ntext: zwei")]


def test_records_lend_their_title_to_nothing_else():
    data = '[{"title": "First", "text": "one"}, {"title": "Second", "text": "two"}]'
    (found,) = parsed(data, "json", "s3://b/known-issues.json")
    assert isinstance(found, Document)
    assert found.title == "known issues"
    assert document('{"title": "First", "text": "one"}\n', "jsonl").title == ""


def test_a_bad_json_line_is_named():
    found = rejected('{"id": 1}\n{"id": 2\n{"id": 3}\n', "jsonl")
    assert found.reason is Reason.MALFORMED
    assert "line 2" in found.detail

"""One JSON value per line, each a record."""

from __future__ import annotations

import json

from pipelines.errors import SkipDocument
from pipelines.records import Content, Document, Reason
from pipelines.text.blocks import Blocks
from pipelines.text.decode import decode
from pipelines.text.parse_json import add_record, loads


def parse(content: Content) -> list[Document]:
    """One Document with a record per line. Raises SkipDocument(MALFORMED naming the line | TOO_DEEP | ENCODING_LOSS)."""
    text, warnings = decode(content.data)
    blocks = Blocks()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = loads(line)
        except json.JSONDecodeError as error:
            detail = f"line {number}: {error.msg} at column {error.colno}; correct or remove the line"
            raise SkipDocument(Reason.MALFORMED, detail) from None
        add_record(value, blocks, 1)
    blocks.first_heading = ""  # the first record's title is not the file's
    return [blocks.document(content, "application/x-ndjson", warnings=warnings)]

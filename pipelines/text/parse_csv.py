"""Comma, semicolon, tab or pipe separated tables: every row a record `column: value; column: value`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from pipelines.errors import SkipDocument
from pipelines.records import Content, Document, Reason
from pipelines.text.blocks import Blocks, one_line, record
from pipelines.text.decode import decode

_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 50
_MAX_NAME = 80  # characters; a longer first cell is data
_QUOTED = re.compile(r'"(?:[^"]|"")*+"')
_NUMBER = re.compile(r"[-+]?[\d.,\s]+%?\Z")


def parse(content: Content) -> list[Document]:
    """One Document with a record section per row. Raises SkipDocument(MALFORMED | ENCODING_LOSS)."""
    text, warnings = decode(content.data)
    if "\0" in text:  # the csv module may refuse it; cleaning would remove it anyway
        text, warnings = text.replace("\0", ""), (*warnings, "nul_removed")
    rows = _rows(text)
    first = next(rows, [])
    names = [one_line(cell) for cell in first] if _is_header(first) else []
    blocks = Blocks()
    if not names:
        blocks.add(record([], first), "record")
    for row in rows:
        blocks.add(record(names, row), "record")
    if names and not blocks:
        blocks.add(" | ".join(names), "table")
    metadata = {"columns": names} if names else {}
    return [blocks.document(content, "text/csv", warnings=warnings, metadata=metadata)]


def _rows(text: str) -> Iterator[list[str]]:
    csv.field_size_limit(max(len(text), 131072))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter(text))
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise SkipDocument(Reason.MALFORMED, f"line {reader.line_num}: {error}; correct the row") from None
        if any(cell.strip() for cell in row):
            yield row


def delimiter(text: str) -> str:
    """The delimiter that cuts most lines into the same number (> 1) of cells; a comma when none does."""
    lines = [_QUOTED.sub("", line) for line in text[:65536].splitlines()[:_SAMPLE_LINES] if line.strip()]

    def score(candidate: str) -> tuple[int, int]:
        counts = [line.count(candidate) for line in lines]
        common = max(set(counts), key=counts.count, default=0)
        return (counts.count(common) if common else 0, common)

    return max(_DELIMITERS, key=score)


def _is_header(row: Sequence[str]) -> bool:
    cells = [cell.strip() for cell in row]
    distinct = len(set(cells)) == len(cells)
    short = all(0 < len(cell) <= _MAX_NAME for cell in cells)
    return distinct and short and not any(_NUMBER.match(cell) for cell in cells)

"""Plain text, logs and reStructuredText: paragraphs, underlined headings, a title line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.records import Content, Document
from pipelines.text.blocks import Blocks
from pipelines.text.decode import decode
from pipelines.text.lines import paragraphs

_UNDERLINE = re.compile(r"([=\-~^#*+\"])\1{2,}\s*\Z")
_MAX_TITLE = 80
_LEVELS = '=-~^"#*+'


def parse(content: Content) -> list[Document]:
    """One Document. Raises SkipDocument(ENCODING_LOSS)."""
    text, warnings = decode(content.data)
    blocks = Blocks()
    lines = re.split(r"\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]", text)
    read(_without_title(lines, blocks), blocks)
    title = content.metadata.get("title")
    return [blocks.document(content, "text/plain", title if isinstance(title, str) else "", warnings=warnings)]


def read(lines: Sequence[str], blocks: Blocks) -> None:
    """Add lines of plain text to the blocks."""
    start = 0
    for i in range(len(lines) - 1):
        if i >= start and _is_heading(lines[i], lines[i + 1]):
            _paragraphs(lines[start:i], blocks)
            blocks.heading(_LEVELS.index(lines[i + 1][0]) + 1, lines[i])
            start = i + 2
    _paragraphs(lines[start:], blocks)


def _paragraphs(lines: Sequence[str], blocks: Blocks) -> None:
    for paragraph in paragraphs(lines):
        blocks.add(paragraph)


def _is_heading(line: str, below: str) -> bool:
    title = line.strip()
    if not title or len(title) > _MAX_TITLE or not title[0].isalnum():
        return False
    return _UNDERLINE.match(below) is not None and len(below.strip()) >= 0.7 * len(title)


def _without_title(lines: Sequence[str], blocks: Blocks) -> Sequence[str]:
    """Take a short first line that stands alone as the title; return the other lines."""
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    if first is None or first + 2 >= len(lines) or lines[first + 1].strip():
        return lines
    title = lines[first].strip()
    if len(title) > _MAX_TITLE or title[-1] in ".!?:;," or not title[0].isalnum():
        return lines
    if not any(line.strip() for line in lines[first + 2 :]):
        return lines
    blocks.heading(1, title)
    return lines[first + 2 :]

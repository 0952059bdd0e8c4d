"""PDF by PDFium: the text layer, headings by font size, else one section per page. Scripts and actions never run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pypdfium2 as pdfium

from pipelines.errors import SkipDocument
from pipelines.records import Content, Document, Reason
from pipelines.text.blocks import Blocks
from pipelines.text.lines import join_wrapped

_HEADING_RATIO = 1.12  # times the body's font size
_MAX_HEADING = 150
_MAX_LEVELS = 4
_ENDS = re.compile(r"[.!?:;]\s*\Z")
_BULLET = re.compile(r"\s*[•▪◦‣\uf0b7]\s*")

Line = tuple[str, float]  # text, font size in points (0 when unknown)


def parse(content: Content) -> list[Document]:
    """One Document. Raises SkipDocument(NEEDS_PASSWORD | NEEDS_OCR | PDF_MALFORMED)."""
    pdf = _open(content.data)
    try:
        pages = [list(_lines(pdf, number)) for number in range(len(pdf))]
        title = pdf.get_metadata_dict(skip_empty=True).get("Title", "")
    except pdfium.PdfiumError as error:
        raise SkipDocument(Reason.PDF_MALFORMED, f"{error}; export the PDF again") from None
    finally:
        pdf.close()
    if not pages:
        raise SkipDocument(Reason.PDF_MALFORMED, "no page can be read; export the PDF again")
    silent = sum(not lines for lines in pages)
    if silent == len(pages):
        raise SkipDocument(Reason.NEEDS_OCR, f"{len(pages)} pages and none has a text layer; run OCR first")
    blocks = Blocks()
    levels = heading_levels(line for lines in pages for line in lines)
    if levels:
        _read((line for lines in pages for line in lines), levels, blocks)
    else:
        for number, lines in enumerate(pages, 1):
            if lines:
                blocks.heading(1, f"Page {number}")
                _read(lines, {}, blocks)
    if not levels:
        blocks.first_heading = ""  # "Page 1" is no title
    metadata = {"pages": len(pages), **({"pages_without_text": silent} if silent else {})}
    warnings = ("pages_without_text",) if silent else ()
    return [blocks.document(content, "application/pdf", title, warnings=warnings, metadata=metadata)]


def _open(data: bytes) -> Any:
    try:
        return pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            raise SkipDocument(Reason.NEEDS_PASSWORD, "the PDF is encrypted; save it without a password") from None
        raise SkipDocument(Reason.PDF_MALFORMED, f"{error}; export the PDF again") from None


def _lines(pdf: Any, number: int) -> Iterator[Line]:
    page = pdf[number]
    textpage = page.get_textpage()
    text = textpage.get_text_range()
    aligned = textpage.count_chars() == len(text)  # else PDFium's indexes do not count this text's characters
    position = 0
    for line in re.split(r"(\r\n|\r|\n)", text):
        words = line.strip()
        if words:
            first = position + len(line) - len(line.lstrip())
            size = pdfium.raw.FPDFText_GetFontSize(textpage.raw, first) if aligned else 0.0
            yield _BULLET.sub("- ", words, count=1) if _BULLET.match(words) else words, round(size * 2) / 2
        position += len(line)
    textpage.close()
    page.close()


def heading_levels(lines: Iterator[Line]) -> dict[float, int]:
    """Font size -> heading level, for the few sizes clearly above the body's; empty when there is no such order."""
    weight: Counter[float] = Counter()
    for text, size in lines:
        weight[size] += len(text)
    if not weight:
        return {}
    body = weight.most_common(1)[0][0]
    larger = sorted((size for size in weight if body > 0 and size >= body * _HEADING_RATIO), reverse=True)
    if sum(weight[size] for size in larger) > 0.3 * weight.total():
        return {}  # a poster or slides: size says nothing about structure
    return {size: min(level, _MAX_LEVELS) for level, size in enumerate(larger, 1)}


def _read(lines: Iterator[Line] | list[Line], levels: dict[float, int], blocks: Blocks) -> None:
    paragraph: list[str] = []
    heading: list[str] = []
    heading_size = 0.0
    for text, size in lines:
        is_heading = size in levels and len(text) <= _MAX_HEADING
        if heading and (not is_heading or size != heading_size):
            blocks.heading(levels[heading_size], " ".join(heading))
            heading = []
        if is_heading:
            _paragraphs(paragraph, blocks)
            paragraph, heading_size = [], size
            heading.append(text)
        else:
            paragraph.append(text)
    if heading:
        blocks.heading(levels[heading_size], " ".join(heading))
    _paragraphs(paragraph, blocks)


def _paragraphs(lines: list[str], blocks: Blocks) -> None:
    """PDF has no blank lines: a paragraph ends where a short line ends a sentence."""
    width = max(map(len, lines), default=0)
    block: list[str] = []
    for line in lines:
        block.append(line)
        if len(line) < 0.75 * width and _ENDS.search(line):
            blocks.add(join_wrapped(block))
            block = []
    if block:
        blocks.add(join_wrapped(block))

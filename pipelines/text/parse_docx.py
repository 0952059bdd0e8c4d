"""Word documents by unstructured's `partition_docx`: headings by depth, lists, tables by rows.

Importing this file imports unstructured (seconds, hundreds of megabytes): only a docx in the parse child does. The library
calls home and downloads a language model unless told otherwise; it is told otherwise before it is imported.
"""

from __future__ import annotations

import io
import os
from typing import Any
from zipfile import BadZipFile

os.environ.update(DO_NOT_TRACK="1", SCARF_NO_ANALYTICS="1", UNSTRUCTURED_DISABLE_NOTICE="1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy comes along; its thread pool costs address space

import spacy
from unstructured.documents import elements as kinds
from unstructured.nlp import tokenize
from unstructured.partition.docx import partition_docx

from pipelines.errors import SkipDocument
from pipelines.records import Content, Document, Reason
from pipelines.text import parse_html
from pipelines.text.blocks import Blocks, table

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def _blank_english() -> Any:
    """A pipeline that needs no download. Its tags only feed unstructured's prose-or-not guess, which is not used here."""
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    return nlp


# Unstructured asks this function for its spaCy model at the first text; its own version downloads one when it is absent.
tokenize._load_spacy_model = _blank_english


def parse(content: Content) -> list[Document]:
    """One Document of a container that `zips` has checked. Raises SkipDocument(MALFORMED)."""
    try:
        found = partition_docx(file=io.BytesIO(content.data), languages=[""], include_page_breaks=False)
    except (BadZipFile, KeyError, ValueError, SyntaxError) as error:
        detail = f"not a readable Word document: {type(error).__name__}: {error}; save it again"
        raise SkipDocument(Reason.MALFORMED, detail) from None
    blocks = Blocks()
    title = _read(found, blocks)
    return [blocks.document(content, MEDIA_TYPE, title)]


def _read(found: list[Any], blocks: Blocks) -> str:
    """Fill the blocks; returns the document's title: a heading before all text, or before another of the outermost depth."""
    title = ""
    first_two = found[:2]
    if len(first_two) == 2 and all(isinstance(element, kinds.Title) and not _depth(element) for element in first_two):
        title = found[0].text
        found = found[1:]
    items: list[str] = []
    for element in found:
        if isinstance(element, kinds.ListItem):
            items.append("- " + element.text)
            continue
        blocks.add("\n".join(items), "list")
        items = []
        if isinstance(element, kinds.Title):
            blocks.heading(_depth(element) + 1, element.text)
        elif isinstance(element, kinds.Table):
            _table(element, blocks)
        elif not isinstance(element, (kinds.PageBreak, kinds.PageNumber)):
            blocks.add(element.text)
    blocks.add("\n".join(items), "list")
    return title


def _depth(element: Any) -> int:
    return int(element.metadata.category_depth or 0)


def _table(element: Any, blocks: Blocks) -> None:
    markup = element.metadata.text_as_html
    if not markup:  # the library leaves the structure out of enormous tables
        blocks.add(element.text, "table")
        return
    # Word tables mark no header cells; the first row is one when it names every column
    root = parse_html.tree(markup)
    rows = [[parse_html.inline_text(cell) for cell in row] for row in root.iter("tr")]
    header = rows[0] if len(rows) > 1 and len(rows[0]) > 1 and all(rows[0]) and len(set(rows[0])) == len(rows[0]) else []
    blocks.add(table(header, rows[1:] if header else rows), "table")

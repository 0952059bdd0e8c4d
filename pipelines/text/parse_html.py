"""HTML: headings, paragraphs, lists, tables and code of the visible page; no link is followed and no entity resolved.

Scripts, styles, navigation, templates and hidden elements are left out; the text behind them (their tail) never is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

from pipelines.errors import SkipDocument
from pipelines.records import Content, Document, Reason
from pipelines.text.blocks import Blocks, one_line, table
from pipelines.text.decode import decode

MAX_DEPTH = 200
_DROPPED = {"script", "style", "nav", "template", "head", "svg", "iframe", "object", "canvas"}
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_INLINE = frozenset(
    ("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "br", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img")
    + ("ins", "kbd", "label", "mark", "meter", "nobr", "output", "q", "rp", "rt", "ruby", "s", "samp", "small", "span")
    + ("strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr")
)
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_LAYOUT = ("table", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "pre")
_LANG = re.compile(r"([a-zA-Z]{2})(?:[-_]|\Z)")


def parse(content: Content) -> list[Document]:
    """One Document. Raises SkipDocument(ENCODING_LOSS | TOO_DEEP)."""
    declared = _CHARSET.search(content.data[:4096])
    text, warnings = decode(content.data, declared.group(1).decode() if declared else None)
    root = tree(text)
    blocks = Blocks()
    title = lang = ""
    if root is not None:
        title = one_line(root.findtext(".//title") or "")
        found = _LANG.match(root.get("lang") or "")
        lang = found.group(1).lower() if found else ""
        _Reader(blocks).read(root)
    return [blocks.document(content, "text/html", title, warnings=warnings, lang=lang)]


def read(text: str, blocks: Blocks) -> None:
    """Add a piece of HTML (a mail's body, a block inside Markdown) to the blocks."""
    root = tree(text)
    if root is not None:
        _Reader(blocks).read(root)


def tree(text: str) -> Any:
    """The root element, or None for no element at all. Raises SkipDocument(TOO_DEEP)."""
    parser = etree.HTMLParser(
        encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True, recover=True, huge_tree=True
    )
    data = text.replace("\0", "").encode("utf-8", "replace")
    if not data.strip():
        return None
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError:
        return None
    if root is not None:
        _check_depth(root)
    return root


def _check_depth(root: Any) -> None:
    depth = 0
    for event, _ in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > MAX_DEPTH:
            raise SkipDocument(Reason.TOO_DEEP, f"elements nested deeper than {MAX_DEPTH} levels; simplify the page")


def hidden(element: Any) -> bool:
    """Whether a reader of the page does not see the element."""
    if not isinstance(element.tag, str) or element.tag in _DROPPED:
        return True
    if element.get("hidden") is not None or element.get("aria-hidden") == "true":
        return True
    if element.tag == "input":
        return bool(element.get("type") == "hidden")
    return _HIDDEN_STYLE.search(str(element.get("style") or "")) is not None


def inline_text(element: Any) -> str:
    """All visible text of an element on one line; a word never runs into the next block's."""
    return one_line("".join(_texts(element)))


def _texts(element: Any) -> Iterator[str]:
    gap = "" if element.tag in _INLINE and element.tag != "br" else " "
    yield gap
    yield element.text or ""
    if element.tag == "img":
        yield f" {element.get('alt') or ''} "
    for child in element:
        if not hidden(child):
            yield from _texts(child)
        yield child.tail or ""
    yield gap


class _Reader:
    """Walks the tree; inline text is buffered until a block element ends the paragraph."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._buffer: list[str] = []

    def read(self, root: Any) -> None:
        self._visit(root)
        self._flush()

    def _flush(self) -> None:
        lines = [one_line(line) for line in "".join(self._buffer).split("\0")]
        self._buffer.clear()
        self._blocks.add("\n".join(line for line in lines if line))

    def _visit(self, element: Any) -> None:
        if hidden(element):
            return
        tag = element.tag
        if tag == "br":
            self._buffer.append("\0")  # tells a meant line end from the source's own newlines
        elif tag == "img":
            self._buffer.append(f" {element.get('alt') or ''} ")
        elif tag in _INLINE:
            self._children(element)
        else:
            self._flush()
            self._block(element, tag)
            self._flush()

    def _children(self, element: Any) -> None:
        self._buffer.append(element.text or "")
        for child in element:
            self._visit(child)
            self._buffer.append(child.tail or "")

    def _block(self, element: Any, tag: str) -> None:
        if tag in _HEADINGS:
            self._blocks.heading(_HEADINGS[tag], inline_text(element))
        elif tag == "pre":
            self._blocks.add("".join(_texts(element)).strip("\n"), "code")
        elif tag in ("ul", "ol", "dl"):
            self._blocks.add("\n".join(_items(element)), "list")
        elif tag == "table" and not _is_layout(element):
            self._table(element)
        else:
            self._children(element)

    def _table(self, element: Any) -> None:
        for caption in element.findall("caption"):
            self._blocks.add(inline_text(caption))
        rows = [row for row in element.iter("tr") if not hidden(row)]
        header = _header(rows)
        body = rows[1:] if header else rows
        self._blocks.add(table(header, (_cells(row) for row in body)), "table")
        self._blocks.add(one_line(" ".join(_stray(element))))


def _items(element: Any) -> Iterator[str]:
    """The lines of a list, nested lists flattened in order; text outside the items is a line of its own."""
    number = 0
    yield from _line("", element.text or "")
    for child in element:
        if not hidden(child):
            number += child.tag == "li"
            yield from _item(child, f"{number}. " if element.tag == "ol" else "- ")
        yield from _line("", child.tail or "")


def _item(element: Any, mark: str) -> Iterator[str]:
    if element.tag in ("ul", "ol", "dl"):
        yield from _items(element)
        return
    mark = mark if element.tag == "li" else ""
    pieces = [element.text or ""]
    for child in element:
        if child.tag in ("ul", "ol", "dl") and not hidden(child):
            yield from _line(mark, "".join(pieces))
            yield from _items(child)
            pieces, mark = [], ""
        elif not hidden(child):
            pieces += _texts(child)
        pieces.append(child.tail or "")
    yield from _line(mark, "".join(pieces))


def _line(mark: str, text: str) -> Iterator[str]:
    text = one_line(text)
    if text:
        yield mark + text


def _is_layout(element: Any) -> bool:
    """A table that only places things on the page: it holds blocks, or never two cells in a row."""
    if next((child for child in element.iter(*_LAYOUT) if child is not element), None) is not None:
        return True
    return all(len(row.findall("td")) + len(row.findall("th")) < 2 for row in element.iter("tr"))


def _header(rows: list[Any]) -> list[str]:
    if not rows or len(rows[0]) == 0:
        return []
    in_head = rows[0].getparent().tag == "thead"
    cells = [child for child in rows[0] if child.tag in ("td", "th")]
    return _cells(rows[0]) if cells and (in_head or all(cell.tag == "th" for cell in cells)) else []


def _cells(row: Any) -> list[str]:
    cells: list[str] = []
    for cell in row:
        if cell.tag in ("td", "th"):
            span = cell.get("colspan") or "1"
            padding = min(int(span), 100) - 1 if span.isdecimal() else 0
            cells += ["" if hidden(cell) else inline_text(cell)] + [""] * padding
    return cells


def _stray(element: Any) -> Iterator[str]:
    """Text that broken markup left between rows and cells."""
    yield element.text or ""
    for child in element.iter("thead", "tbody", "tfoot", "tr"):
        yield child.text or ""
    for child in element.iter("caption", "colgroup", "col", "thead", "tbody", "tfoot", "tr", "td", "th"):
        yield child.tail or ""
    for row in element.iter("tr", "tbody", "thead", "tfoot"):
        for child in row:
            if child.tag not in ("tr", "td", "th", "tbody", "thead", "tfoot") and not hidden(child):
                yield from _texts(child)
                yield child.tail or ""

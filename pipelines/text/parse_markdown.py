"""Markdown (CommonMark with tables): headings, paragraphs, lists, tables, code, and the front matter's title."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipelines.errors import SkipDocument
from pipelines.records import Content, Document, Reason
from pipelines.text.blocks import Blocks, table
from pipelines.text.decode import decode

MAX_DEPTH = 100  # nesting of quotes and lists; the parser would leave deeper text out without a word
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_ENTRY = re.compile(r"([A-Za-z][\w .-]{0,60}):(?:[ \t]+(.*)|)\Z")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def parse(content: Content) -> list[Document]:
    """One Document; front matter goes into its metadata. Raises SkipDocument(ENCODING_LOSS | TOO_DEEP)."""
    text, warnings = decode(content.data)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    metadata: dict[str, str] = {}
    found = _FRONT_MATTER.match(text[:65536])
    if found:
        metadata = front_matter(found.group(1))
        text = text[found.end() :]
    parser = MarkdownIt("commonmark", {"maxNesting": MAX_DEPTH + 10}).enable(["table", "strikethrough"])
    tokens = parser.parse(text)
    if any(token.level > MAX_DEPTH for token in tokens):
        raise SkipDocument(Reason.TOO_DEEP, f"quotes or lists nested deeper than {MAX_DEPTH} levels; flatten the document")
    reader = _Reader()
    for token in tokens:
        reader.take(token)
    title = metadata.pop("title", "")
    return [reader.blocks.document(content, "text/markdown", title, warnings=warnings, metadata=metadata)]


def front_matter(text: str) -> dict[str, str]:
    """The `key: value` lines; list lines are joined to their key. Not YAML: nothing is executed or expanded."""
    entries: dict[str, str] = {}
    key = ""
    for line in text.split("\n"):
        found = _ENTRY.match(line)
        if found:
            key = found.group(1).strip().lower()
            entries[key] = (found.group(2) or "").strip().strip("\"'")
        elif key and line.strip():
            item = line.strip().removeprefix("- ").strip("\"'")
            entries[key] = f"{entries[key]}, {item}" if entries[key] else item
    return entries


class _Reader:
    """Turns the token stream into blocks; inside a list everything becomes lines of that list."""

    def __init__(self) -> None:
        self.blocks = Blocks()
        self._heading = 0
        self._lists: list[int | None] = []  # per open list: its next number, None for bullets
        self._mark = ""
        self._lines: list[str] = []
        self._rows: list[list[str]] | None = None

    def take(self, token: Token) -> None:
        """One token, in order."""
        handler = getattr(self, f"_{token.type}", None)
        if handler is not None:
            handler(token)

    def _add(self, text: str, kind: str) -> None:
        if self._lists:
            lines = [line for line in text.split("\n") if line.strip()]
            self._lines += [self._mark + line if i == 0 else line for i, line in enumerate(lines)]
            self._mark = "" if lines else self._mark
        else:
            self.blocks.add(text, kind)

    def _heading_open(self, token: Token) -> None:
        self._heading = int(token.tag[1:])

    def _inline(self, token: Token) -> None:
        text = inline_text(token.children or ())
        if self._rows is not None:
            self._rows[-1].append(text)
        elif self._heading and not self._lists:
            self.blocks.heading(self._heading, text)
        else:
            self._add(text, "prose")
        self._heading = 0

    def _fence(self, token: Token) -> None:
        self._add(token.content.rstrip("\n"), "code")

    _code_block = _fence

    def _html_block(self, token: Token) -> None:
        from pipelines.text import parse_html  # noqa: PLC0415 -- most Markdown has no HTML; lxml costs 50 ms

        if self._lists:
            root = parse_html.tree(token.content)
            self._add("" if root is None else parse_html.inline_text(root), "list")
        else:
            parse_html.read(token.content, self.blocks)

    def _bullet_list_open(self, token: Token) -> None:
        self._lists.append(None)

    def _ordered_list_open(self, token: Token) -> None:
        self._lists.append(int(token.attrGet("start") or 1))

    def _list_item_open(self, token: Token) -> None:
        number = self._lists[-1]
        self._mark = "- " if number is None else f"{number}. "
        self._lists[-1] = None if number is None else number + 1

    def _bullet_list_close(self, token: Token) -> None:
        self._lists.pop()
        if not self._lists:
            self.blocks.add("\n".join(self._lines), "list")
            self._lines = []

    _ordered_list_close = _bullet_list_close

    def _table_open(self, token: Token) -> None:
        self._rows = []

    def _tr_open(self, token: Token) -> None:
        if self._rows is not None:
            self._rows.append([])

    def _table_close(self, token: Token) -> None:
        rows = self._rows or [[]]
        self._rows = None
        self._add(table(rows[0], rows[1:]), "table")


def inline_text(tokens: Sequence[Token]) -> str:
    """The words of inline markup: link texts, image descriptions, code; a soft break is a space."""
    parts: list[str] = []
    for token in tokens:
        if token.type in ("text", "code_inline", "text_special"):
            parts.append(token.content)
        elif token.type == "softbreak":
            parts.append(" ")
        elif token.type == "hardbreak" or (token.type == "html_inline" and _BREAK.match(token.content)):
            parts.append("\n")
        elif token.type == "image":
            parts.append(inline_text(token.children or ()))
    return "".join(parts)

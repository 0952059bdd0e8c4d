"""Collects what a parser finds (headings, paragraphs, tables) and lays it out as one Document with sections.

A heading goes into the heading path of what follows, not into the text: the embedder reads it once, in front of every
passage below it, and answers quote sentences, not titles. A heading with nothing below it becomes text, so that no
word is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.records import Content, Document, Section

MAX_HEADING_CHARS = 200  # a longer "heading" is a paragraph somebody made bold
GAP = "\n\n"


@dataclass(frozen=True, slots=True)
class Member:
    """An attachment, not parsed yet. `name` is its file name, `fmt` the parser to use or None when there is none."""

    name: str
    data: bytes
    fmt: str | None


@dataclass
class Blocks:
    """The blocks of one document in reading order."""

    _parts: list[tuple[tuple[str, ...], str, list[str]]] = field(default_factory=list)
    _path: list[tuple[int, str]] = field(default_factory=list)
    _bare: bool = False  # the newest heading has no text below it yet
    first_heading: str = ""

    def heading(self, level: int, text: str) -> None:
        """Open a heading of level 1 (outermost) or more; it closes the headings of its own and deeper levels."""
        text = " ".join(text.split())
        if len(text) > MAX_HEADING_CHARS:
            self.add(text)
            return
        if not text:
            return
        self.close(level)
        self._path.append((level, text))
        self._bare = True
        self.first_heading = self.first_heading or ("" if self._parts else text)

    def add(self, text: str, kind: str = "prose") -> None:
        """Append a paragraph, a table (one row a line), a list, code or a record. Blank text is ignored."""
        if not text or text.isspace():
            return
        self._bare = False
        path = tuple(title for _, title in self._path)
        if kind == "prose" and self._parts and self._parts[-1][:2] == (path, kind):
            self._parts[-1][2].append(text)
        else:
            self._parts.append((path, kind, [text]))

    def close(self, level: int) -> None:
        """Leave the headings of `level` and deeper."""
        self._keep_bare_heading(level)
        self._path = [entry for entry in self._path if entry[0] < level]

    def __bool__(self) -> bool:
        return bool(self._parts)

    def document(self, content: Content, media_type: str, title: str = "", **more: Any) -> Document:
        """The collected blocks as one unclean Document; the title falls back to a heading before all text."""
        self._keep_bare_heading(0)
        sections: list[Section] = []
        texts: list[str] = []
        start = 0
        for path, kind, paragraphs in self._parts:
            text = GAP.join(paragraphs)
            sections.append(Section(path, start, start + len(text), kind))
            texts.append(text)
            start += len(text) + len(GAP)
        metadata = {**content.metadata, **more.pop("metadata", {})}
        return Document(
            content.uri,
            GAP.join(texts),
            tuple(sections),
            title=" ".join(title.split()) or self.first_heading,
            media_type=media_type,
            metadata=metadata,
            **more,
        )

    def _keep_bare_heading(self, level: int) -> None:
        if self._bare and self._path and level <= self._path[-1][0]:
            _, text = self._path.pop()
            self.add(text)
        self._bare = False


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as one line per row: `header: value; header: value`, or cells joined by ` | ` when there is no header.

    Names of columns that hold no value at all come first, joined by ` | `.
    """
    names = [one_line(name) for name in header]
    lines: list[str] = []
    empty = dict(enumerate(names))  # columns without a value so far: their names would be lost
    for row in rows:
        lines.append(record(names, row))
        for i in [i for i in empty if i < len(row) and row[i].strip()]:
            del empty[i]
    return "\n".join(filter(None, [" | ".join(filter(None, empty.values())), *lines]))


def record(names: Sequence[str], row: Sequence[str]) -> str:
    """One row as a line; empty cells are left out and cells beyond the header are named by their position."""
    cells = [one_line(cell) for cell in row]
    if not any(names):
        return " | ".join(cell for cell in cells if cell)
    named = ((names[i] if i < len(names) and names[i] else f"column {i + 1}", cell) for i, cell in enumerate(cells) if cell)
    return "; ".join(f"{name}: {cell}" for name, cell in named)


def one_line(text: str) -> str:
    """The text with every run of whitespace as one space."""
    return " ".join(text.split())

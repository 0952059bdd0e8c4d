"""Bytes to clean documents: type check, the format's parser, cleaning, language, attachments.

Meant to run in the parse child (`pipelines.text.sandbox`); it needs no network, files or environment. Parsers are imported
by format, so a Markdown file never pays for Word.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

from pipelines.errors import SkipDocument
from pipelines.records import Content, Document, Reason, Rejected
from pipelines.text import formats, zips
from pipelines.text.blocks import Member
from pipelines.text.clean import clean, clean_line
from pipelines.text.language import language
from pipelines.text.language import load as load_languages

# Part of the pipeline fingerprint: raise it when the same bytes give other text, titles, sections, languages or passages.
PARSER_VERSION: str = "2"
MAX_MEMBER_DEPTH = 2
_MAX_DETAIL = 300

Results: TypeAlias = list[Document | Rejected]


def parse(content: Content, fmt: str) -> Results:
    """The document itself, then its attachments; what cannot be loaded is a Rejected. Only MemoryError is raised."""
    return list(_parse(content, fmt, "", 0))


def prepare(content: Content, fmt: str) -> None:
    """Import what a format needs, so that the deadline of a document starts after it; a refused one needs no parser."""
    with contextlib.suppress(SkipDocument):
        _admit(content, fmt)
        importlib.import_module(f"pipelines.text.parse_{fmt}")
        load_languages()


def _admit(content: Content, fmt: str) -> None:
    """What can be refused before a parser, which may take seconds to import, sees it."""
    if not content.data.strip():
        raise SkipDocument(Reason.EMPTY_TEXT, f"{len(content.data)} bytes, all blank")
    formats.sniff(content.data, fmt)
    if fmt == formats.DOCX:
        zips.check(content.data)


def _parse(content: Content, fmt: str, member: str, depth: int) -> Iterator[Document | Rejected]:
    try:
        found = _run(content, fmt)
    except SkipDocument as skip:
        yield Rejected(content.uri, skip.reason, clean_line(skip.detail)[:_MAX_DETAIL], member)
        return
    taken: set[str] = set()
    for item in found:
        if isinstance(item, Member):
            name = _unique(clean_line(item.name).replace("/", "_").replace("\\", "_") or "attachment", taken)
            yield from _member(content, item, f"{member}/{name}" if member else name, depth + 1)
        else:
            yield _finish(item, member)


def _run(content: Content, fmt: str) -> list[Document | Member]:
    """The parser's own findings, with whatever goes wrong inside it as SkipDocument."""
    _admit(content, fmt)
    try:
        found: list[Document | Member] = importlib.import_module(f"pipelines.text.parse_{fmt}").parse(content)
    except (SkipDocument, MemoryError):
        raise
    except RecursionError:
        raise SkipDocument(Reason.TOO_DEEP, f"{fmt} nested too deeply to read; simplify the document") from None
    except Exception as error:  # any library's bug on hostile bytes: this document's fault, never the run's
        raise SkipDocument(Reason.PARSE_CRASH, f"{fmt} parser: {type(error).__name__}: {error}") from error
    return found


def _finish(document: Document, member: str) -> Document | Rejected:
    document = clean(document)
    if not document.text:
        return Rejected(document.uri, Reason.EMPTY_TEXT, "no text is left after cleaning", member)
    title = document.title or formats.title_from(clean_line(member or document.uri))
    return replace(document, title=title, member=member, lang=language(document.text) or document.lang)


def _member(content: Content, item: Member, path: str, depth: int) -> Iterator[Document | Rejected]:
    if depth > MAX_MEMBER_DEPTH:
        detail = f"attachment inside {depth - 1} others, limit {MAX_MEMBER_DEPTH}; store it as a file of its own"
        yield Rejected(content.uri, Reason.CONTAINER_DEPTH, detail, path)
    elif item.fmt is None:
        yield Rejected(content.uri, Reason.TYPE_UNSUPPORTED, f"no parser for {path!r}"[:_MAX_DETAIL], path)
    else:
        yield from _parse(replace(content, data=item.data), item.fmt, path, depth)


def _unique(name: str, taken: set[str]) -> str:
    number, candidate = 2, name
    while candidate in taken:
        candidate, number = f"{name} ({number})", number + 1
    taken.add(candidate)
    return candidate

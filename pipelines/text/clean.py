"""Text as it may be stored, embedded and shown: NFC, no control or hidden characters, no runs of whitespace.

Pure. Every expression is linear: a megabyte of blanks costs what a megabyte of words does. What is removed is counted in the
document's metadata (`removed_characters`) and named in its warnings.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pipelines.records import Document, Section

HIDDEN_TEXT_FROM = 20  # Tag characters: fewer may be a flag emoji, more are a message nobody sees

_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_REMOVED = {
    "nul_removed": "\x00",
    "controls_removed": "\x01-\x08\x0e-\x1f\x7f-\x84\x86-\x9f",
    "surrogates_removed": "\ud800-\udfff",
    "bidi_removed": "\u202a-\u202e\u2066-\u2069",
    "tags_removed": "\U000e0000-\U000e007f",
    "invisible_removed": "\u00ad\u2060-\u2064\ufeff\ufffe\uffff",
}
_SUSPECT = re.compile("[" + "".join(_REMOVED.values()) + "]+")
_NAMED = {name: re.compile(f"[{characters}]") for name, characters in _REMOVED.items()}
_JOINERS = re.compile("[\u200c\u200d]+")
_BLANKS = re.compile(r"[^\S\n]{2,}|[^\S\n ]")
_LINE_EDGES = re.compile(r" ?\n ?")
_EMPTY_LINES = re.compile(r"\n{3,}")
# Only characters beyond ASCII compose, and only with what stands before; the bound keeps reordering from being quadratic
_COMPOSABLE = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]{1,1024}")


def clean(document: Document) -> Document:
    """The cleaned document: text, title, headings, metadata; sections point at the same words as before, empty ones go."""
    removed: Counter[str] = Counter()
    text, sections = _rebuild(document, removed)
    metadata = clean_json(document.metadata, removed)
    warnings = dict.fromkeys((*document.warnings, *removed))
    if removed:
        metadata = {**metadata, "removed_characters": dict(removed)}
    if removed["tags_removed"] > HIDDEN_TEXT_FROM:
        warnings["hidden_text"] = None
    return replace(
        document,
        text=text,
        sections=sections,
        title=clean_line(document.title, removed),
        metadata=metadata,
        warnings=tuple(warnings),
    )


def clean_text(text: str, removed: Counter[str] | None = None) -> str:
    """One text, stripped. Counts what is removed by warning code in `removed`."""
    text = _LINE_ENDS.sub("\n", text)
    if not text.isascii() or _SUSPECT.search(text):
        text = _without_hidden(text, Counter() if removed is None else removed)
        text = _COMPOSABLE.sub(lambda found: unicodedata.normalize("NFC", found.group()), text)
    text = _BLANKS.sub(" ", text)
    if " \n" in text or "\n " in text:
        text = _LINE_EDGES.sub("\n", text)
    return _EMPTY_LINES.sub("\n\n", text).strip()


def clean_line(text: str, removed: Counter[str] | None = None) -> str:
    """One text on one line."""
    return " ".join(clean_text(text, removed).split())


def clean_json(value: Any, removed: Counter[str] | None = None) -> Any:
    """A JSON value with every key and text cleaned; a key that becomes equal to another gets a number."""
    if isinstance(value, str):
        return clean_text(value, removed)
    if isinstance(value, Mapping):
        cleaned: dict[str, Any] = {}
        for key, child in value.items():
            name = base = clean_line(str(key), removed)
            number = 2
            while name in cleaned:
                name, number = f"{base} ({number})", number + 1
            cleaned[name] = clean_json(child, removed)
        return cleaned
    if isinstance(value, (list, tuple)):
        return [clean_json(child, removed) for child in value]
    return value


def _without_hidden(text: str, removed: Counter[str]) -> str:
    if _SUSPECT.search(text):
        for name, pattern in _NAMED.items():
            text, count = pattern.subn("", text)
            if count:
                removed[name] += count
    text = text.replace("\u200b", " ")
    if "\u200c" in text or "\u200d" in text:
        kept = _JOINERS.sub(_joiner, text)
        if len(kept) < len(text):
            removed["invisible_removed"] += len(text) - len(kept)
        text = kept
    return text


def _joiner(found: re.Match[str]) -> str:
    """ZWJ and ZWNJ shape Persian, Indic scripts and emoji; between other characters they only hide."""
    text, start, end = found.string, found.start(), found.end()
    if start and end < len(text) and _joins(text[start - 1]) and _joins(text[end]):
        return found.group()[0]
    return ""


def _joins(character: str) -> bool:
    return character > "\x7f" and unicodedata.category(character)[0] in "LMS"


def _rebuild(document: Document, removed: Counter[str]) -> tuple[str, tuple[Section, ...]]:
    pieces: list[str] = []
    sections: list[Section] = []
    length = 0
    gap = ""
    for section, raw in _segments(document):
        cleaned = clean_text(raw, removed)
        if not cleaned:
            gap = _wider(gap, raw)
            continue
        lead, trail = _edges(raw)
        glue = _glue(gap + lead) if pieces else ""
        pieces += [glue, cleaned]
        start = length + len(glue)
        length = start + len(cleaned)
        if section is not None:
            path = tuple(filter(None, (clean_line(title, removed) for title in section.heading_path)))
            sections.append(replace(section, heading_path=path, start=start, end=length))
        gap = trail
    return "".join(pieces), tuple(sections)


def _segments(document: Document) -> Iterator[tuple[Section | None, str]]:
    """The sections in order and the text between them."""
    position = 0
    for section in sorted(document.sections, key=lambda section: section.start):
        start, end = max(section.start, position), min(section.end, len(document.text))
        if start > position:
            yield None, document.text[position:start]
        if end > start:
            yield section, document.text[start:end]
            position = end
    if position < len(document.text):
        yield None, document.text[position:]


def _edges(raw: str) -> tuple[str, str]:
    body = raw.strip()
    if not body:
        return raw, ""
    return raw[: len(raw) - len(raw.lstrip())], raw[len(raw.rstrip()) :]


def _wider(gap: str, raw: str) -> str:
    blank = raw.isspace()
    return _glue(gap + (raw if blank else " "))


def _glue(gap: str) -> str:
    """What stands between two pieces: an empty line, a line end, a space, or nothing."""
    ends = _LINE_ENDS.sub("\n", gap).count("\n")
    return "\n\n" if ends > 1 else "\n" if ends else " " if gap else ""

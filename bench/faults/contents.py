"""Bytes whose fate is known because they were written to meet it: the text to be served, or the reason of the quarantine.

Nothing here asks the product's parsers. Most texts are shorter than language detection needs, so that a million of them
can be parsed.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from random import Random

from pipelines.records import Reason

MAX_BYTES = 60_000  # the bench's limit on an object
EXTENSIONS = ("txt", "md", "csv", "json", "html", "pdf", "eml", "txt", "md", "eml")
REFUSED, NOT_FINITE, UNSTORABLE = (
    "zzrefused",
    "zznan",
    "zzunstorable",
)  # words that embedder and database of the bench reject
LATE = {REFUSED: Reason.EMBED_FAILED, NOT_FINITE: Reason.EMBED_NAN, UNSTORABLE: Reason.DB_REJECTED}
LATE_WORDS = (REFUSED,) * 3 + (NOT_FINITE,) * 3 + (UNSTORABLE,)  # the last is rare, as each costs a dozen transactions
FIRST, LAST = (
    ("ba", "de", "fi", "go", "hu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "xu"),
    ("n", "r", "st", "l", "mp"),
)
WORDS = tuple(first + last for first in FIRST for last in LAST)
FILES = ("notes.txt", "table.csv", "page.html", "plan.md", "photo.png")
_LOST = b"\xef\xbb\xbf" + b"\xff\xfa" * 40
_PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40


@dataclass(frozen=True, slots=True)
class Item:
    """What an object or attachment holds. `text` is served when `reason` is None, its words joined by single spaces."""

    data: bytes
    text: str = ""
    reason: Reason | None = None
    late: bool = False  # rejected after parsing, so that its rejected attachments are known as well
    members: tuple[tuple[str, Item], ...] = ()


def healthy(extension: str, rng: Random) -> Item:
    """Something that must be loaded; a mail may have attachments that must not."""
    if extension == "eml":
        return _mail(_words(rng), rng, tuple(_attachments(rng)))
    return _written(extension, _words(rng), rng)


def poison(extension: str, rng: Random) -> Item:
    """Something that must end in quarantine."""
    late = rng.random() < 0.3
    if late:
        word = rng.choice(LATE_WORDS)
        words = f"{_words(rng)} {word}"
        members = tuple(entry for entry in _attachments(rng) if not entry[1].late)
        item = _mail(words, rng, members) if extension == "eml" else _written(extension, words, rng)
        return Item(item.data, reason=LATE[word], late=True, members=item.members)
    return rng.choice(_POISON.get(extension, []) + _ANY)(rng)


def _words(rng: Random) -> str:
    if rng.random() < 0.02:  # several passages
        sentences = (" ".join(rng.choices(WORDS, k=9)).capitalize() + "." for _ in range(rng.randint(12, 30)))
        return " ".join(sentences)
    return " ".join(rng.choices(WORDS, k=rng.randint(3, 7)))


def _written(extension: str, words: str, rng: Random) -> Item:
    if extension == "csv":
        second = rng.choice(WORDS)
        return Item(f"name,place\n{words},{second}\n".encode(), f"name: {words}; place: {second}")
    if extension == "json":
        return Item(json.dumps({"note": words}).encode(), f"note: {words}")
    if extension == "html":
        return Item(f"<html><body><p>{words}</p></body></html>".encode(), words)
    if extension == "pdf":
        short = words[-200:].split(" ", 1)[1] if len(words) > 200 else words
        return Item(_pdf(short), short)
    return Item(words.encode(), words)


def _attachments(rng: Random) -> list[tuple[str, Item]]:
    names = rng.sample(FILES, rng.choice((0, 0, 1, 1, 2, 3)))
    return [(name, _attachment(name, rng)) for name in names]


def _attachment(name: str, rng: Random) -> Item:
    extension = name.rpartition(".")[2]
    if extension == "png":
        return Item(_PNG, reason=Reason.TYPE_UNSUPPORTED)
    if rng.random() < 0.15:
        word = rng.choice(LATE_WORDS)
        return Item(_written(extension, f"{_words(rng)} {word}", rng).data, reason=LATE[word], late=True)
    if rng.random() < 0.15:
        return rng.choice((_empty, _lossy))(rng)
    return _written(extension, _words(rng), rng)


def _mail(words: str, rng: Random, members: tuple[tuple[str, Item], ...], subject: str = "") -> Item:
    """Written by hand: the standard library's writer takes milliseconds."""
    subject = subject or " ".join(rng.choices(WORDS, k=3))
    head = f"From: a@example.org\nTo: b@example.org\nSubject: {subject}\nMIME-Version: 1.0\n"
    if not members:
        return Item(f"{head}Content-Type: text/plain; charset=utf-8\n\n{words}\n".encode(), words)
    parts = [f"Content-Type: text/plain; charset=utf-8\n\n{words}\n"]
    for name, item in members:
        body = base64.encodebytes(item.data).decode()
        parts.append(
            "Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n"
            f'Content-Disposition: attachment; filename="{name}"\n\n{body}'
        )
    joined = "".join(f"--cut\n{part}\n" for part in parts)
    return Item(f"{head}Content-Type: multipart/mixed; boundary=cut\n\n{joined}--cut--\n".encode(), words, members=members)


def _long_subject(rng: Random) -> Item:
    item = _mail(_words(rng), rng, (), subject=" ".join(rng.choices(WORDS, k=300)))
    return Item(item.data, reason=Reason.VALIDATION_FAILED, late=True)


def _empty(rng: Random) -> Item:
    return Item(b" \n" * rng.randint(0, 5), reason=Reason.EMPTY_TEXT)


def _lossy(rng: Random) -> Item:
    return Item(_LOST + bytes(rng.choices(range(240, 255), k=8)), reason=Reason.ENCODING_LOSS)


def _unlike(rng: Random) -> Item:
    return Item(_PNG + rng.randbytes(4), reason=Reason.TYPE_MISMATCH)


def _large(rng: Random) -> Item:
    return Item(b"x " * (MAX_BYTES // 2) + rng.randbytes(4), reason=Reason.TOO_LARGE)


def _broken_json(rng: Random) -> Item:
    return Item(f'{{"note": "{_words(rng)}"'.encode(), reason=Reason.MALFORMED)


def _deep_json(rng: Random) -> Item:
    depth = rng.randint(250, 300)
    return Item(b"[" * depth + b"1" + b"]" * depth, reason=Reason.TOO_DEEP)


def _broken_pdf(rng: Random) -> Item:
    return Item(b"%PDF-1.7\n" + _words(rng).encode(), reason=Reason.PDF_MALFORMED)


def _scanned_pdf(rng: Random) -> Item:
    return Item(_pdf("", rng.choice(WORDS)), reason=Reason.NEEDS_OCR)


def _headless(rng: Random) -> Item:
    return Item(b"\n\n" + _words(rng).encode(), reason=Reason.MALFORMED)


_ANY = [_empty, _unlike, _large]
_POISON = {
    **dict.fromkeys(("txt", "md", "csv", "html"), [_lossy]),
    "json": [_broken_json, _deep_json],
    "pdf": [_broken_pdf, _scanned_pdf],
    "eml": [_headless, _long_subject],
}


def _pdf(words: str, comment: str = "") -> bytes:
    """One page with one line of text, or with none."""
    stream = f"BT /F1 9 Tf 20 100 Td ({words}) Tj ET" if words else ""
    bodies = (
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 2000 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        f"<</Length {len(stream)}>>stream\n{stream}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
    out, places = f"%PDF-1.4\n%{comment}\n", []
    for number, body in enumerate(bodies, 1):
        places.append(len(out))
        out += f"{number} 0 obj{body}endobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    trailer = f"trailer<</Size {len(bodies) + 1}/Root 1 0 R>>\nstartxref\n{len(out)}\n%%EOF\n"
    return f"{out}xref\n0 {len(bodies) + 1}\n0000000000 65535 f \n{table}{trailer}".encode()

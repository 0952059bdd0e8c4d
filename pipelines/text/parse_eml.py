"""Mail: headers into metadata, the plain body (else the HTML one), attachments as members with their own formats."""

from __future__ import annotations

import email.policy
from collections.abc import Iterator
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import parsedate_to_datetime
from typing import Any

from pipelines.errors import SkipDocument
from pipelines.records import Content, Document, Reason
from pipelines.text import formats
from pipelines.text.blocks import Blocks, Member, one_line
from pipelines.text.decode import decode

_HEADERS = ("from", "to", "cc", "subject")
_EXTENSIONS = {"text/plain": "txt", "text/html": "html", "message/rfc822": "eml", "application/pdf": "pdf"}


def parse(content: Content) -> list[Document | Member]:
    """The mail's own Document first, then its attachments unparsed. Raises SkipDocument(MALFORMED | TOO_DEEP | …)."""
    message = BytesParser(_class=EmailMessage, policy=email.policy.default).parsebytes(content.data)
    if not message.keys():
        raise SkipDocument(Reason.MALFORMED, "no mail headers; not a mail message")
    metadata = _metadata(message)
    subject = metadata.get("subject", "")
    bodies, attachments = _parts(message)
    blocks = Blocks()
    warnings: list[str] = []
    for part in bodies:
        warnings += _read_body(part, blocks)
    if not blocks:
        blocks.add(subject)
    document = blocks.document(
        content, "message/rfc822", subject, warnings=tuple(dict.fromkeys(warnings)), metadata=metadata
    )
    return [document, *(_member(part, number) for number, part in enumerate(attachments, 1))]


def _metadata(message: EmailMessage) -> dict[str, str]:
    metadata = {name: text for name in _HEADERS if (text := _header(message, name))}
    date = _header(message, "date")
    if date:
        try:
            metadata["date"] = parsedate_to_datetime(date).isoformat()
        except (ValueError, TypeError, IndexError):
            metadata["date"] = date
    return metadata


def _header(message: Any, name: str) -> str:
    try:
        return one_line(str(message[name] or ""))
    except (ValueError, IndexError, AttributeError, TypeError):  # the library stumbles over some broken headers
        raw = next((value for key, value in message.raw_items() if key.lower() == name), "")
        return one_line(str(raw))


def _parts(message: Any) -> tuple[list[Any], list[Any]]:
    """The parts that make the body and those that are attachments, in order."""
    bodies: list[Any] = []
    attachments: list[Any] = []
    for part in _leaves(message):
        kind = part.get_content_type()
        inline = part.get_content_disposition() != "attachment" and not _filename(part)
        (bodies if inline and kind in ("text/plain", "text/html") else attachments).append(part)
    return bodies, attachments


def _leaves(part: Any) -> Iterator[Any]:
    if part.get_content_maintype() != "multipart" or not part.is_multipart():
        yield part
    elif part.get_content_subtype() == "alternative":
        yield from _best(part.get_payload())
    else:
        for child in part.get_payload():
            yield from _leaves(child)


def _best(alternatives: list[Any]) -> Iterator[Any]:
    """The plain version of the same words where there is one; related images and files of the others stay."""
    found = [list(_leaves(child)) for child in alternatives]
    plain = next((leaves for leaves in found if any(leaf.get_content_type() == "text/plain" for leaf in leaves)), None)
    for leaves in found:
        for leaf in leaves:
            if plain is None or leaves is plain or not leaf.get_content_type().startswith("text/"):
                yield leaf


def _read_body(part: Any, blocks: Blocks) -> tuple[str, ...]:
    text, warnings = decode(part.get_payload(decode=True) or b"", part.get_content_charset())
    if part.get_content_type() == "text/html":
        from pipelines.text import parse_html  # noqa: PLC0415 -- a plain mail does not pay for lxml

        parse_html.read(text, blocks)
    else:
        from pipelines.text.lines import paragraphs  # noqa: PLC0415

        for paragraph in paragraphs(text.splitlines()):
            blocks.add(paragraph)
    return warnings


def _filename(part: Any) -> str:
    try:
        return one_line(part.get_filename() or "")
    except (ValueError, IndexError, AttributeError, TypeError):
        return ""


def _member(part: Any, number: int) -> Member:
    kind = part.get_content_type()
    name = _filename(part) or f"part-{number}.{_EXTENSIONS.get(kind, 'bin')}"
    fmt = formats.format_of(name) or formats.BY_MEDIA_TYPE.get(kind)
    if kind == "message/rfc822" and part.is_multipart():
        return Member(name, part.get_payload(0).as_bytes(), formats.EML)
    return Member(name, part.get_payload(decode=True) or b"", fmt)

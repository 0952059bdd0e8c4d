"""Bytes to text: strict where the bytes say what they are, a flagged guess where they do not."""

from __future__ import annotations

import codecs

from pipelines.errors import SkipDocument
from pipelines.records import Reason

ENCODING_GUESS = "encoding_guess"
MAX_LOSS = 0.01  # share of replaced characters above which a text is not worth loading
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE = 65536  # bytes that the guess looks at
_WESTERN = ("cp1252", "latin_1", "iso8859_15")


def decode(data: bytes, declared: str | None = None) -> tuple[str, tuple[str, ...]]:
    """The text and its warnings: BOM, UTF-16 without BOM, strict UTF-8, the declared charset, then a guess.

    Raises SkipDocument(ENCODING_LOSS) when more than 1 % of the characters cannot be read.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return _lossy(data[len(bom) :], encoding, ())
    wide = _utf16_without_bom(data)
    if wide:
        return _lossy(data, wide, (ENCODING_GUESS,))
    for named in ("utf-8", declared):
        text = _strict(data, named) if named else None
        if text is not None:
            return text, ()
    return _lossy(data, _guess(data), (ENCODING_GUESS,))


def _strict(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError, ValueError):
        return None


def _lossy(data: bytes, encoding: str, warnings: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    own = data.count("\ufffd".encode())  # replacement characters that the author's own file already holds
    text = data.decode(encoding, errors="replace")
    lost = max(0, text.count("\ufffd") - own)
    if lost > MAX_LOSS * max(1, len(text)):
        detail = f"{lost} of {len(text)} characters unreadable as {encoding}, limit 1 %; save the file as UTF-8"
        raise SkipDocument(Reason.ENCODING_LOSS, detail)
    if lost and ENCODING_GUESS not in warnings:
        warnings = (*warnings, ENCODING_GUESS)
    return text, warnings


def _utf16_without_bom(data: bytes) -> str | None:
    sample = data[:4096]
    if len(sample) < 4 or b"\0" not in sample:
        return None
    half = len(sample) // 2
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    # Latin text has a zero in nearly every second byte; other scripts still have them for spaces and line ends
    if odd > half * 0.1 and even <= odd * 0.02:
        return "utf-16-le"
    if even > half * 0.1 and odd <= even * 0.02:
        return "utf-16-be"
    return None


def _guess(data: bytes) -> str:
    if _mostly_utf8(data):
        return "utf-8"
    import charset_normalizer  # noqa: PLC0415 -- only a text that is not UTF-8 pays for it

    matches = charset_normalizer.from_bytes(data[:_SAMPLE])
    best = matches.best()
    if best is None:
        raise SkipDocument(Reason.ENCODING_LOSS, "no known encoding fits these bytes; save the file as UTF-8")
    for match in matches:  # short Western texts fit many code pages equally well: take the common one
        if match.encoding in _WESTERN and match.chaos <= best.chaos and match.coherence >= best.coherence:
            return match.encoding
    return best.encoding


def _mostly_utf8(data: bytes) -> bool:
    text = data[:_SAMPLE].decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    valid = sum(character > "\x7f" for character in text) - broken
    return valid > 4 * broken

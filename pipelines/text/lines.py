"""Plain lines to paragraphs: hard-wrapped lines are joined, real line ends stay.

After this a newline in a text means something (a new item, row or paragraph), which the sentence splitter relies on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_WRAPPED_FROM = 50  # narrower text is not wrapped, its line ends are meant
_FULL = 0.6  # a line shorter than this share of the widest one ended on purpose
_ITEM = re.compile(r"(?:[-*•–+>|]|\(?\w{1,3}[.)]|\[\d)\s|\S{1,30}: ")
_KEEPS_HYPHEN = {"und", "oder", "bis", "and", "or", "to"}  # "Ein- und Ausgang"


def paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Blocks between blank lines, each with its wrapped lines joined."""
    block: list[str] = []
    for line in lines:
        if line and not line.isspace():
            block.append(line.strip())
        elif block:
            yield join_wrapped(block)
            block = []
    if block:
        yield join_wrapped(block)


def join_wrapped(lines: list[str]) -> str:
    """One paragraph's lines as text: a newline only where the author ended a line."""
    width = max(map(len, lines))
    parts = [lines[0]]
    for line in lines[1:]:
        previous = parts[-1]
        last = previous.rpartition("\n")[2] if len(parts) == 1 else previous
        if width < _WRAPPED_FROM or len(last) < _FULL * width or _ITEM.match(line):
            parts += ["\n", line]
        else:
            parts[-1], glue = _hyphen(previous, line)
            parts += [glue, line]
    return "".join(parts)


def _hyphen(previous: str, line: str) -> tuple[str, str]:
    if len(previous) > 1 and previous[-1] in "-\u00ad\ufffe" and previous[-2].isalpha() and line[0].islower():
        if line.split(maxsplit=1)[0] in _KEEPS_HYPHEN:
            return previous, " "
        return previous[:-1], ""
    return previous, " "

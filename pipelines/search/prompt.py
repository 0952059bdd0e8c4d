"""The question and its pieces as messages for a language model, so that documents stay data (`include/prompts/answer.md`).

What keeps a document from speaking as somebody else: it stands between lines with a random word that it cannot know. Each of
its lines begins with a mark, so that none looks like a role or a fence. What models read as control tokens is broken up.
Characters that a person does not see, but a model reads, are taken out. Numbers in square brackets become round ones: only
the pieces' own numbers are citations. None of it makes a model obey; the model's own obedience is not tested here.

Pure but for drawing the word. Nothing here is sent anywhere (`generate/chat.py` does that).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from string import Template
from typing import NamedTuple

from pipelines.search.answer import REFUSAL
from pipelines.search.context import Piece
from pipelines.search.query import UNSAYABLE, clean_text

FILE = Path(__file__).resolve().parents[2] / "include" / "prompts" / "answer.md"
MARK = "| "
MAX_PLACE = 300  # characters of title and headings
# Tags, variation selectors beyond the emoji ones, zero-width and direction marks; the joiners stay, which scripts need.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff"
    "\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]+|[\u200c\u200d]{2,}"
)
_BREAKS = re.compile("\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")  # what any reader takes for the end of a line
_TOKEN = re.compile(
    r"<(?=[/!|｜▁\w])|(?<=[|｜▁])>|\[(?=/?[A-Z_]{3,}\])|<(?=<)|(?<=>)>"
)  # <|…|>, </s>, <start_of_turn>, [INST], <<SYS>>
_CITATION = re.compile(r"\[(\s*\d+(?:\s*[,;–-]\s*\d+)*\s*)\]")


class Prompt(NamedTuple):
    """What a chat model is told and what it is given: the two arguments of `generate.chat`."""

    instructions: str
    text: str


def answer_prompt(question: str, pieces: Sequence[Piece], draw: Callable[[], str] = lambda: secrets.token_hex(16)) -> Prompt:
    """The messages that ask for a cited answer or a refusal. `draw` gives a new random word each time."""
    asked = plain(clean_text(question))
    boundary = draw()
    while any(boundary in text for piece in pieces for text in (piece.text, piece.place)) or boundary in asked:
        boundary = draw()
    instructions, text = _template()
    documents = "\n".join(_document(piece, boundary) for piece in pieces) or "(none was found)"
    return Prompt(
        instructions.substitute(boundary=boundary, refusal=REFUSAL),
        text.substitute(boundary=boundary, documents=documents, question=asked),
    )


def plain(text: str) -> str:
    """One line or several, joined by newlines only, without unseen characters, control tokens and citations of its own."""
    lines = _BREAKS.split(text)
    seen = "\n".join(_UNSEEN.sub("", UNSAYABLE.sub(" ", line)) for line in lines)
    return _CITATION.sub(r"(\1)", _TOKEN.sub(lambda found: f" {found[0]}" if found[0] == ">" else f"{found[0]} ", seen))


def _document(piece: Piece, boundary: str) -> str:
    place = " ".join(plain(piece.place).split())[:MAX_PLACE]
    lines = [f"DOCUMENT {boundary} {piece.number}", *([place] if place else []), *plain(piece.text).split("\n")]
    return "\n".join([lines[0], *(f"{MARK}{line}" for line in lines[1:])])


@cache
def _template() -> tuple[Template, Template]:
    instructions, text = FILE.read_text(encoding="utf-8").split("\n===\n")
    return Template(instructions), Template(text.rstrip("\n"))

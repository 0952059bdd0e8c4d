"""Texts that the embedder reads whole: the first words that fit. Pure; counts with the embedder's own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.ports import Tokenizer


def fitting(texts: Sequence[str], tokenizer: Tokenizer) -> list[str]:
    """Each text, or as many of its first tokens as the limit takes, cut at a word where there is one."""
    counts = tokenizer.count(texts)
    return [
        text if count <= tokenizer.max_tokens else _cut(text, tokenizer) for text, count in zip(texts, counts, strict=True)
    ]


def _cut(text: str, tokenizer: Tokenizer) -> str:
    offsets = tokenizer.offsets(text)
    room = tokenizer.max_tokens - tokenizer.special_tokens
    while room > 0:
        end = offsets[min(room, len(offsets)) - 1][1]
        whole = text[:end] if text[end : end + 1].isspace() else text[:end].rpartition(" ")[0] or text[:end]
        if tokenizer.count([whole])[0] <= tokenizer.max_tokens:
            return whole
        room -= 1  # a cut text can have a token more than its part of the whole
    return ""

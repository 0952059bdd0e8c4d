"""Texts of known token counts in two length mixes: one mix alone flatters engines that sort, or those that do not."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from pipelines.ports import Tokenizer

SAMPLE = Path(__file__).resolve().parents[2] / "include/sample"
LONGEST = 256
MIXES: dict[str, Callable[[random.Random], int]] = {
    "200-256 tokens": lambda rng: rng.randint(200, LONGEST),
    "10-256 tokens, log-normal": lambda rng: min(LONGEST, max(10, round(rng.lognormvariate(4.4, 0.7)))),
}


def make(mix: str, tokens: int, seed: int, tokenizer: Tokenizer, corpus: Path | None = None) -> list[str]:
    """Texts of at least `tokens` tokens together, special tokens included, of words drawn from the corpus."""
    rng = random.Random(f"{seed} {mix}")
    words = _words(corpus or SAMPLE)
    costs = dict(zip(words, (count - tokenizer.special_tokens for count in tokenizer.count(words)), strict=True))
    texts: list[str] = []
    total = 0
    while total < tokens:
        room = MIXES[mix](rng) - tokenizer.special_tokens
        chosen: list[str] = []
        while (word := rng.choice(words)) and costs[word] <= room:
            chosen.append(word)
            room -= costs[word]
        if chosen:
            texts.append(" ".join(chosen))
            total += sum(costs[word] for word in chosen) + tokenizer.special_tokens
    return texts


def _words(folder: Path) -> list[str]:
    found: dict[str, None] = {}
    for path in sorted(path for kind in ("*.md", "*.txt", "*.rst") for path in folder.rglob(kind)):
        for word in path.read_bytes().decode("utf-8", "ignore").split():
            if word.isalpha() and len(word) < 20:
                found[word] = None
    if not found:
        raise RuntimeError(f"{folder}: no words in *.md, *.txt or *.rst to make texts of")
    return list(found)

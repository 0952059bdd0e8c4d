"""Real text as documents of overlapping passages.

By default the sample and the language reference that Python carries; or a folder of text files, a BEIR folder, or one with
`base.tar.xz`. A passage is WORDS consecutive words and shares three quarters of them with the next one of its document, as
neighbouring chunks share their subject; a file gives as many documents as it has room for.
"""

from __future__ import annotations

import json
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

from pipelines.records import Content, Document
from pipelines.text import formats
from pipelines.text.parse import parse

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "include/sample"
SUFFIXES = {".rst", ".txt", ".md"}
WORDS, STRIDE = 32, 8
LONGEST = 20  # characters of a word; what is longer is a rule, a link or code


def texts(folder: Path | None) -> list[str]:
    """The readable texts of a folder, in the order of their names."""
    if folder is None:
        found: Iterator[str] = iter([*sample(), *manual()])
    elif beir := sorted(folder.glob("corpus.jsonl*")):
        found = _beir(beir[0])
    elif (archive := folder / "base.tar.xz").is_file():
        found = _archive(archive)
    else:
        found = _files(folder)
    return [text for text in found if text.strip()]


def sample() -> list[str]:
    """The texts of the sample corpus."""
    return list(_files(SAMPLE))


def manual() -> list[str]:
    """The language reference that Python carries."""
    return [topics[name] for name in sorted(topics)]


def documents(found: list[str], passages: int, limit: int, rng: np.random.Generator) -> list[list[str]]:
    """At most `limit` documents of so many passages each, drawn over all texts."""
    size = STRIDE * (passages - 1) + WORDS
    made = []
    for text in found:
        words = [word for word in text.split() if len(word) <= LONGEST and any(map(str.isalpha, word))]
        for start in range(0, len(words) - size + 1, size):
            run = words[start : start + size]
            made.append([" ".join(run[STRIDE * n : STRIDE * n + WORDS]) for n in range(passages)])
    return [made[row] for row in rng.permutation(len(made))[:limit]]


def _beir(path: Path) -> Iterator[str]:
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            yield f"{entry.get('title', '')} {entry['text']}"


def _archive(path: Path) -> Iterator[str]:
    with tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda entry: entry.name):
            if member.isfile() and Path(member.name).suffix in SUFFIXES:
                opened = archive.extractfile(member)
                yield opened.read().decode("utf-8", "replace") if opened else ""


def _files(folder: Path) -> Iterator[str]:
    for path in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
        fmt = formats.format_of(path.name)
        if fmt:
            for item in parse(Content(path.as_uri(), "1", path.read_bytes()), fmt):
                if isinstance(item, Document):
                    yield item.text

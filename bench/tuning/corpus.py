"""A corpus as passages, through the project's own parsers and chunker, and its documents divided by their identity."""

from __future__ import annotations

import gzip
import json
import lzma
import random
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import config
from pipelines.config import Chunking
from pipelines.embed import open_tokenizer
from pipelines.evaluate import controls
from pipelines.evaluate.builders import Passage
from pipelines.ports import Tokenizer
from pipelines.records import Content, Document
from pipelines.text import formats
from pipelines.text.chunk import chunks
from pipelines.text.parse import parse

SAMPLE = Path(__file__).resolve().parents[2] / "include/sample/knowledge"
OPENERS: dict[str, Callable[..., Any]] = {"": open, ".xz": lzma.open, ".gz": gzip.open}
MAX_PASSAGES = 6  # of a document: its first ones
MAX_BYTES = 12_000  # of a text file that are read for them
PLAIN = {"text", "markdown"}
QUICK = {*PLAIN, "html", "json"}  # formats whose parsers are there at once
TEST, VALIDATION = 0.5, 0.15  # shares of the documents


@dataclass(frozen=True, slots=True)
class Parts:
    """Passages by what their documents are for; near-duplicate documents are in one part."""

    train: list[Passage]
    validation: list[Passage]
    test: list[Passage]


def parts(folder: Path | None, seed: int, documents: int | None = None) -> Parts:
    """The corpus in `folder` (the sample without one), divided; with `documents`, so many, drawn by the seed."""
    found = sorted(_files(folder or SAMPLE))
    if documents is not None:
        found = [(name, data) for name, data in found if formats.format_of(name) in QUICK]
        found = random.Random(seed).sample(found, min(documents, len(found)))
    tokenizer = open_tokenizer(config.load().models["minilm"])
    passages = [passage for name, data in found for passage in _passages(name, data, tokenizer)]
    texts: dict[str, str] = {}
    for passage in passages:
        texts[passage.document] = f"{texts.get(passage.document, '')} {passage.text}"
    cluster = controls.clusters(texts)
    test = {name for name in texts if controls.held_out(cluster[name], TEST)}
    watched = {name for name in texts if controls.held_out(cluster[name], TEST + VALIDATION)} - test
    return Parts(
        [passage for passage in passages if passage.document not in test | watched],
        [passage for passage in passages if passage.document in watched],
        [passage for passage in passages if passage.document in test],
    )


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes: of a BEIR corpus, of the archive base.tar.xz, or of the files below a folder."""
    for suffix, opener in OPENERS.items():
        if (folder / f"corpus.jsonl{suffix}").is_file():
            with opener(folder / f"corpus.jsonl{suffix}", "rt", encoding="utf-8") as file:
                for row in map(json.loads, file):
                    yield f"{row['_id']}.txt", f"{row.get('title') or ''}\n\n{row.get('text') or ''}".encode()
            return
    if (folder / "base.tar.xz").is_file():
        with tarfile.open(folder / "base.tar.xz") as archive:
            for member in archive:
                data = archive.extractfile(member) if member.isfile() else None
                if data is not None and formats.format_of(member.name):
                    yield member.name, data.read()
        return
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and formats.format_of(path.name)):
        yield path.relative_to(folder).as_posix(), path.read_bytes()


def _passages(name: str, data: bytes, tokenizer: Tokenizer) -> Iterator[Passage]:
    fmt = formats.format_of(name) or "text"
    content = Content(name, "1", data[:MAX_BYTES] if fmt in PLAIN else data)
    for document in parse(content, fmt):
        if isinstance(document, Document) and document.lang in {"", "en"} and not document.member:
            cut = [chunk for chunk in chunks(document, tokenizer, Chunking()) if chunk.kind == "prose"]
            for chunk in cut[:MAX_PASSAGES]:
                yield Passage(
                    name, document.title, chunk.heading_path, chunk.char_start, chunk.char_end, chunk.text, document.lang
                )

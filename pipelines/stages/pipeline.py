"""Which settings produced a document: the chunk set, the pipeline fingerprint and the space of a collection."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.records import sha256
from pipelines.store import spaces
from pipelines.text.parse import PARSER_VERSION

if TYPE_CHECKING:
    from pipelines.context import Context


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The settings in force for one collection."""

    collection: str
    chunk_settings: dict[str, Any]
    tokenizer: str  # fingerprint
    max_tokens: int  # of a chunk: the configured limit or the embedder's, whichever is lower
    chunk_set: str  # fingerprint of chunk settings, tokenizer and limit
    fingerprint: str  # of parser, cleaner, chunk set and collection: a document with another one is a changed document


def pipeline(ctx: Context, collection: str) -> Pipeline:
    """Read the settings in force; reads files only."""
    tokenizer = ctx.tokenizer(collection)
    chunking = ctx.settings.chunking
    max_tokens = min(chunking.max_tokens, tokenizer.max_tokens)
    settings = chunking.model_dump()
    chunk_set = sha256(json.dumps(settings, sort_keys=True), tokenizer.fingerprint, str(max_tokens)).hex()[:32]
    return Pipeline(
        collection=collection,
        chunk_settings=settings,
        tokenizer=tokenizer.fingerprint,
        max_tokens=max_tokens,
        chunk_set=chunk_set,
        fingerprint=sha256(PARSER_VERSION, chunk_set, collection).hex()[:32],
    )


def space_of(ctx: Context, settings: Pipeline) -> spaces.Space:
    """The collection's active space, made with its chunk set when it is the first.

    Raises FixConfiguration when the active space belongs to another model or other chunk settings.
    """
    chunk_set = spaces.ensure_chunk_set(
        ctx.pool,
        fingerprint=settings.chunk_set,
        settings=settings.chunk_settings,
        tokenizer_sha=settings.tokenizer,
        max_tokens=settings.max_tokens,
    )
    return spaces.ensure_space(
        ctx.pool,
        ctx.embedder(settings.collection),
        collection=settings.collection,
        chunk_set=chunk_set,
        storage=ctx.model(settings.collection).storage,
    )

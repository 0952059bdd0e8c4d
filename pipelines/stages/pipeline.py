"""Which settings make a collection's documents: chunk set, model, fingerprint.

What serves decides. The active space names the model and its chunk set the settings, whatever the configuration says by
now; the configuration makes a collection's first space, and is what `reembed` works towards.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines import config
from pipelines.config import Chunking
from pipelines.errors import FixConfiguration
from pipelines.records import sha256
from pipelines.store import spaces
from pipelines.text.parse import PARSER_VERSION

if TYPE_CHECKING:
    from pipelines.context import Context


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Settings that make documents of one collection for one space."""

    collection: str
    model: str  # the models.yaml entry
    chunking: Chunking
    tokenizer: str  # fingerprint
    max_tokens: int  # of a chunk: the configured limit or the embedder's, whichever is lower
    chunk_set: str  # fingerprint of chunk settings, tokenizer and limit
    fingerprint: str  # of parser, cleaner, chunk set and collection: a document with another one is a changed document


def pipeline(ctx: Context, collection: str) -> Pipeline:
    """The settings of the space that serves; those of the configuration when none does yet."""
    space = spaces.active(ctx.pool, collection)
    return of_space(ctx, space) if space else wanted(ctx, collection)


def wanted(ctx: Context, collection: str, model: str = "") -> Pipeline:
    """The settings that the configuration asks for, with another of its models if one is named."""
    ctx.settings.require_collection(collection)
    name = model or ctx.settings.collections[collection].model
    tokenizer, chunking = ctx.models.tokenizer(name), ctx.settings.chunking
    max_tokens = min(chunking.max_tokens, tokenizer.max_tokens)
    settings = json.dumps(chunking.model_dump(), sort_keys=True)
    chunk_set = sha256(settings, tokenizer.fingerprint, str(max_tokens)).hex()[:32]
    return Pipeline(collection, name, chunking, tokenizer.fingerprint, max_tokens, chunk_set, _mark(chunk_set, collection))


def of_space(ctx: Context, space: spaces.Space) -> Pipeline:
    """The settings that a space was made with. Raises FixConfiguration when no models.yaml entry is its model."""
    name, cut = ctx.model_name(space.collection, space), spaces.chunk_set(ctx.pool, space.chunk_set)
    tokenizer = ctx.models.tokenizer(name)
    if tokenizer.fingerprint != cut.tokenizer_sha:
        raise FixConfiguration(
            f"include/config/models.yaml: model {name!r} counts with another tokenizer than the passages of collection "
            f"{space.collection!r} were cut with; give the new one an entry of its own and run `millrace reembed`"
        )
    return Pipeline(
        collection=space.collection,
        model=name,
        chunking=config.validate(cut.settings, Chunking, f"chunk set {cut.id}"),
        tokenizer=tokenizer.fingerprint,
        max_tokens=cut.max_tokens,
        chunk_set=cut.fingerprint,
        fingerprint=_mark(cut.fingerprint, space.collection),
    )


def space_of(ctx: Context, settings: Pipeline) -> spaces.Space:
    """The collection's active space, made with its chunk set when it is the first."""
    found = spaces.active(ctx.pool, settings.collection)
    if found is not None:
        return found
    return spaces.ensure_space(
        ctx.pool,
        ctx.models.embedder(settings.model),
        collection=settings.collection,
        chunk_set=ensure_chunk_set(ctx, settings),
        storage=ctx.models.entry(settings.model).storage,
    )


def ensure_chunk_set(ctx: Context, settings: Pipeline) -> int:
    """The number of the settings' chunk set, made when it is new."""
    return spaces.ensure_chunk_set(
        ctx.pool,
        fingerprint=settings.chunk_set,
        settings=settings.chunking.model_dump(),
        tokenizer_sha=settings.tokenizer,
        max_tokens=settings.max_tokens,
    )


def fingerprint_of(ctx: Context, space: spaces.Space) -> str:
    """What documents of a space are marked with; needs no model."""
    return _mark(spaces.chunk_set(ctx.pool, space.chunk_set).fingerprint, space.collection)


def remark(ctx: Context, settings: Pipeline) -> str:
    """What to say when the configuration asks for another model or other passages than serve; "" when it does not."""
    try:
        asked = wanted(ctx, settings.collection)
    except FixConfiguration as error:
        return f"{settings.collection!r} is served by {settings.model}; what is configured cannot be used: {error}"
    if asked.model != settings.model and _fingerprint(ctx, asked) != _fingerprint(ctx, settings):
        served, configured = settings.model, asked.model
    elif asked.chunk_set != settings.chunk_set:
        served, configured = "other chunk settings", "include/config/chunking.yaml"
    else:
        return ""
    return (
        f"collection {settings.collection!r} is served by {served}; configured is {configured}: "
        f"run `millrace reembed {settings.collection}`"
    )


def _fingerprint(ctx: Context, settings: Pipeline) -> str:
    return ctx.models.embedder(settings.model).fingerprint


def _mark(chunk_set: str, collection: str) -> str:
    return sha256(PARSER_VERSION, chunk_set, collection).hex()[:32]

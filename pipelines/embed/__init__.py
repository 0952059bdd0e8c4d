"""Embedders: texts in, unit vectors out. This file picks one by configuration and imports nothing heavy until asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.config import Model

if TYPE_CHECKING:
    from pipelines.connections import Connections
    from pipelines.ports import Embedder, Tokenizer


def open_embedder(model: Model, cache: Path, threads: int | None = None, connections: Connections | None = None) -> Embedder:
    """The embedder of a models.yaml entry. Cheap: the engine is built on the first `embed`.

    With `adapter`, questions go through it. `cache` keeps converted models between processes, `threads` bounds the engine's
    CPU threads (default: all cores), `connections` are needed by a server that is named by one. Raises FixConfiguration for
    a folder that is incomplete or asks for code execution, or a tier that this CPU lacks.
    """
    base = _open_base(model, cache, threads, connections)
    if model.adapter is None:
        return base
    from pipelines.embed.adapter import adapted  # noqa: PLC0415 - lazily, by configuration

    return adapted(base, Path(model.adapter))


def _open_base(model: Model, cache: Path, threads: int | None, connections: Connections | None) -> Embedder:
    if model.tier == "hash":
        from pipelines.embed.hashing import Hashing  # noqa: PLC0415

        return Hashing(seed=model.seed)
    if model.http is not None:
        from pipelines.embed.http import open_http  # noqa: PLC0415

        return open_http(model.http, connections or {})
    from pipelines.embed.card import card  # noqa: PLC0415

    if model.engine == "torch":
        from pipelines.embed.torch import Torch  # noqa: PLC0415

        return Torch(card(model), model.tier, model.device)
    from pipelines.embed.openvino import OpenVino  # noqa: PLC0415

    return OpenVino(card(model), model.tier, cache, threads)


def open_tokenizer(model: Model) -> Tokenizer:
    """The tokenizer of a models.yaml entry: exactly the one its embedder counts with."""
    if model.tier == "hash":
        from pipelines.embed.hashing import WordTokenizer  # noqa: PLC0415

        return WordTokenizer()
    from pipelines.embed.tokenizer import read_tokenizer  # noqa: PLC0415

    if model.http is not None:
        server = model.http
        prompts = (server.prompt_query, server.prompt_passage)
        return read_tokenizer(Path(server.tokenizer), server.max_tokens, prompts)
    from pipelines.embed.card import card  # noqa: PLC0415

    read = card(model)
    return read_tokenizer(read.weights, read.max_tokens, (read.prompt_query, read.prompt_passage))

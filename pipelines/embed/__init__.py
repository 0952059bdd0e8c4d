"""Embedders: texts in, unit vectors out. This file picks one by configuration and imports nothing heavy until asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.config import Model

if TYPE_CHECKING:
    from pipelines.ports import Embedder, Tokenizer


def open_embedder(model: Model, cache: Path, threads: int | None = None) -> Embedder:
    """The embedder of a models.yaml entry. Cheap: the engine is built on the first `embed`.

    `cache` keeps converted models between processes; `threads` bounds the engine's CPU threads (default: all cores).
    Raises FixConfiguration for a folder that is incomplete or asks for code execution, or a tier this CPU lacks.
    """
    if model.tier == "hash":
        from pipelines.embed.hashing import Hashing  # noqa: PLC0415 - lazily, by configuration

        return Hashing()
    from pipelines.embed.card import card  # noqa: PLC0415
    from pipelines.embed.openvino import OpenVino  # noqa: PLC0415

    return OpenVino(card(model), model.tier, cache, threads)


def open_tokenizer(model: Model) -> Tokenizer:
    """The tokenizer of a models.yaml entry: exactly the one its embedder counts with."""
    if model.tier == "hash":
        from pipelines.embed.hashing import WordTokenizer  # noqa: PLC0415

        return WordTokenizer()
    from pipelines.embed import tokenizer  # noqa: PLC0415
    from pipelines.embed.card import card  # noqa: PLC0415

    return tokenizer.open_tokenizer(card(model))

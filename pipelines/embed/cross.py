"""Rerankers: a question and passages in, one score each out. Picks one by configuration, imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.config import Reranker

if TYPE_CHECKING:
    from pipelines import ports


def open_reranker(entry: Reranker, cache: Path, threads: int | None = None) -> ports.Reranker:
    """The reranker of a models.yaml entry. Cheap: the engine is built on the first `score`.

    `cache` keeps converted models between processes; `threads` bounds the engine's CPU threads (default: all cores).
    Raises FixConfiguration for a folder that is incomplete, has several labels or asks for code execution.
    """
    if entry.engine == "words":
        from pipelines.embed.cross_words import SharedWords  # noqa: PLC0415 - lazily, by configuration

        return SharedWords()
    from pipelines.embed.cross_card import cross_card  # noqa: PLC0415

    if entry.engine == "torch":
        from pipelines.embed.cross_torch import TorchCross  # noqa: PLC0415

        return TorchCross(cross_card(entry), entry.device)
    from pipelines.embed.cross_openvino import OpenVinoCross  # noqa: PLC0415

    return OpenVinoCross(cross_card(entry), cache, threads)

"""Writes a cross-encoder as an OpenVINO graph: `python -m pipelines.embed.cross_convert FOLDER OUT`, a child process."""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.config import Reranker
from pipelines.embed.convert import prepare, write
from pipelines.embed.cross_card import cross_card


def main() -> None:
    """Convert the cross-encoder's folder sys.argv[1] into the folder sys.argv[2]."""
    prepare()
    convert(Path(sys.argv[1]), Path(sys.argv[2]))


def convert(folder: Path, out: Path) -> None:
    """Write `out`/model.xml and model.bin, inputs as `CrossNetwork` (n, length) int64, output (n,)."""
    from pipelines.embed.cross_network import CrossNetwork  # noqa: PLC0415 - after the environment is set

    card = cross_card(Reranker(path=str(folder)))
    write(CrossNetwork(card), ("token_type_ids",) if card.segments else (), out)


if __name__ == "__main__":
    main()

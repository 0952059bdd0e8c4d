"""Writes a model as an OpenVINO graph: `python -m pipelines.embed.convert FOLDER OUT`, a child process.

Pooling, projections and normalisation are part of the graph. Precision stays f32: tiers are chosen when running.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.config import Model
from pipelines.embed.card import card

if TYPE_CHECKING:
    from torch import nn


def main() -> None:
    """Convert the sentence-transformers folder sys.argv[1] into the folder sys.argv[2]."""
    prepare()
    convert(Path(sys.argv[1]), Path(sys.argv[2]))


def prepare() -> None:
    """Keep this process off the network and quiet, before anything heavy is imported."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # openvino then uses its own silent stub
    warnings.simplefilter("ignore")  # tracing warns about every Python branch it fixes


def convert(folder: Path, out: Path) -> None:
    """Write `out`/model.xml and model.bin, inputs `input_ids` and `attention_mask` (n, length) int64, output (n, dim)."""
    from pipelines.embed.network import Network  # noqa: PLC0415 - after the environment is set

    write(Network(card(Model(path=str(folder)))), (), out)


def write(network: nn.Module, more: tuple[str, ...], out: Path) -> None:
    """Write a network whose inputs are `input_ids`, `attention_mask` and those named by `more`, all (n, length) int64."""
    import openvino  # noqa: PLC0415 - after the environment is set
    import torch  # noqa: PLC0415

    ids = torch.randint(5, 100, (2, 8))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0  # the example has padding, so that tracing keeps the mask
    example = {"input_ids": ids, "attention_mask": mask} | {name: torch.zeros_like(ids) for name in more}
    shape, kind = [-1, -1], openvino.Type.i64
    with torch.no_grad():
        graph = openvino.convert_model(
            network,
            example_input=example,
            input=[(name, shape, kind) for name in example],
        )
    openvino.save_model(graph, str(out / "model.xml"), compress_to_fp16=False)


if __name__ == "__main__":
    main()

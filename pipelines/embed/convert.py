"""Writes a model as an OpenVINO graph: `python -m pipelines.embed.convert WEIGHTS POOLING OUT`, a child process.

Only this process imports torch and transformers. Weights are read from safetensors, no code of the model runs, nothing is
downloaded, and pooling and normalisation are part of the graph. Precision stays f32: tiers are chosen when running.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any


def main() -> None:
    """Convert the model in sys.argv[1] with pooling sys.argv[2] into the folder sys.argv[3]."""
    weights, pooling, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # openvino then uses its own silent stub
    warnings.simplefilter("ignore")  # tracing warns about every Python branch it fixes
    convert(weights, pooling, out)


def convert(weights: Path, pooling: str, out: Path) -> None:
    """Write `out`/model.xml and model.bin, inputs `input_ids` and `attention_mask` (n, length) int64, output (n, dim)."""
    import openvino  # noqa: PLC0415 - after the environment is set
    import torch  # noqa: PLC0415

    encoder = _encoder(_load(weights), pooling)
    ids = torch.randint(5, 100, (2, 8))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0  # the example has padding, so that tracing keeps the mask
    shape, kind = [-1, -1], openvino.Type.i64
    with torch.no_grad():
        graph = openvino.convert_model(
            encoder,
            example_input={"input_ids": ids, "attention_mask": mask},
            input=[("input_ids", shape, kind), ("attention_mask", shape, kind)],
        )
    openvino.save_model(graph, str(out / "model.xml"), compress_to_fp16=False)


def _load(weights: Path) -> Any:
    import torch  # noqa: PLC0415
    from transformers import AutoModel  # noqa: PLC0415

    return AutoModel.from_pretrained(
        str(weights),
        dtype=torch.float32,  # the stored type may be fp16, which a CPU only emulates
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        attn_implementation="sdpa",
    ).eval()


def _encoder(model: Any, pooling: str) -> Any:
    import torch  # noqa: PLC0415

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.model(input_ids=input_ids, attention_mask=attention_mask)[0]
            pooled = hidden[:, 0] if pooling == "cls" else _mean(hidden, attention_mask)
            return torch.nn.functional.normalize(pooled, p=2.0, dim=1)

    return Encoder().eval()


def _mean(hidden: Any, attention_mask: Any) -> Any:
    weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


if __name__ == "__main__":
    main()

"""A small sound model folder, and safetensors files written by hand, so that they can be wrong in every way."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

F32 = np.array([[0.5, -1.0], [2.0, 0.25]], dtype="<f4")


def tensor(name: str = "w", begin: int = 0, end: int = 16, **other: Any) -> dict[str, Any]:
    """One entry of a header."""
    return {name: {"dtype": "F32", "shape": [2, 2], "data_offsets": [begin, end], **other}}


def weights(header: Any, data: bytes = F32.tobytes(), length: int | None = None) -> bytes:
    """A safetensors file; `length` is what it says of its header, whatever that is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def sound(folder: Path) -> Path:
    """A folder that is taken."""
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "vocab.txt").write_text("a\nb\n")
    (folder / "README.md").write_text("# A model\n")
    (folder / "LICENSE").write_text("Apache 2.0")
    (folder / "model.safetensors").write_bytes(weights({"__metadata__": {"format": "pt"}, **tensor()}))
    return folder

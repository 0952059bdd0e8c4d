"""Writes a folder's transformer as ONNX, for fastembed: `embed_export.py FOLDER OUT`, where optimum-onnx is installed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from optimum.onnxruntime import ORTModelForFeatureExtraction

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
ORTModelForFeatureExtraction.from_pretrained(folder, export=True).save_pretrained(out)
for path in folder.glob("*.json"):
    if not (out / path.name).exists():
        shutil.copy(path, out / path.name)

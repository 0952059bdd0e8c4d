"""The int8 tier: a graph whose weights are int8 with a scale per output, multiplied with activations that OpenVINO rounds
to int8 in groups as it runs. Attention, normalisation and pooling stay as they are.

The tier is refused unless it finds what f32 finds: `judge` compares both on the labelled set once and keeps the report.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipelines.embed import labelled
from pipelines.embed.cache import kept
from pipelines.errors import FixConfiguration
from pipelines.records import sha256

if TYPE_CHECKING:
    from pipelines.ports import Embedder

VERSION = "1"  # raise it when the graph or the labelled set changes
GROUP = 32  # activations that share a scale
LEAST = 0.995  # of the nDCG@10 of f32


def quantised(graph: Path) -> Path:
    """The folder with the int8 form of the graph in `graph`, made first if needed (about a second)."""
    return kept(graph.parent / sha256("int8", VERSION, graph.name).hex(), lambda partial: _quantise(graph, partial))


def _quantise(graph: Path, out: Path) -> None:
    import openvino  # noqa: PLC0415 - as in openvino.py
    from openvino import opset13 as op  # noqa: PLC0415

    model = openvino.Core().read_model(graph / "model.xml")
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        weights = node.input_value(1).get_node()
        if weights.get_type_name() != "Constant" or weights.data.ndim != 2:
            continue  # a product of activations, as in attention
        values, scales = rounded(weights.data, axis=1 if node.get_attributes()["transpose_b"] else 0)
        restored = op.multiply(op.convert(op.constant(values), np.float32), op.constant(scales))
        node.input(1).replace_source_output(restored.output(0))
    openvino.save_model(model, str(out / "model.xml"), compress_to_fp16=False)


def rounded(weights: npt.NDArray[np.float32], axis: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """int8 values and the scales along `axis` that bring them back: values * scales is within half a scale of `weights`."""
    scales = np.maximum(np.abs(weights).max(axis=axis, keepdims=True), 1e-12) / 127
    return np.rint(weights / scales).astype(np.int8), scales.astype(np.float32)


def judge(name: str, candidate: Embedder, reference: Embedder, report: Path) -> None:
    """FixConfiguration unless the candidate reaches LEAST of the reference's nDCG@10. Asked once, then read in `report`."""
    figures = _read(report) or _compare(candidate, reference, report)
    if figures["share"] < LEAST:
        raise FixConfiguration(
            f"include/config/models.yaml: tier int8: {name} reaches nDCG@10 {figures['ndcg_int8']:.4f}, "
            f"{figures['share']:.2%} of f32's {figures['ndcg_f32']:.4f} ({figures['questions']:.0f} questions), under "
            f"{LEAST:.1%}; write tier: bf16 or f32 (report: {report})"
        )


def _compare(candidate: Embedder, reference: Embedder, report: Path) -> dict[str, float]:
    cases = labelled.read(labelled.SAMPLE)
    exact, coarse = (labelled.vectors(cases, embedder) for embedder in (reference, candidate))
    ndcg = [labelled.ndcg(cases, *found) for found in (exact, coarse)]
    cosines = np.concatenate([(one * other).sum(axis=1) for one, other in zip(exact, coarse, strict=True)])
    figures = {
        "ndcg_f32": round(ndcg[0], 6),
        "ndcg_int8": round(ndcg[1], 6),
        "share": round(ndcg[1] / ndcg[0], 6) if ndcg[0] else 0.0,
        "min_cosine": round(float(cosines.min()), 6),
        "mean_cosine": round(float(cosines.mean()), 6),
        "questions": len(cases.questions),
        "passages": len(cases.passages),
    }
    partial = report.with_suffix(f".partial{os.getpid()}")
    partial.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    partial.rename(report)
    return figures


def _read(report: Path) -> dict[str, float] | None:
    try:
        figures = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # never written, or damaged
        return None
    return figures if isinstance(figures, dict) and "share" in figures else None

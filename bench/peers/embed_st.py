"""sentence-transformers: `embed_st.py FOLDER BACKEND PRECISION BATCH`, backends torch, cuda, onnx, openvino."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from embed_child import THREADS, serve
from sentence_transformers import SentenceTransformer

folder, backend, precision, batch = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
torch.set_num_threads(THREADS)
options: dict[str, Any] = {}
if backend in {"torch", "cuda"} and precision != "f32":
    options = {"torch_dtype": {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]}
elif backend == "onnx":
    import onnxruntime

    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = THREADS
    options = {"provider": "CPUExecutionProvider", "session_options": session, "export": True}
elif backend == "openvino":
    hint = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY"}
    options = {"ov_config": hint, "export": True}
device, backend = ("cuda", "torch") if backend == "cuda" else ("cpu", backend)
model = SentenceTransformer(folder, device=device, backend=backend, model_kwargs=options)
model.max_seq_length = 256


def embed(texts: Sequence[str]) -> Any:
    """As a user would: lists in, arrays out."""
    return model.encode(list(texts), batch_size=batch, normalize_embeddings=True, show_progress_bar=False)


def count(texts: Sequence[str]) -> int:
    """Real tokens after truncation."""
    return sum(len(ids) for ids in model.tokenizer(list(texts), truncation=True, max_length=256)["input_ids"])


serve(embed, count)

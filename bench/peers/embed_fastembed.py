"""fastembed on the exported model: `embed_fastembed.py FOLDER BATCH`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from embed_child import THREADS, serve
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

folder, batch = sys.argv[1], int(sys.argv[2])
TextEmbedding.add_custom_model(
    model="bench/minilm",
    pooling=PoolingType.MEAN,
    normalization=True,
    sources=ModelSource(hf="bench/minilm"),
    dim=384,
    model_file="model.onnx",
)
model = TextEmbedding("bench/minilm", specific_model_path=folder, threads=THREADS)
model.model.tokenizer.enable_truncation(max_length=256)


def embed(texts: Sequence[str]) -> Any:
    """Its own default loop."""
    return list(model.embed(list(texts), batch_size=batch))


def count(texts: Sequence[str]) -> int:
    """Real tokens after truncation."""
    return sum(sum(encoding.attention_mask) for encoding in model.model.tokenize(list(texts)))


serve(embed, count)

"""infinity's engine in process: `embed_infinity.py FOLDER ENGINE BATCH`, engines torch and optimum."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import torch
from embed_child import THREADS, serve
from infinity_emb import AsyncEmbeddingEngine, EngineArgs
from transformers import AutoTokenizer

folder, engine, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(THREADS)
tokenizer = AutoTokenizer.from_pretrained(folder)
runner = AsyncEmbeddingEngine.from_args(
    EngineArgs(
        model_name_or_path=folder,
        engine=engine,
        device="cpu",
        dtype="float32",
        batch_size=batch,
        bettertransformer=False,
        compile=False,
        model_warmup=False,
        vector_disk_cache_path="",
        lengths_via_tokenize=True,
    )
)
loop = asyncio.new_event_loop()
loop.run_until_complete(runner.astart())


def embed(texts: Sequence[str]) -> Any:
    """All texts as one request; the engine batches by itself."""
    return loop.run_until_complete(runner.embed(sentences=list(texts)))[0]


def count(texts: Sequence[str]) -> int:
    """Real tokens after truncation."""
    return sum(len(ids) for ids in tokenizer(list(texts), truncation=True, max_length=256)["input_ids"])


serve(embed, count)
loop.run_until_complete(runner.astop())

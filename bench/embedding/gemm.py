"""The rate of the model's matrix products alone, through OpenVINO: what its engine could reach if all else cost nothing."""

from __future__ import annotations

import time

import numpy as np

LAYERS, WIDTH, INNER = 6, 384, 1536
TOKENS = 2048  # rows of a product: the engine's own batch
REQUESTS = 2
REPEATS = 6  # of the whole chain in each request


class Gemm:
    """Six layers of products, four of (384, 384), one of (384, 1536) and one of (1536, 384), and nothing between them."""

    def __init__(self, precision: str, threads: int) -> None:
        import openvino
        from openvino import opset13 as op

        rng = np.random.default_rng(0)
        rows = op.parameter([TOKENS, WIDTH], np.float32)
        states = rows
        for inputs, outputs in [*[(WIDTH, WIDTH)] * 4, (WIDTH, INNER), (INNER, WIDTH)] * LAYERS:
            weights = rng.normal(size=(outputs, inputs)).astype(np.float32) / np.sqrt(inputs).astype(np.float32)
            states = op.matmul(states, op.constant(weights), False, True)
        settings = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "PERFORMANCE_HINT_NUM_REQUESTS": REQUESTS,
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
        }
        compiled = openvino.Core().compile_model(openvino.Model([states], [rows]), "CPU", settings)
        self._queue = openvino.AsyncInferQueue(compiled, REQUESTS)
        self._rows = rng.normal(size=(TOKENS, WIDTH)).astype(np.float32)
        self._run()

    def rate(self) -> float:
        """FLOP/s, the middle of three tries: a burst that one try caught is no rate that an engine could keep."""
        return sorted(self._run() for _ in range(3))[1]

    def _run(self) -> float:
        began = time.perf_counter()
        for _ in range(REQUESTS * REPEATS):
            self._queue.start_async({0: self._rows})
        self._queue.wait_all()
        return REQUESTS * REPEATS * flops(TOKENS, 0) / (time.perf_counter() - began)


def flops(tokens: int, attended: int) -> float:
    """Of the model's products on so many tokens, with attention over `attended`, the sum of the texts' squared lengths."""
    products = LAYERS * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER)
    return 2.0 * products * tokens + 4.0 * WIDTH * LAYERS * attended

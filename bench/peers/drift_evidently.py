"""Evidently's drift methods for embeddings, by their own scores: one JSON line per JSON line, until the input ends.

`{"windows": FILE}` names an .npz with `reference` and `current`, (rows, dim) each; the answer is a score per method, larger
for more drift. The rules that Evidently puts on the scores are left to the caller, who calibrates all methods alike.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pandas as pd
from evidently.legacy.metrics.data_drift.embedding_drift_methods import distance, mmd, model, ratio

METHODS = {
    "model": model(),
    "mmd": mmd(),
    "distance": distance(),
    "cosine distance": distance(dist="cosine"),
    "ratio": ratio(),
}


def scores(path: str) -> dict[str, float]:
    """Of one pair of windows."""
    with np.load(path) as windows:
        reference, current = (pd.DataFrame(windows[name]) for name in ("reference", "current"))
    # The classifier writes its labels into the frames that it is given.
    return {name: float(method(current.copy(), reference.copy())[0]) for name, method in METHODS.items()}


answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what a library prints is no answer
print(json.dumps({"ready": True}), file=answers, flush=True)
for line in sys.stdin:
    print(json.dumps(scores(json.loads(line)["windows"])), file=answers, flush=True)

"""What it saved a run that vectors are computed once. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def savings(stats: Mapping[str, Any], past: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """`reuse_rate` of the texts that needed a vector and, once a run has measured what one costs, `saved_seconds`.

    `past` holds the statistics of earlier runs, newest first; a run that computed nothing takes its rate from them.
    """
    reused, embedded = stats.get("reused", 0), stats.get("embedded", 0)
    if not reused + embedded:
        return {}
    found = {"reuse_rate": round(reused / (reused + embedded), 4)}
    for run in (stats, *past):
        if run.get("embedded") and run.get("embed_milliseconds"):
            found["saved_seconds"] = round(reused * run["embed_milliseconds"] / run["embedded"] / 1000, 1)
            break
    return found

"""Publishers, the collector and the expiry fight over the same few texts, days passing every second.

A text is dropped by its last document and wanted again by the next. Time passes as it does for real: a row that was young
when a run asked for it is old at most `PERIOD` later, and expires at the earliest another `PERIOD` after that; a run that
takes longer than one proves nothing and is counted as overdue.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import partial

from bench.faults.direct import Direct, version_name
from bench.faults.lab import Lab
from bench.faults.rivals import leave
from bench.faults.tally import Tally
from pipelines.errors import Retry
from pipelines.store import collect

PUBLISHERS, DOCUMENTS, TEXTS = 3, 4, 120
PERIOD = 1.5  # seconds between two steps of ageing

STALE = """
UPDATE embedding_cache SET created_at = clock_timestamp() - interval '3 days'
WHERE created_at > clock_timestamp() - interval '1 day'
"""
EXPIRED = """
UPDATE embedding_cache SET created_at = clock_timestamp() - interval '40 days'
WHERE created_at BETWEEN clock_timestamp() - interval '9 days' AND clock_timestamp() - interval '1 day'
"""


def recycle(lab: Lab, tally: Tally, seconds: float, seed: int) -> None:
    """Let them fight for so long."""
    until = time.monotonic() + seconds
    work: list[Callable[[], None]] = [partial(_collect, lab, tally, until), partial(_age, lab, until)]
    work += [partial(_publish, lab, tally, until, number, random.Random(seed + number)) for number in range(PUBLISHERS)]
    children = []
    for task in work:
        pid = os.fork()
        if pid == 0:
            leave(task, tally)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)


def _publish(lab: Lab, tally: Tally, until: float, number: int, rng: random.Random) -> None:
    with lab.context({}) as ctx:
        direct = Direct.open(ctx)
        version = 0
        while time.monotonic() < until:
            version += 1
            texts = [f"recycled text {text}" for text in rng.sample(range(TEXTS), 3)]
            contents = {(f"direct://recycled/{number}/{rng.randrange(DOCUMENTS)}", ""): texts}
            began = time.monotonic()
            computed = direct.embed(texts)
            time.sleep(rng.random() * 0.1)
            try:
                direct.publish(contents, version_name(version))
                tally.add({"recycled": 1, "recomputed": computed})
            except Retry as error:
                overdue = time.monotonic() - began > PERIOD
                tally.add({"overdue" if overdue else "lost_vectors": 1}, red=f"recycling: {error}")


def _collect(lab: Lab, tally: Tally, until: float) -> None:
    with lab.context({}) as ctx:
        while time.monotonic() < until:
            removed = collect.collect(ctx.pool, cache_days=30, slice_rows=7)
            tally.add({"collected": removed.texts, "expired": removed.cached_vectors})


def _age(lab: Lab, until: float) -> None:
    while time.monotonic() < until:
        lab.query(EXPIRED)
        lab.query(STALE)
        time.sleep(PERIOD)

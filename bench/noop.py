"""A sync of N unchanged objects, from a cold process to its exit.

10,000 objects over S3, then the same comparison on folders of two sizes for the slope, since the embedded object store is
itself slow to fill. Counted besides time: object reads (a proxy before the object store) and rows of chunks, texts and
vectors written (PostgreSQL's own statistics); both must be none. The deterministic embedder loads the objects once.
"""

from __future__ import annotations

import math
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.counting import CountingProxy
from bench.harness import Limit, Options, Result, spread
from bench.rig import Rig

BUCKET = "noop"
ROUNDS = 3
DISTINCT = 500
NOISE = 0.05  # seconds below which two runs do not differ
WORDS = Path(__file__).resolve().parent.parent / "include/sample/README.md"


def run(options: Options) -> Result:
    """Measure; `--quick` uses 500 objects on S3 and folders of 200 and 800, and judges no time."""
    count, small, large = (500, 200, 800) if options.quick else (10_000, 25_000, 100_000)
    rng = random.Random(options.seed)
    figures = _on_s3(count, rng)
    figures |= _slope(small, large, rng)
    timed = ("s3_10k_seconds", "slope_25k_to_100k")
    if not options.quick:
        figures["s3_10k_seconds"] = figures["s3_seconds"]
        figures["slope_25k_to_100k"] = figures["slope"]
    return Result(
        "noop",
        figures,
        floors=(
            Limit("s3_10k_seconds", at_most=15),
            Limit("slope_25k_to_100k", at_most=1.2),
            Limit("rows_written", at_most=0),
            Limit("object_reads", at_most=0),
            Limit("not_unchanged", at_most=0),
        ),
        goals=(Limit("s3_10k_seconds", at_most=8),),
        left_out=timed if options.quick else (),
        notes=(
            f"{count} objects on S3; slope of log(seconds - start-up) over log(objects), folders of {small} and {large}",
        ),
    )


def _on_s3(count: int, rng: random.Random) -> dict[str, Any]:
    source = {"kind": "s3", "connection": "millrace_s3", "bucket": BUCKET, "prefix": "o/"}
    with Rig({"listed": source}, bucket=BUCKET, embedder="hash") as rig:
        s3 = rig.s3()
        with ThreadPoolExecutor(8) as threads:
            texts = _texts(rng)
            bodies = [(f"o/{index:06d}.md", texts[index % DISTINCT]) for index in range(count)]
            list(threads.map(lambda entry: s3.put_object(Bucket=BUCKET, Key=entry[0], Body=entry[1]), bodies))
        loaded = rig.millrace("sync", "listed").value["counts"]["loaded"]
        if loaded != count:
            raise RuntimeError(f"the first sync loaded {loaded} of {count} objects: there is nothing to measure")
        written = rig.rows_written()
        runs = [rig.millrace("sync", "listed") for _ in range(ROUNDS)]
        seconds = sorted(entry.seconds for entry in runs)
        return {
            "objects": count,
            "s3_seconds": round(seconds[ROUNDS // 2], 2),
            "s3_seconds_min_median_max": spread(seconds),
            "not_unchanged": sum(count - entry.value["counts"]["unchanged"] for entry in runs),
            "rows_written": rig.rows_written() - written,
            "object_reads": _object_reads(rig),
        }


def _object_reads(rig: Rig) -> int:
    """GETs and HEADs of objects during one more sync, seen by a proxy; apart from the timed ones, as it costs time."""
    with CountingProxy(rig.store.endpoint) as proxy:
        rig.use_store(proxy.endpoint)
        rig.millrace("sync", "listed")
        if not proxy.counts["list"]:
            raise RuntimeError("the proxy saw no listing: it does not stand before the object store")
        return proxy.counts["read"] + proxy.counts["head"]


def _slope(small: int, large: int, rng: random.Random) -> dict[str, Any]:
    """How the time beyond the fixed start-up grows between two folder sizes; 1 is linear."""
    times: dict[int, float] = {}
    texts = _texts(rng)
    for count in (0, small, large):
        with Rig({"listed": {"kind": "folder", "path": "{folder}/objects"}}, embedder="hash") as rig:
            folder = rig.folder / "objects"
            folder.mkdir()
            (folder / "one.md").write_bytes(texts[0])
            for index in range(count):
                part = folder / f"{index // 1000:04d}"
                part.mkdir(exist_ok=True)
                (part / f"{index:06d}.md").write_bytes(texts[index % DISTINCT])
            rig.millrace("sync", "listed")
            time.sleep(1)  # the database's background writers come to rest
            times[count] = sorted(rig.millrace("sync", "listed").seconds for _ in range(ROUNDS))[ROUNDS // 2]
    beyond = {count: max(times[count] - times[0], NOISE) for count in (small, large)}
    rise = math.log(beyond[large] / beyond[small]) / math.log(large / small)
    return {
        "startup_seconds": round(times[0], 2),
        f"folder_{small}_seconds": round(times[small], 2),
        f"folder_{large}_seconds": round(times[large], 2),
        "slope": round(rise, 3),
    }


def _texts(rng: random.Random) -> list[bytes]:
    """Few distinct texts for many files, so that filling the index does not outlast the measurement by an hour."""
    words = WORDS.read_text(encoding="utf-8").split()
    return [f"# Notice {index}\n\n{' '.join(rng.choices(words, k=40))}\n".encode() for index in range(DISTINCT)]

"""From one changed object to the moment a search finds it: through the command line in a cold process, and through Airflow.

The changed document is new text in a random place among the sample's; the clock starts when the object is written and stops
when a cold `millrace search` process has printed it. The validation worker, which stays warm for a minute, is ended before
each change. The stored results of the three suites are asserted each time: the same suites run for one document as for a
thousand.
"""

from __future__ import annotations

import random
import statistics
import time
from typing import Any

from bench.airflow_rig import AirflowRig
from bench.harness import Limit, Options, Result, spread
from bench.rig import ROOT, Rig, cool

BUCKET = "fresh"
FORMATS = {
    "md": "# {title}\n\n{sentence}\n",
    "txt": "{sentence}\n",
    "html": "<html><head><title>{title}</title></head><body><h1>{title}</h1><p>{sentence}</p></body></html>",
    "json": '{{"title": "{title}", "text": "{sentence}"}}',
}
NOUNS = ("heron", "sluice", "windlass", "lantern", "towpath", "culvert", "barge", "kiln", "aqueduct", "millstone")
VERBS = ("guards", "measures", "repaints", "inspects", "replaces", "photographs", "audits", "relocates")


def run(options: Options) -> Result:
    """Three changes by each door; `--quick` measures one through the command line."""
    rng = random.Random(options.seed)
    cli = _through_cli(rng, 1 if options.quick else 5)
    figures: dict[str, Any] = {
        "cli_seconds": round(statistics.median(cli), 2),
        "cli_seconds_min_median_max": spread(cli),
        "cli_changes": len(cli),
    }
    left_out: tuple[str, ...] = ("airflow_seconds",)
    if not options.quick:
        airflow = _through_airflow(rng, 3)
        figures["airflow_seconds"] = round(statistics.median(airflow), 2)
        figures["airflow_seconds_min_median_max"] = spread(airflow)
        left_out = ()
    return Result(
        "freshness",
        figures,
        floors=(Limit("cli_seconds", at_most=10), Limit("airflow_seconds", at_most=25)),
        left_out=left_out,
    )


def _through_cli(rng: random.Random, changes: int) -> list[float]:
    source = {"kind": "s3", "connection": "millrace_s3", "bucket": BUCKET, "prefix": "knowledge/", "exclude": ["drafts/*"]}
    with Rig({"sample": source}, bucket=BUCKET) as rig:
        s3 = rig.s3()
        for path in sorted((ROOT / "include/sample/knowledge").rglob("*")):
            if path.is_file():
                key = path.relative_to(ROOT / "include/sample").as_posix()
                s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
        rig.millrace("sync", "sample")
        seconds = []
        for _ in range(changes):
            name, body, sentence = _change(rng)
            cool(rig.home)
            began = time.monotonic()
            s3.put_object(Bucket=BUCKET, Key=f"knowledge/{name}", Body=body)
            done = rig.millrace("sync", "sample")
            hits = rig.millrace("search", sentence).value
            seconds.append(time.monotonic() - began)
            _assert_fresh(rig, done.value["run_id"], hits, sentence)
        return seconds


def _through_airflow(rng: random.Random, changes: int) -> list[float]:
    with AirflowRig() as rig:
        rig.sync("sync_sample")
        seconds = []
        for _ in range(changes):
            name, body, sentence = _change(rng)
            cool(rig.home)
            began = time.monotonic()
            rig.put(f"knowledge/{name}", body)
            rig.sync("sync_sample")
            hits = rig.millrace("search", sentence).value
            seconds.append(time.monotonic() - began)
            [(run_id,)] = rig.query("SELECT max(id) FROM run WHERE source = 'sample'")
            _assert_fresh(rig, run_id, hits, sentence)
        return seconds


def _change(rng: random.Random) -> tuple[str, bytes, str]:
    """A name, a body and the sentence to find; drawn anew, so that no cache can know it."""
    fmt = rng.choice(sorted(FORMATS))
    number = rng.randint(100, 99_999)
    sentence = f"The {rng.choice(NOUNS)} keeper {rng.choice(VERBS)} the {rng.choice(NOUNS)} number {number} every spring."
    body = FORMATS[fmt].format(title=f"Notice {number}", sentence=sentence)
    return f"notices/{number}.{fmt}", body.encode(), sentence


def _assert_fresh(rig: Any, run_id: int, hits: list[dict[str, Any]], sentence: str) -> None:
    if not any(sentence.split(" every")[0] in " ".join(hit["passage"].split()) for hit in hits):
        raise RuntimeError(f"search does not find {sentence!r}")
    passed = {suite for (suite,) in rig.query(f"SELECT suite FROM validation WHERE run_id = {int(run_id)} AND success")}
    if passed != {"documents", "chunks", "vectors"}:
        raise RuntimeError(f"run {run_id} stored passed results of {sorted(passed)} only")

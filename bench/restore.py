"""The restore drill: the database's disk is lost in the middle of syncs; base backup and archived WAL bring it back.

A child process syncs a changing corpus; a base backup is taken meanwhile; child and server are killed and the data folder is
removed. What comes back is compared with what was committed (how many seconds are missing), swept once, and compared with a
corpus that never failed: fingerprint, findings, and texts embedded beyond those that were lost. Then the metadata database
of a real Airflow is removed: the next sync must find everything unchanged and embed nothing. One case is the other disaster:
the corpus is damaged, the disk is not, and nothing may be missing.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.airflow_rig import AirflowRig
from bench.faults.lab import CORPUS, ROOT, Lab
from bench.harness import Limit, Options, Result
from pipelines.embedded import backup, stack
from pipelines.embedded.postgres import Postgres
from pipelines.sources.memory import Memory

WORDS = (ROOT / "include/sample/README.md").read_text(encoding="utf-8").split()
DOCUMENTS = 120
CHANGES = 3  # documents per sync of the child
LIMITS = {"shard_documents": 40, "publish_batch_documents": 8, "embed_batch_texts": 16}


def run(options: Options) -> Result:
    """Measure; `--quick` writes for 8 s instead of 100, so WAL archiving by time is not judged, and leaves Airflow out."""
    figures: dict[str, Any] = {"seed": options.seed, "documents": DOCUMENTS}
    with Lab(durable=True, limits=LIMITS) as lab:
        figures |= _lost_disk(lab, options.seed, 8 if options.quick else 100)
        figures |= _damaged_corpus(lab, options.seed)
    if not options.quick:
        figures |= _lost_airflow()
    return Result(
        "restore",
        figures,
        floors=(
            Limit("seconds_lost", at_most=300),
            Limit("restore_seconds", at_most=1800),
            Limit("different_fingerprints", at_most=0),
            Limit("findings", at_most=0),
            Limit("embedded_beyond_lost", at_most=0),
            Limit("seconds_lost_on_a_healthy_disk", at_most=0),
            Limit("embedded_after_losing_airflow", at_most=0),
            Limit("not_unchanged_after_losing_airflow", at_most=0),
        ),
        goals=(Limit("seconds_lost", at_most=90), Limit("restore_seconds", at_most=60)),
        left_out=("seconds_lost", "embedded_after_losing_airflow", "not_unchanged_after_losing_airflow")
        if options.quick
        else (),
        notes=("seconds_lost: from the last commit before the disk was lost to the last transaction that came back",),
    )


def corpus(seed: int, step: int) -> dict[str, bytes]:
    """The source after `step` changes: a function of the seed alone."""
    rng = random.Random(seed)
    objects = {f"{index:04d}.md": _text(rng) for index in range(DOCUMENTS)}
    for number in range(step):
        for _ in range(CHANGES):
            objects[f"{rng.randrange(DOCUMENTS + number):04d}.md"] = _text(rng)
    return objects


def _text(rng: random.Random) -> bytes:
    return f"# {' '.join(rng.choices(WORDS, k=4))}\n\n{' '.join(rng.choices(WORDS, k=rng.randrange(20, 200)))}\n".encode()


def _lost_disk(lab: Lab, seed: int, seconds: int) -> dict[str, Any]:
    folder, told = lab.folder / "backups", lab.folder / "steps"
    lab.sync(Memory(corpus(seed, 0)))
    child = _start(lambda: _keep_syncing(lab, seed, told))
    try:
        time.sleep(random.Random(seed).uniform(1, 3))
        taken = backup.backup(lab.postgres, folder)
        _wait(seconds)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    [(committed,)] = lab.query("SELECT greatest(max(finished_at), max(started_at)) FROM run")
    cached = _cached(lab)
    lab.postgres.stop("immediate")
    shutil.rmtree(lab.postgres.data)
    restored = backup.restore(lab.postgres, CORPUS, folder)
    kept = _cached(lab)
    [(back,)] = lab.query("SELECT greatest(max(finished_at), max(started_at)) FROM run")
    step = int(told.read_text())
    swept = lab.sync(Memory(corpus(seed, step)))
    needed = {sha for (sha,) in lab.query("SELECT text_sha FROM text")} - kept
    figures = {
        "syncs_before_the_loss": step,
        "backup_seconds": taken.seconds,
        "backup_mb": round(taken.bytes / 1e6, 1),
        "seconds_lost": round((committed - back).total_seconds(), 1),
        "vectors_lost": len(cached - kept),
        "restore_seconds": restored.seconds,
        "embedded_by_the_sweep": swept.stats["embedded"],
        "embedded_beyond_lost": swept.stats["embedded"] - len(needed),
    }
    return figures | _compare(lab, seed, step)


def _cached(lab: Lab) -> set[bytes]:
    return {sha for (sha,) in lab.query("SELECT text_sha FROM embedding_cache")}


def _damaged_corpus(lab: Lab, seed: int) -> dict[str, Any]:
    """Somebody empties the tables; the disk is well, so everything up to the last commit must come back."""
    folder = lab.folder / "backups-2"
    lab.reset()
    source = Memory(corpus(seed, 0))
    lab.sync(source)
    backup.backup(lab.postgres, folder)
    source.objects = corpus(seed, 5)
    lab.sync(source)
    wanted = lab.fingerprint()
    [(moment,)] = lab.query("SELECT clock_timestamp()")
    time.sleep(0.1)
    lab.query("TRUNCATE chunk, document, text CASCADE")
    backup.restore(lab.postgres, CORPUS, folder, moment)
    [(back,)] = lab.query("SELECT max(finished_at) FROM run")
    return {"seconds_lost_on_a_healthy_disk": 0.0 if lab.fingerprint() == wanted else (moment - back).total_seconds() + 1}


def _compare(lab: Lab, seed: int, step: int) -> dict[str, Any]:
    swept, findings = lab.fingerprint(), len(lab.findings())
    lab.reset()
    lab.sync(Memory(corpus(seed, step)))
    return {"different_fingerprints": int(lab.fingerprint() != swept), "findings": findings}


def _lost_airflow() -> dict[str, Any]:
    """Airflow's metadata database is removed; the truth is in the corpus database."""
    with AirflowRig() as rig:
        rig.sync("sync_sample")
        stack.down(rig.settings, lambda _: None)
        metadata: Postgres = rig.stack.airflow.metadata
        metadata.discard()
        rig.stack = stack.up(rig.settings, lambda _: None)
        rig.client = rig.stack.airflow.client()
        rig.sync("sync_sample")
        [(counts, stats, listed)] = rig.query("SELECT counts, stats, listed FROM run ORDER BY id DESC LIMIT 1")
    passive = sum(counts[state] for state in ("unchanged", "quarantined", "excluded"))
    return {
        "objects_after_losing_airflow": listed,
        "embedded_after_losing_airflow": stats["embedded"],
        "not_unchanged_after_losing_airflow": listed - passive,
    }


def _keep_syncing(lab: Lab, seed: int, told: Path) -> None:
    step = 0
    while True:
        step += 1
        source = Memory(corpus(seed, step))
        told.write_text(str(step))
        lab.sync(source)


def _start(work: Callable[[], None]) -> int:
    """Fork; the child works until it is killed."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    return pid


def _wait(seconds: int) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        print(f"restore: the disk is lost in {left:.0f} s", file=sys.stderr)
        time.sleep(min(left, 10))

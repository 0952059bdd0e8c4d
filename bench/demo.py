"""`make demo` as a newcomer meets it: from a clean clone to the cited answer, and again.

Cold: a clone of this commit, `make setup` with whatever the package index must deliver, then `make demo` with nothing made
before. Installed: that second part alone. The second `make demo` must find everything unchanged and compute no embedding.
`--quick` runs the command of this environment with an empty home instead of cloning.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from bench.harness import Limit, Options, Result
from bench.rig import ROOT
from pipelines import config
from pipelines.embedded import stack

FLOORS = (
    Limit("cold_seconds", at_most=360),
    Limit("installed_seconds", at_most=75),
    Limit("second_run_embeddings", at_most=0),
    Limit("second_run_changed", at_most=0),
    Limit("answers_cited", at_least=2),
)


def run(options: Options) -> Result:
    """Measure; stops everything it started."""
    folder = Path(tempfile.mkdtemp(prefix="millrace-demo-"))
    folder.chmod(0o711)
    try:
        return _quick(folder) if options.quick else _full(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _full(folder: Path) -> Result:
    clone = folder / "millrace"
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("MILLRACE", "AIRFLOW", "VIRTUAL_ENV"))
    }
    began = time.monotonic()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    _command(["make", "setup"], clone, environment)
    installed = time.monotonic()
    try:
        first = _command(["make", "demo"], clone, environment)
        answered = time.monotonic()
        second = _command(["make", "demo"], clone, environment)
        figures = {
            "cold_seconds": round(answered - began, 1),
            "setup_seconds": round(installed - began, 1),
            "installed_seconds": round(answered - installed, 1),
            "second_seconds": round(time.monotonic() - answered, 1),
            **_second_run(clone, clone / ".millrace"),
            "answers_cited": _cited(first) + _cited(second),
        }
    finally:
        _command(["make", "down"], clone, environment)
    return Result("demo", figures, floors=FLOORS)


def _quick(home: Path) -> Result:
    """Times are reported but not judged: the environment's caches may be warm or cold."""
    environment = {**os.environ, "MILLRACE_PROJECT": str(ROOT), "MILLRACE_HOME": str(home)}
    began = time.monotonic()
    try:
        first = _command([sys.executable, "-m", "pipelines.cli", "demo"], ROOT, environment)
        figures = {"installed_seconds": round(time.monotonic() - began, 1), "answers_cited": _cited(first)}
    finally:
        _command([sys.executable, "-m", "pipelines.cli", "down"], ROOT, environment)
    floors = (Limit("installed_seconds", at_most=75), Limit("answers_cited", at_least=1))
    left_out = ("cold_seconds", "second_run_embeddings", "second_run_changed")
    return Result(
        "demo", figures, floors=(*floors, *(limit for limit in FLOORS if limit.figure in left_out)), left_out=left_out
    )


def _second_run(root: Path, home: Path) -> dict[str, Any]:
    """What the corpus database says of the newest run of the sample."""
    services = stack.stack(config.load(root).model_copy(update={"home": home}))
    with psycopg.connect(services.dsn, options="-c search_path=millrace,public") as conn:
        row = conn.execute("SELECT counts, stats FROM run WHERE source = 'sample' ORDER BY id DESC LIMIT 1").fetchone()
    counts, stats = row if row else ({}, {})
    return {
        "second_run_embeddings": stats.get("embedded"),
        "second_run_changed": counts.get("loaded", 0) + counts.get("deleted", 0) if counts else None,
        "second_run_unchanged": counts.get("unchanged"),
    }


def _cited(output: str) -> int:
    """Whether the demo printed an answer with at least one citation."""
    return int("[1] s3://" in output)


def _command(arguments: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} exited {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout

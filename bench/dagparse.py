"""What each DAG file costs to parse beyond `import airflow.sdk`, and which heavy modules it drags in (none)."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.harness import Limit, Options, Result

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "great_expectations", "unstructured", "pandas", "boto3")
PROBE = """
import json, runpy, sys, time
began = time.perf_counter()
import airflow.sdk
base = time.perf_counter() - began
before = set(sys.modules)
began = time.perf_counter()
runpy.run_path(sys.argv[1], run_name="dag_file")
print(json.dumps({"seconds": time.perf_counter() - began, "base": base, "loaded": sorted(set(sys.modules) - before)}))
"""


def run(options: Options) -> Result:
    """Parse every DAG file in fresh processes; the median counts."""
    rounds = 3 if options.quick else 7
    files = sorted((ROOT / "dags").glob("*.py"))
    rows: list[tuple[str, ...]] = [("file", "seconds over airflow.sdk", "import airflow.sdk", "heavy modules")]
    worst = 0.0
    heavy: set[str] = set()
    for path in files:
        probes = [_probe(path) for _ in range(rounds)]
        seconds = statistics.median(probe["seconds"] for probe in probes)
        base = statistics.median(probe["base"] for probe in probes)
        loaded = {name for name in HEAVY if any(module.split(".")[0] == name for module in probes[0]["loaded"])}
        rows.append((path.name, f"{seconds:.3f}", f"{base:.2f}", ", ".join(sorted(loaded)) or "none"))
        worst = max(worst, seconds)
        heavy |= loaded
    return Result(
        "dagparse",
        {"dag_files": len(files), "slowest_seconds": round(worst, 3), "heavy_modules": len(heavy)},
        floors=(
            Limit("dag_files", at_least=1),
            Limit("slowest_seconds", at_most=0.5),
            Limit("heavy_modules", at_most=0),
        ),
        rows=rows,
    )


def _probe(path: Path) -> dict[str, Any]:
    """One parse in a fresh process, as the dag-processor sees the file."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'plugins'}:{ROOT}", "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROBE, str(path)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return value

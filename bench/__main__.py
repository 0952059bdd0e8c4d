"""`python -m bench NAME [--quick] [--seed N]`: a table, then one JSON line; exit 1 when a floor is missed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from bench.harness import parse, summary

INFRASTRUCTURE = {"__init__", "__main__", "airflow_rig", "counting", "harness", "rig"}


def main() -> int:
    """Run one bench."""
    names = [path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in INFRASTRUCTURE]
    name, options = parse(names)
    result = importlib.import_module(f"bench.{name}").run(options)
    print(summary(result))
    print(result.as_json())
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())

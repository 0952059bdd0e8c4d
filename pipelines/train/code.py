"""The hash of the code that training depends on, which a model version remembers."""

from __future__ import annotations

from pathlib import Path

from pipelines.records import sha256

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("train", "evaluate")
FILES = ("embed/adapter.py", "records.py")


def digest() -> str:
    """Hex sha256 over names and contents of the sources, in the order of their names."""
    paths = [path for room in ROOMS for path in (ROOT / room).glob("*.py")] + [ROOT / name for name in FILES]
    names = sorted(path.relative_to(ROOT).as_posix() for path in paths)
    return sha256("code", *(part for name in names for part in (name.encode(), (ROOT / name).read_bytes()))).hex()

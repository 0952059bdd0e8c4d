"""The bench `e2e` judges the best framework, the slow peer and its own losses; an absent peer misses the floor."""

from __future__ import annotations

from pathlib import Path

from bench import e2e
from bench.faults.lab import SOURCE
from bench.flow.counted import Cost
from bench.flow.engines import Loaded
from bench.harness import Options, Result
from pipelines.records import Accounting

FILES = [Path(f"{number}.md") for number in range(40)]
RATES = {"millrace_f32": 9.0, "millrace_bf16": 12.0, "langchain": 2.0, "llamaindex": 3.0, "haystack": 1.0}


def loaded(documents: int, rate: float) -> Loaded:
    return Loaded(documents, 2 * documents, 200 * documents, True, documents / rate, 1.0)


def cost(changed: int, embedded: int, read: int) -> Cost:
    accounting = Accounting(1, SOURCE, "succeeded", 40, {}, {}, {})
    return Cost(1.0, changed, embedded, embedded, read, read, accounting)


def result(costs: dict[float, Cost], absent: str = "") -> Result:
    timed = {name: [loaded(40, rate)] for name, rate in RATES.items() if name != absent}
    timed["unstructured"] = [loaded(30, 0.5)]
    return e2e._result(Options(quick=False, seed=1), FILES, 1000, timed, costs)


def test_the_ratios_are_against_the_best_framework_and_the_slow_peer() -> None:
    found = result({0.0: cost(0, 0, 0), 1.0: cost(5, 5, 10)})
    assert found.figures["best_framework"] == "llamaindex"
    assert found.figures["f32_vs_best_framework"] == 3.0
    assert found.figures["bf16_vs_best_framework"] == 4.0
    assert found.figures["f32_vs_unstructured"] == 18.0
    assert found.figures["lost_documents"] == found.figures["peers_lost_documents"] == 0
    assert found.ok


def test_an_embedding_too_many_misses_the_floor() -> None:
    found = result({0.0: cost(0, 0, 0), 1.0: cost(5, 6, 10)})
    assert found.figures["embeddings_off"] == 1
    assert not found.ok


def test_an_absent_framework_misses_the_floor() -> None:
    assert not result({0.0: cost(0, 0, 0)}, absent="haystack").ok

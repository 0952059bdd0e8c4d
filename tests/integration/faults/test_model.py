"""A short run of the state machine; that a divergence is noticed and made small; that the suites in process can fail."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from bench.faults.lab import ROOT
from bench.faults.living import World, burst
from bench.faults.machine import Bench, Sequence, smallest
from bench.faults.suites import Quick, evaluate
from bench.faults.twin import Twin, furnish, open_lab, quickened

pytestmark = pytest.mark.integration
SUITES = ROOT / "include/expectations"


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """Sequences of 80 events. The suites' verdicts are not compared: that would wait for great-expectations."""
    with open_lab() as lab, quickened() as parsers:
        furnish(lab)
        never = {"passing": 10**9, "failing": 10**9}
        yield Bench(lambda: Twin(lab, Quick(SUITES, lab.validator, never), parsers), 80)


def test_product_and_model_agree(bench: Bench) -> None:
    machine = type("Machine", (Sequence,), {"bench": bench})
    config = settings(
        max_examples=5,
        stateful_step_count=8,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=config)
    assert bench.counts["sequences"] >= 2
    assert bench.counts["events"] >= 2 * bench.events


def test_a_divergence_is_noticed_and_made_small(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The product is made to forget that it saw the same bytes under a new version."""
    monkeypatch.setattr("pipelines.stages.prepare.ledger.refresh", lambda *args, **names: None)
    steps, found = smallest(bench, [("quiet", {"drawn": (25, number)}) for number in (4, 4, 4)], 1.5)
    assert "model ('loaded', None, 0, 'v" in found
    assert sum(given["drawn"][0] for _, given in steps) < 75


def test_a_shorter_burst_begins_the_longer_one() -> None:
    assert burst(200, 7, 0)[:50] == burst(50, 7, 0)
    first, second = World(), World()
    for world in (first, second):
        world.apply(burst(200, 7, 0))
    assert first.listing() == second.listing()


def test_the_suites_in_process_fail_what_the_files_forbid() -> None:
    suite = json.loads((SUITES / "documents.json").read_text())
    good = {
        "doc_id": "a" * 64,
        "uri": "memory://a",
        "title": "",
        "lang": "en",
        "chars": 1,
        "warnings": 0,
        "media_type": "a/b",
    }
    bad = {**good, "doc_id": "b" * 64, "title": "x" * 1001}
    assert evaluate(suite, [good], {}).success
    assert list(evaluate(suite, [good, bad], {}).failed_documents) == [bad["doc_id"]]
    assert not evaluate(suite, [], {}).success
    assert not evaluate(suite, [good, good], {}).success

"""What computing a vector once has saved a run."""

from __future__ import annotations

from pipelines.stages.savings import savings


def test_the_runs_own_rate_counts_first():
    stats = {"reused": 30, "embedded": 10, "embed_milliseconds": 500}
    assert savings(stats, [{"embedded": 1, "embed_milliseconds": 9000}]) == {"reuse_rate": 0.75, "saved_seconds": 1.5}


def test_a_run_that_computed_nothing_takes_the_last_known_rate():
    past = [{}, {"embedded": 0, "embed_milliseconds": 3}, {"embedded": 4, "embed_milliseconds": 80}, {"embedded": 1}]
    assert savings({"reused": 50}, past) == {"reuse_rate": 1.0, "saved_seconds": 1.0}
    assert savings({"reused": 50}, []) == {"reuse_rate": 1.0}


def test_a_run_without_texts_has_neither():
    assert savings({"reused": 0, "embedded": 0}, []) == {}

"""What is tested of two windows, and what is said of the rest: small sources, samples, lost vectors, odd input."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pipelines.drift.verdict import State
from pipelines.errors import FailRun, FixConfiguration
from pipelines.stages import drift, drift_tests
from pipelines.store.drift import Lost, Row, Sample
from tests.unit.text.tokenizers_for_tests import Words

DAY = datetime(2026, 11, 20, tzinfo=UTC)


def sample(documents: int, seed: int, *, source: str = "docs", shift: float = 0.0, gone: int = 0) -> Sample:
    """Two passages a document around a common point; `shift` moves it."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(2 * documents):
        document = f"{source}{seed}/{number // 2}"
        rows.append(Row(document.encode(), source, document, "", "en", 40 + number % 7, DAY, f"text {number}"))
    vectors = rng.normal(size=(len(rows), 8)) + np.eye(8)[0] * (3 + shift)
    lost = [Lost(rows[0], b"", "")] * gone
    return Sample(rows, vectors.astype(np.float32), documents, 2 * documents + gone, lost)


def joined(*samples: Sample) -> Sample:
    rows = [row for one in samples for row in one.rows]
    return Sample(rows, np.concatenate([one.vectors for one in samples]), sum(one.documents for one in samples), len(rows))


def run(before: Sample, now: Sample, unit: drift_tests.Unit = "document") -> drift_tests.Tested:
    return drift_tests.run(before, now, unit, 10, Words())


def test_sources_large_enough_are_tested_alone_and_the_others_are_named() -> None:
    before = joined(sample(10, 1), sample(10, 2, source="mail"), sample(3, 3, source="few"))
    now = joined(sample(9, 4), sample(9, 5, source="mail", shift=9), sample(2, 6, source="few"))
    tested = run(before, now)
    assert {"passages", "source docs", "source mail", "length", "tokens_per_character"} <= set(tested.outcomes)
    assert "source few" not in tested.outcomes
    assert tested.notes == ("source few has fewer than 8 documents to compare: tested with the others only",)
    assert (tested.outcomes["source mail"].p or 1) < 0.01 < (tested.outcomes["source docs"].p or 0)
    found = drift_tests.explained(before, now, "document", tested.outcomes["passages"])
    assert found["sources"][0][0] == "mail"
    assert sum(share for _, share in found["sources"]) == pytest.approx(1, abs=1e-3)
    assert found["examples"][0]["source"] == "mail"
    told = drift_tests.confirmed(before, now, "document", "mail", 0.01, 999)
    assert told.startswith("Without source mail the passages do not differ (p ")
    alone = drift_tests.confirmed(sample(9, 1), sample(9, 2), "document", "docs", 0.01, 999)
    assert alone == "All of it comes from source docs."


def test_unknown_tokens_are_told() -> None:
    now = sample(10, 2)
    broken = [row._replace(text=row.text.replace("text", "\ufffd\ufffd")) for row in now.rows]
    tested = run(sample(10, 1), Sample(broken, now.vectors, 10, 20))
    assert (tested.outcomes["unknown_share"].p or 1) < 0.01
    assert "unknown_share" not in run(sample(10, 1), now).outcomes  # never any


def test_a_whole_source_is_one_unit_where_sources_come_together() -> None:
    tested = run(sample(10, 1), sample(10, 2, shift=9), "source")
    assert tested.outcomes["passages"].p is None
    assert tested.outcomes["passages"].units == (1, 1)


def test_nothing_new_is_no_outcome_and_lost_vectors_cannot_be_told() -> None:
    empty = Sample([], np.zeros((0, 8), dtype=np.float32), 0, 0)
    assert run(sample(10, 1), empty).outcomes == {}
    (outcome,) = run(sample(10, 1, gone=30), sample(10, 2)).outcomes.values()
    assert outcome.p is None
    assert "30 of 50 passages of the reference have no vector any more" in outcome.reason
    assert run(sample(10, 1, gone=1), sample(10, 2)).notes == (
        "reference: 1 drawn passages have no vector any more and were not compared",
    )


@pytest.mark.parametrize("fault", ["one document", "copies", "not a number"])
def test_odd_windows_cannot_be_told(fault: str) -> None:
    now = sample(20, 2)
    vectors = now.vectors.copy()
    rows: Sequence[Row] = now.rows
    if fault == "one document":
        rows = [row._replace(doc_id=b"giant") for row in now.rows]
    elif fault == "copies":
        vectors[:] = vectors[0]
    else:
        vectors[3, 1] = np.nan
    outcome = run(sample(20, 1), Sample(rows, vectors, 20, 40)).outcomes["passages"]
    assert outcome.p is None
    assert outcome.reason


def test_days_are_whole_and_in_order() -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert drift.days(None, None) == [yesterday]
    assert drift.days(yesterday - timedelta(days=2), None) == [yesterday - timedelta(days=back) for back in (2, 1, 0)]
    assert drift.days(None, DAY.date()) == [DAY.date()]
    with pytest.raises(FixConfiguration, match="has not ended"):
        drift.days(None, yesterday + timedelta(days=1))
    with pytest.raises(FixConfiguration, match="turn them round"):
        drift.days(yesterday, yesterday - timedelta(days=1))
    with pytest.raises(FixConfiguration, match="at most 3660"):
        drift.days(yesterday - timedelta(days=5000), yesterday)


def test_what_cannot_be_told_is_no_success() -> None:
    report = drift.Report("knowledge", "mail", DAY, DAY + timedelta(days=1), State.CANNOT_TELL, "Cannot tell: few.")
    with pytest.raises(FailRun, match=r"knowledge, source mail, 2026-11-20: Cannot tell: few\."):
        drift.require_all([report])
    drift.require_all([report, drift.Report("knowledge", "", DAY, DAY, State.NO_DRIFT, "")])

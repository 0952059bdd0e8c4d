"""Quarantine: explained, counted, replayable, and what was served before stays served."""

from __future__ import annotations

import pytest

from pipelines.records import Reason
from pipelines.store import audit, deletions, quarantine
from pipelines.store.quarantine import Quarantined
from tests.integration.store.corpus import SOURCE, Corpus, doc

pytestmark = pytest.mark.integration


def test_the_last_good_version_stays_served(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["good"]})
    corpus.reject("mem://a", Reason.MALFORMED, version="v2")
    assert corpus.state("mem://a") == ("quarantined", "malformed", 1)
    assert corpus.served("mem://a") == ["good"]
    assert corpus.rows("SELECT source_version, loaded_version, chunk_count FROM document") == [("v2", "v1", 1)]
    assert audit.audit(corpus.pool) == []


def test_a_later_load_resolves_the_entries(corpus: Corpus) -> None:
    corpus.reject("mem://a", Reason.PARSE_TIMEOUT)
    corpus.reject("mem://a", Reason.PARSE_TIMEOUT)
    assert len(quarantine.open_items(corpus.pool)) == 1
    corpus.load({"mem://a": ["repaired"]})
    assert corpus.state("mem://a") == ("loaded", None, 0)
    assert quarantine.open_items(corpus.pool) == []
    assert corpus.rows("SELECT count(*), count(resolved_at) FROM quarantine") == [(2, 2)]


@pytest.mark.parametrize(
    ("reasons", "attempts"),
    [
        ([Reason.MALFORMED, Reason.MALFORMED, Reason.PARSE_OOM], 3),
        ([Reason.MALFORMED, Reason.DEPENDENCY_DOWN, Reason.SOURCE_CHANGED], 1),
        ([Reason.DEPENDENCY_DOWN], 0),
    ],
)
def test_only_the_documents_own_failures_count(corpus: Corpus, reasons: list[Reason], attempts: int) -> None:
    for reason in reasons:
        corpus.reject("mem://a", reason)
    assert corpus.state("mem://a") == ("quarantined", reasons[-1].value, attempts)


def test_a_stage_that_one_run_repeats_charges_once(corpus: Corpus) -> None:
    run_id = corpus.reject("mem://a", Reason.DEPENDENCY_DOWN)
    for _ in range(3):
        corpus.reject("mem://a", Reason.MALFORMED, run_id=run_id)
    assert corpus.state("mem://a") == ("quarantined", "malformed", 1)
    assert corpus.rows("SELECT reason, attempt FROM quarantine ORDER BY id") == [("dependency_down", 0), ("malformed", 1)]
    corpus.reject("mem://a", Reason.MALFORMED)
    assert corpus.state("mem://a")[2] == 2


def test_attempts_start_anew_with_a_new_version(corpus: Corpus) -> None:
    for version in ["v1", "v1", "v2"]:
        corpus.reject("mem://a", Reason.MALFORMED, version=version)
    assert corpus.state("mem://a")[2] == 1


def test_an_older_attempt_cannot_quarantine_and_a_repeated_one_adds_nothing(corpus: Corpus) -> None:
    stale, fresh = corpus.fence(), corpus.fence()
    items = [Quarantined(doc("mem://a"), "mem://a", "v1", "p", "prepare", Reason.MALFORMED)]

    def record(fence: int) -> quarantine.Recorded:
        return quarantine.record(
            corpus.pool, run_id=corpus.run.id, fence=fence, collection="knowledge", source=SOURCE, items=items
        )

    assert record(fresh).quarantined == {doc("mem://a")}
    assert record(fresh).quarantined == {doc("mem://a")}
    assert record(stale).superseded == {doc("mem://a")}
    assert corpus.rows("SELECT count(*), max(attempt) FROM quarantine") == [(1, 1)]


def test_hostile_details_are_recordable(corpus: Corpus) -> None:
    corpus.reject("mem://a", Reason.ENCODING_LOSS, detail="nul \x00 and \ud800 in it")
    assert quarantine.open_items(corpus.pool)[0].detail == "nul \ufffd and \ufffd in it"


def test_two_entries_for_one_document_are_one(corpus: Corpus) -> None:
    items = [
        Quarantined(doc("mem://a"), "mem://a", "v1", "p", "prepare", reason)
        for reason in (Reason.TOO_DEEP, Reason.MALFORMED)
    ]
    quarantine.record(
        corpus.pool, run_id=corpus.run.id, fence=corpus.fence(), collection="knowledge", source=SOURCE, items=items
    )
    assert corpus.state("mem://a") == ("quarantined", "too_deep", 1)
    assert len(corpus.rows("SELECT id FROM quarantine")) == 1


def test_an_attachment_may_be_quarantined_before_its_container_is_known(corpus: Corpus) -> None:
    item = Quarantined(
        doc("mem://m", "bad.pdf"),
        "mem://m",
        "v1",
        "pipeline-1",
        "prepare",
        Reason.PDF_MALFORMED,
        member="bad.pdf",
        parent_doc_id=doc("mem://m"),
    )
    recorded = quarantine.record(
        corpus.pool, run_id=corpus.run.id, fence=corpus.fence(), collection="knowledge", source=SOURCE, items=[item]
    )
    assert recorded.quarantined == {doc("mem://m", "bad.pdf")}
    quarantine.request_replay(corpus.pool, source=SOURCE)
    assert quarantine.replayable(corpus.pool, SOURCE) == {doc("mem://m")}


def test_replay_is_asked_for_by_id_reason_or_source_and_spent_by_the_next_try(corpus: Corpus) -> None:
    for name, reason in [("a", Reason.MALFORMED), ("b", Reason.NEEDS_OCR), ("c", Reason.NEEDS_OCR)]:
        corpus.reject(f"mem://{name}", reason)
    first = quarantine.open_items(corpus.pool, reason="malformed")
    assert quarantine.request_replay(corpus.pool, ids=[first[0].id]) == 1
    assert quarantine.replayable(corpus.pool, SOURCE) == {doc("mem://a")}
    assert quarantine.request_replay(corpus.pool, ids=[first[0].id], reason="needs_ocr") == 0
    assert quarantine.request_replay(corpus.pool, reason="needs_ocr") == 2
    assert quarantine.request_replay(corpus.pool, source="other") == 0
    corpus.reject("mem://b", Reason.NEEDS_OCR)
    assert quarantine.replayable(corpus.pool, SOURCE) == {doc("mem://a"), doc("mem://c")}


def test_a_deletion_resolves_the_entries(corpus: Corpus) -> None:
    corpus.reject("mem://a", Reason.MALFORMED)
    deletions.delete(corpus.pool, run_id=corpus.run.id, fence=corpus.fence(), doc_ids=[doc("mem://a")])
    assert quarantine.open_items(corpus.pool) == []
    assert audit.audit(corpus.pool) == []

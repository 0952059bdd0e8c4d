"""Every damage that the audit knows: found by its name, repaired by the next sync, and the corpus is what it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.faults.lab import SOURCE, Lab
from bench.faults.lies import ATTACHED, ATTACHMENT, CORPUS, LIES, LOADED, QUARANTINED, Lie, plant
from bench.green_lie import ATTACHMENT_NAME, corpus
from pipelines.records import document_id
from pipelines.sources.memory import Memory
from pipelines.stages import audit

pytestmark = pytest.mark.integration

OF_A_DOCUMENT = [lie for lie in LIES if lie.victim != CORPUS]
OF_THE_CORPUS = [lie for lie in LIES if lie.victim == CORPUS]
OBJECTS = corpus(loaded=1 + sum(lie.victim == LOADED for lie in LIES), mails=4, broken=4)


@pytest.fixture(scope="module")
def kept() -> Iterator[Lab]:
    with Lab() as lab:
        lab.sync(Memory(OBJECTS))
        lab.keep("healthy")
        yield lab


@pytest.fixture
def lab(kept: Lab) -> Lab:
    kept.reset("healthy")
    return kept


def victims() -> Iterator[tuple[Lie, bytes, str]]:
    """Each lie about a document with a document of its own and its address."""
    source = Memory()
    names = {
        LOADED: iter(sorted(name for name in OBJECTS if name.endswith(".md"))[1:]),
        QUARANTINED: iter(sorted(name for name in OBJECTS if name.endswith(".json"))),
        ATTACHED: iter(sorted(name for name in OBJECTS if name.endswith(".eml"))),
    }
    for lie in OF_A_DOCUMENT:
        name = next(names[ATTACHED if lie.victim == ATTACHMENT else lie.victim])
        member = ATTACHMENT_NAME if lie.victim == ATTACHMENT else ""
        yield lie, document_id(SOURCE, source.uri(name), member), source.uri(name)


def test_damages_of_many_documents_at_once_are_repaired_by_one_sync(lab: Lab) -> None:
    before, spared = lab.fingerprint(), document_id(SOURCE, Memory().uri("0000.md"))
    for lie, doc_id, _ in victims():
        plant(lab, lie, doc_id, spared)
    found = lab.findings()
    expected = {lie.check for lie in OF_A_DOCUMENT}
    assert expected - {finding.check for finding in found} == {"documents_missing"} & expected
    named = {name for finding in found for name in (finding.doc_id, finding.uri)}
    assert not [lie.name for lie, doc_id, uri in victims() if lie.names_document and not {doc_id.hex(), uri} & named]
    assert lab.sync(Memory(OBJECTS)).state == "succeeded"
    assert not lab.findings()
    assert lab.fingerprint() == before


@pytest.mark.parametrize("lie", OF_THE_CORPUS, ids=lambda lie: lie.name)
def test_a_damage_of_the_corpus_is_repaired_by_the_next_sync(lab: Lab, lie: Lie) -> None:
    before = lab.fingerprint()
    plant(lab, lie, b"", b"")
    assert lie.check in {finding.check for finding in lab.findings()}
    assert lab.sync(Memory(OBJECTS)).state == "succeeded"
    assert not lab.findings()
    assert lab.fingerprint() == before


def test_what_cannot_be_rebuilt_is_served_no_longer(lab: Lab) -> None:
    doc_id = document_id(SOURCE, Memory().uri("0001.md"))
    changed = Memory({**OBJECTS, "0001.md": b"\xff\xfe\x00"})
    lab.sync(changed)
    lab.query("DELETE FROM chunk WHERE doc_id = %s AND ordinal = 1", doc_id)
    changed.reads.clear()
    lab.sync(changed)
    assert not lab.findings()
    kept = lab.query("SELECT state, chunk_count, attempts FROM document WHERE doc_id = %s", doc_id)
    assert kept == [("quarantined", 0, 1)]
    assert "0001.md" not in changed.reads
    assert lab.query("SELECT count(*) > 0 FROM chunk_past WHERE doc_id = %s", doc_id) == [(True,)]


def test_a_document_with_other_bytes_at_the_same_version_is_read_again(lab: Lab) -> None:
    source, before = Memory(OBJECTS), lab.fingerprint()
    lab.query("UPDATE document SET content_sha = sha256('x') WHERE uri LIKE '%%/0002.md'")
    with lab.context(source) as ctx:
        found = audit.run(ctx, SOURCE, sample=len(OBJECTS), seed=1)
    assert [(finding.check, finding.uri) for finding in found] == [("content_differs", source.uri("0002.md"))]
    source.reads.clear()
    assert lab.sync(source).counts["loaded"] == 1
    assert source.reads[0] == "0002.md"
    with lab.context(source) as ctx:
        assert audit.run(ctx, SOURCE, sample=len(OBJECTS), seed=1) == []
    assert lab.fingerprint() == before


def test_a_sample_says_nothing_of_newer_versions_and_missing_objects(lab: Lab) -> None:
    source = Memory({**OBJECTS, "0001.md": b"newer"})
    del source.objects["0002.md"]
    with lab.context(source) as ctx:
        assert audit.sampled(ctx, SOURCE, len(OBJECTS), 1) == []

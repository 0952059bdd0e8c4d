"""A space that reads another one's vectors: nothing is written for it, and the table lives as long as anybody reads it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pipelines.store import audit, fill, maintenance, registry, repair, space_index, space_states, spaces
from pipelines.store.database import connection
from pipelines.store.space_states import Fingerprints
from tests.integration.store.corpus import SOURCE, Corpus, Identity

pytestmark = pytest.mark.integration
SAME = Fingerprints("pipeline-1", "pipeline-1")


@dataclass(frozen=True)
class Adapted(Identity):
    """As the corpus's embedder for passages; another model for questions."""

    model: str = "questions"
    revision: str = "1 adapted"


def begin(corpus: Corpus, identity: Identity | None = None) -> spaces.Space:
    identity = identity or Adapted()
    return spaces.begin(corpus.pool, identity, collection="knowledge", chunk_set=corpus.space.chunk_set, storage="halfvec")


def shadow(corpus: Corpus, identity: Identity | None = None) -> spaces.Space:
    space = begin(corpus, identity)
    space_states.verified(corpus.pool, space, {}, passed=True)
    return spaces.get(corpus.pool, space.id)


def mend(corpus: Corpus) -> None:
    repair.prepare_repair(corpus.pool, audit.audit(corpus.pool), source=SOURCE, run_id=corpus.run.id)
    assert audit.audit(corpus.pool) == []


def tables(corpus: Corpus) -> list[str]:
    return [
        name
        for (name,) in corpus.rows(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^space_[0-9]+$' ORDER BY 1"
        )
    ]


def test_it_is_complete_from_the_start_and_begins_once(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a0", "a1"]})
    space_index.ensure_index(corpus.pool, corpus.space)
    space = begin(corpus)
    assert (space.holder, space.state, tables(corpus)) == (corpus.space.id, "building", [f"space_{corpus.space.id}"])
    assert not fill.missing(corpus.pool, space)
    assert begin(corpus) == space
    assert not space_index.ensure_index(corpus.pool, space)
    assert corpus.rows("SELECT count(DISTINCT built_at) FROM space") == [(1,)]


def test_switching_to_it_and_back_writes_no_vector(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a0"]})
    before = corpus.rows(f"SELECT ctid, xmin FROM space_{corpus.space.id} ORDER BY 1")
    space = shadow(corpus)
    space_states.switch(corpus.pool, space, SAME, by="ada")
    serving = spaces.active(corpus.pool, "knowledge")
    assert serving is not None
    assert (serving.id, serving.model, serving.holder) == (space.id, "questions", corpus.space.id)
    assert {a: v.name for v in registry.versions(corpus.pool) for a in v.aliases} == {"champion of knowledge": "questions@1"}
    space_states.switch(corpus.pool, spaces.get(corpus.pool, corpus.space.id), SAME)
    assert corpus.rows(f"SELECT ctid, xmin FROM space_{corpus.space.id} ORDER BY 1") == before


def test_what_is_published_through_it_is_in_the_other_too(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a0"]})
    space = shadow(corpus)
    space_states.switch(corpus.pool, space, SAME)
    through = Corpus(corpus.pool, spaces.get(corpus.pool, space.id), corpus.run)
    through.load({"mem://b": ["b0", "b1"]})
    assert not fill.missing(corpus.pool, spaces.get(corpus.pool, corpus.space.id))
    assert audit.audit(corpus.pool) == []
    assert corpus.rows(f"SELECT count(*) FROM space_{corpus.space.id}") == [(3,)]


def test_the_table_goes_with_the_last_that_reads_it(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a0"]})
    first, own = shadow(corpus), corpus.space
    space_states.switch(corpus.pool, first, SAME)
    space_states.retire(corpus.pool, spaces.get(corpus.pool, own.id))
    assert tables(corpus) == [f"space_{own.id}"]
    assert not fill.missing(corpus.pool, first)
    second = shadow(corpus, Adapted(model="others", revision="2 adapted"))  # of a table whose own space is retired
    assert second.holder == own.id
    again = begin(corpus, Identity())  # the retired one, begun anew
    assert (again.id, again.holder, again.state) == (own.id, own.id, "building")
    assert not fill.missing(corpus.pool, again)
    space_states.verified(corpus.pool, again, {}, passed=True)
    space_states.switch(corpus.pool, spaces.get(corpus.pool, own.id), SAME)
    for space in (first, second):
        space_states.retire(corpus.pool, spaces.get(corpus.pool, space.id))
    assert tables(corpus) == [f"space_{own.id}"]


def test_a_retired_one_without_a_table_left_gets_its_own(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a0"]})
    adapted = shadow(corpus)
    other = shadow(corpus, Identity(fingerprint="hash-9", model="handbook", revision="2"))
    for page in fill.pages(corpus.pool, other, 10):
        corpus.damage(f"INSERT INTO space_{other.id} SELECT * FROM space_{corpus.space.id}")
        assert page
        break
    space_states.switch(corpus.pool, other, SAME)
    space_states.retire(corpus.pool, spaces.get(corpus.pool, corpus.space.id))
    space_states.retire(corpus.pool, adapted)
    assert tables(corpus) == [f"space_{other.id}"]
    again = begin(corpus)
    assert (again.id, again.holder) == (adapted.id, adapted.id)
    assert tables(corpus) == sorted([f"space_{other.id}", f"space_{adapted.id}"])


def test_audit_repair_and_upkeep_see_one_table(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a0", "a1"]})
    space = shadow(corpus)
    space_states.switch(corpus.pool, space, SAME)
    corpus.damage(f"DELETE FROM space_{corpus.space.id}")
    assert [finding.check for finding in audit.audit(corpus.pool)] == ["missing_vectors"]
    mend(corpus)
    corpus.damage(f"DROP TABLE space_{corpus.space.id}")
    assert "space_without_table" in [finding.check for finding in audit.audit(corpus.pool)]
    mend(corpus)
    with connection(corpus.pool) as conn:
        assert maintenance.space_ids(conn) == [corpus.space.id]

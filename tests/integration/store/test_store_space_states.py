"""The states of a space, its index after load, what it lacks, and passages that stand by."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from pipelines.errors import FailRun, FixConfiguration, Retry, Switched
from pipelines.records import sha256
from pipelines.store import collect, fill, space_index, space_states, spaces, standby, vectors
from pipelines.store.batch import Batch
from pipelines.store.publish import publish
from pipelines.store.space_states import ALLOWED, Fingerprints
from tests.integration.store.corpus import Corpus, Identity, chunk_rows, doc, everything, unit_vectors

pytestmark = pytest.mark.integration
MARKS = Fingerprints("pipeline-1", "pipeline-2")


@pytest.fixture
def loaded(corpus: Corpus) -> Corpus:
    corpus.load({"mem://a": ["a0", "a1"], "mem://b": ["b0"]})
    return corpus


def second(corpus: Corpus, chunk_set: int | None = None, **changed: Any) -> spaces.Space:
    return spaces.begin(
        corpus.pool,
        Identity("hash-other", "second"),
        collection="knowledge",
        chunk_set=corpus.space.chunk_set if chunk_set is None else chunk_set,
        storage=changed.get("storage", "halfvec"),
    )


def filled(corpus: Corpus, space: spaces.Space) -> spaces.Space:
    """The space with every vector it lacks, verified."""
    for page in fill.pages(corpus.pool, space, 2):
        shas = [text.text_sha for text in page]
        vectors.remember(corpus.pool, space.embedder_fingerprint, shas, unit_vectors(shas, space.dim))
        assert fill.fill(corpus.pool, space, shas) == len(shas)
    space_states.verified(corpus.pool, space, {"texts": 3}, passed=True)
    return spaces.get(corpus.pool, space.id)


def index(corpus: Corpus, space: spaces.Space) -> list[tuple[str, bool]]:
    return corpus.rows(
        "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'hnsw' AND i.indrelid = %s::regclass",
        f"millrace.space_{space.id}",
    )


def test_the_index_is_built_once_after_the_load_and_settings_are_put_back(loaded: Corpus) -> None:
    empty = second(loaded)
    assert not space_index.ensure_index(loaded.pool, empty)
    assert index(loaded, empty) == []
    assert space_index.ensure_index(loaded.pool, loaded.space)
    assert not space_index.ensure_index(loaded.pool, loaded.space)
    assert index(loaded, loaded.space) == [(f"space_{loaded.space.id}_embedding_idx", True)]
    assert loaded.rows("SELECT built_at IS NOT NULL FROM space WHERE id = 1") == [(True,)]
    assert set(loaded.rows("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")) == {
        ("10min", "0")
    }
    with ThreadPoolExecutor(3) as threads:
        built = list(threads.map(lambda _: space_index.ensure_index(loaded.pool, loaded.space), range(3)))
    assert built == [False] * 3


def test_what_an_interrupted_build_left_is_replaced(loaded: Corpus) -> None:
    name = f"space_{loaded.space.id}_embedding_idx"
    space_index.ensure_index(loaded.pool, loaded.space)
    loaded.rows("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", f"millrace.{name}")
    assert space_index.ensure_index(loaded.pool, loaded.space)
    assert index(loaded, loaded.space) == [(name, True)]


def test_an_index_that_another_process_builds_is_waited_for_no_longer_than_asked(loaded: Corpus) -> None:
    with loaded.pool.connection() as conn:
        conn.execute("SELECT pg_advisory_lock(hashtext('millrace.index'), %s)", (loaded.space.id,))
        with pytest.raises(Retry, match="being built elsewhere"):
            space_index.ensure_index(loaded.pool, loaded.space, patience=0)
        conn.execute("SELECT pg_advisory_unlock_all()")


def test_a_graph_of_many_rows_gets_memory_within_bounds(corpus: Corpus) -> None:
    small, large = (replace(corpus.space, dim=dim) for dim in (8, 384))
    assert space_index.memory_mb(small, 10) == space_index.LEAST_MB
    assert 1_000 < space_index.memory_mb(large, 700_000) < 2_000
    assert space_index.memory_mb(large, 10**9) == space_index.MOST_MB


def test_a_space_goes_through_its_states_and_keeps_its_history(loaded: Corpus) -> None:
    space = second(loaded)
    assert (space.state, second(loaded)) == ("building", space)
    assert fill.missing(loaded.pool, space).texts == fill.texts(loaded.pool, space) == 3
    with pytest.raises(FixConfiguration, match="building; finish it"):
        space_states.switch(loaded.pool, space, MARKS)
    shadow = filled(loaded, space)
    assert (shadow.state, bool(fill.missing(loaded.pool, space))) == ("shadow", False)
    assert space_states.switch(loaded.pool, shadow, MARKS, by="ana") == space_states.Switch("knowledge", 1, space.id)
    assert spaces.active(loaded.pool, "knowledge") == replace(shadow, state="active")
    assert space_states.last_previous(loaded.pool, "knowledge") == 1
    with pytest.raises(FixConfiguration, match="is active; it serves already"):
        space_states.retire(loaded.pool, shadow)
    space_states.retire(loaded.pool, loaded.space)
    assert loaded.rows("SELECT to_regclass('millrace.space_1')") == [(None,)]
    with pytest.raises(FixConfiguration, match="nothing is left of it"):
        space_states.retire(loaded.pool, loaded.space)
    history = loaded.rows("SELECT space_id, state, by FROM space_history ORDER BY id")
    assert history == [
        (1, "active", ""), (2, "building", ""), (2, "shadow", ""), (1, "previous", "ana"), (2, "active", "ana"),
        (1, "retired", ""),
    ]  # fmt: skip
    one, two = space_states.overview(loaded.pool, "knowledge")
    assert (one.id, one.state, one.report, two.state) == (2, "active", {"texts": 3}, "retired")


def test_only_the_drawn_changes_of_state_are_made(loaded: Corpus) -> None:
    space = second(loaded)
    space_states.verified(loaded.pool, space, {"failures": ["x"]}, passed=False)
    assert spaces.get(loaded.pool, space.id).state == "building"
    shadow = filled(loaded, space)
    space_states.verified(loaded.pool, shadow, {"failures": ["x"]}, passed=False)
    assert spaces.get(loaded.pool, space.id).state == "building"
    reached = {state for change in ALLOWED for state in change}
    assert reached == {"building", "shadow", "active", "previous", "retired"}
    assert not {change for change in ALLOWED if change[0] == "active"} - {("active", "previous")}


def test_a_switch_refuses_while_a_vector_is_missing(loaded: Corpus) -> None:
    shadow = filled(loaded, second(loaded))
    loaded.load({"mem://c": ["c0"]})
    with pytest.raises(FailRun, match="0 documents have no passages .* 1 texts no vector; nothing was switched"):
        space_states.switch(loaded.pool, shadow, MARKS)
    assert spaces.active(loaded.pool, "knowledge") == loaded.space


def test_a_late_publisher_of_the_old_space_writes_nothing(loaded: Corpus) -> None:
    late = loaded.batch({"mem://a": ["a2"]}, fence=loaded.fence(), version="v2")
    loaded.embed(["a2"])
    space_states.switch(loaded.pool, filled(loaded, second(loaded)), MARKS)
    with pytest.raises(Switched, match="from space 1 to 2"):
        publish(loaded.pool, late, everything)
    assert loaded.served("mem://a") == ["a0", "a1"]


def test_another_storage_of_a_kept_space_is_refused_with_the_remedy(loaded: Corpus) -> None:
    second(loaded)
    with pytest.raises(
        FixConfiguration, match=r"stores halfvec, not vector; retire it first: `millrace retire knowledge 2`"
    ):
        second(loaded, storage="vector")


def test_a_filler_stops_when_its_space_is_retired(loaded: Corpus) -> None:
    space = second(loaded)
    space_states.retire(loaded.pool, space)
    with pytest.raises(FailRun, match="was retired while it was filled"):
        fill.fill(loaded.pool, space, [sha256("a0")])
    assert second(loaded).state == "building"


class TestPassages:
    """Passages of a second chunk set."""

    @pytest.fixture
    def beside(self, loaded: Corpus) -> spaces.Space:
        other = spaces.ensure_chunk_set(loaded.pool, fingerprint="set-2", settings={}, tokenizer_sha="t", max_tokens=9)
        return second(loaded, other)

    def write(self, corpus: Corpus, space: spaces.Space, texts: dict[str, list[str]]) -> set[bytes]:
        families = [
            standby.Family({doc(uri): corpus.known_fence(doc(uri))}, {doc(uri): chunk_rows(doc(uri), parts)})
            for uri, parts in texts.items()
        ]
        return standby.write(corpus.pool, space, families)

    def test_they_stand_by_and_are_switched_with_their_documents(self, loaded: Corpus, beside: spaces.Space) -> None:
        assert fill.missing(loaded.pool, beside).documents == 2
        assert len([family for page in standby.missing(loaded.pool, beside, 1) for family in page]) == 2
        assert self.write(loaded, beside, {"mem://a": ["a0 a1"], "mem://b": ["b", "0"]}) == {doc("mem://a"), doc("mem://b")}
        assert not fill.missing(loaded.pool, beside).documents
        served = {("a0",), ("a1",), ("b0",)}
        assert collect.collect(loaded.pool, cache_days=2).texts == 0
        space_states.switch(loaded.pool, filled(loaded, beside), MARKS)
        counted = loaded.rows("SELECT chunk_set, chunk_count, pipeline_fingerprint FROM document ORDER BY uri")
        assert counted == [(beside.chunk_set, 1, "pipeline-2"), (beside.chunk_set, 2, "pipeline-2")]
        assert set(loaded.rows("SELECT chunk_set FROM standby")) == {(1,)}
        assert set(loaded.rows("SELECT body FROM chunk JOIN text USING (tenant, text_sha) WHERE chunk_set = 1")) == served
        assert loaded.rows("SELECT count(*) FROM chunk_past") == [(0,)]
        space_states.switch(loaded.pool, spaces.get(loaded.pool, 1), Fingerprints("pipeline-2", "pipeline-1"))
        assert loaded.rows("SELECT DISTINCT chunk_set, pipeline_fingerprint FROM document") == [(1, "pipeline-1")]
        space_states.retire(loaded.pool, beside)
        assert loaded.rows("SELECT (SELECT count(*) FROM standby), (SELECT count(*) FROM chunk WHERE chunk_set <> 1)") == [
            (0, 0)
        ]

    def test_a_document_written_meanwhile_is_left_alone(self, loaded: Corpus, beside: spaces.Space) -> None:
        stale = standby.Family(
            {doc("mem://a"): loaded.known_fence(doc("mem://a"))}, {doc("mem://a"): chunk_rows(doc("mem://a"), ["old"])}
        )
        loaded.load({"mem://a": ["new"]}, version="v2")
        assert standby.write(loaded.pool, beside, [stale]) == set()
        assert fill.missing(loaded.pool, beside).documents == 2

    def test_a_new_version_takes_them_along_and_keeps_the_past_clean(self, loaded: Corpus, beside: spaces.Space) -> None:
        self.write(loaded, beside, {"mem://a": ["a0 a1"]})
        loaded.load({"mem://a": ["new"]}, version="v2")
        assert loaded.rows("SELECT count(*) FROM standby") == [(0,)]
        assert set(loaded.rows("SELECT chunk_set FROM chunk_past")) == {(1,)}
        with pytest.raises(FailRun, match="2 documents have no passages in chunk set 2"):
            space_states.switch(loaded.pool, filled(loaded, beside), MARKS)


def test_a_batch_of_another_collections_space_is_no_switch(loaded: Corpus) -> None:
    other = spaces.ensure_space(
        loaded.pool, Identity(), collection="elsewhere", chunk_set=loaded.space.chunk_set, storage="halfvec"
    )
    batch: Batch = replace(loaded.batch({"mem://z": ["z0"]}, fence=loaded.fence()), space=other)
    loaded.embed(["z0"])
    assert publish(loaded.pool, batch, everything).loaded == {doc("mem://z")}

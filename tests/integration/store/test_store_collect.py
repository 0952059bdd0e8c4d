"""The collector against runs that count on what it removes: `vectors.keep` decides, whatever happens in between."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.errors import Retry
from pipelines.records import sha256
from pipelines.store import audit, collect, vectors
from pipelines.store.publish import publish
from tests.integration.store.corpus import Corpus, doc, everything

pytestmark = pytest.mark.integration
SHA = sha256("shared")


def forget(corpus: Corpus) -> None:
    """The only document with the text takes another one, and a month passes."""
    corpus.load({"mem://a": ["other"]}, version="v2")
    pass_days(corpus, 31)


def pass_days(corpus: Corpus, days: int) -> None:
    corpus.rows("UPDATE embedding_cache SET created_at = created_at - make_interval(days => %s)", days)


def test_a_kept_vector_outlasts_collector_and_expiry_until_it_is_published(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["shared"]})
    forget(corpus)
    batch = corpus.batch({"mem://b": ["shared"]}, fence=corpus.fence())
    assert vectors.keep(corpus.pool, corpus.space, [SHA, sha256("new")]) == {sha256("new")}
    assert collect.collect(corpus.pool, cache_days=30) == collect.Collected(texts=1, cached_vectors=0)
    assert publish(corpus.pool, batch, everything).loaded == {doc("mem://b")}
    assert audit.audit(corpus.pool) == []


def test_without_keep_the_same_order_of_events_ends_without_the_vector(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["shared"]})
    forget(corpus)
    assert vectors.missing(corpus.pool, corpus.space, [SHA]) == set()
    assert collect.collect(corpus.pool, cache_days=30).cached_vectors == 1
    with pytest.raises(Retry, match="no vector"):
        publish(corpus.pool, corpus.batch({"mem://b": ["shared"]}, fence=corpus.fence()), everything)
    assert vectors.keep(corpus.pool, corpus.space, [SHA]) == {SHA}  # a retry of embed computes it again


def test_a_vector_that_only_the_space_has_is_copied_to_the_cache(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["shared"]})
    before = vectors.load_vectors(corpus.pool, corpus.space, [SHA])
    corpus.rows("DELETE FROM embedding_cache")
    assert vectors.keep(corpus.pool, corpus.space, [SHA]) == set()
    corpus.damage(f"DELETE FROM space_{corpus.space.id}")
    assert (vectors.load_vectors(corpus.pool, corpus.space, [SHA]) == before).all()


def test_a_young_vector_is_kept_without_a_write(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["shared"]})
    row = "SELECT xmin, xmax FROM embedding_cache WHERE text_sha = %s"
    before = corpus.rows(row, SHA)
    vectors.keep(corpus.pool, corpus.space, [SHA])
    assert corpus.rows(row, SHA) == before
    pass_days(corpus, 2)
    vectors.keep(corpus.pool, corpus.space, [SHA])
    assert corpus.rows("SELECT clock_timestamp() - created_at < interval '1 minute' FROM embedding_cache") == [(True,)]


def test_a_vector_that_expires_at_this_moment_is_written_back(corpus: Corpus) -> None:
    corpus.embed(["shared"])
    pass_days(corpus, 31)
    with ThreadPoolExecutor(1) as background:
        with corpus.pool.connection() as expiry:
            expiry.execute("DELETE FROM embedding_cache")
            kept = background.submit(vectors.keep, corpus.pool, corpus.space, [SHA])
            while not expiry.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall():
                pass
        assert kept.result() == set()
    assert corpus.rows("SELECT count(*) FROM embedding_cache") == [(1,)]


def test_the_collector_takes_everything_in_small_slices_and_refuses_a_short_memory(corpus: Corpus) -> None:
    corpus.load({"mem://a": [f"text {i}" for i in range(25)]})
    corpus.load({"mem://a": ["one"]}, version="v2")
    pass_days(corpus, 3)
    assert collect.collect(corpus.pool, cache_days=2, slice_rows=4) == collect.Collected(texts=25, cached_vectors=25)
    with pytest.raises(ValueError, match="at least 2 days"):
        collect.collect(corpus.pool, cache_days=1)

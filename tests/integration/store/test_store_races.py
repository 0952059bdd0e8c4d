"""Writers at the same time: publishers, the collector, deletions; and readers beside them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.records import sha256
from pipelines.store import audit, collect, deletions, spaces
from pipelines.store.publish import publish
from tests.integration.store.corpus import SOURCE, Corpus, Identity, doc, everything

pytestmark = pytest.mark.integration


def together(*calls: Callable[[], object]) -> list[object]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def test_concurrent_publishers_of_the_same_documents_end_as_the_highest_fence(corpus: Corpus) -> None:
    rng = random.Random(7)
    texts = [f"sentence {i}" for i in range(40)]
    corpus.embed(texts)
    uris = [f"mem://{i}" for i in range(12)]
    for _ in range(3):
        fences = [corpus.fence() for _ in range(4)]
        batches = []
        for fence in fences:
            content = {uri: rng.sample(texts, 4) for uri in rng.sample(uris, 9)}
            batches.append((fence, content, corpus.batch(content, fence=fence, version=f"v{fence}")))
        shuffled = rng.sample(batches, len(batches))
        together(*(lambda batch=batch: publish(corpus.pool, batch, everything) for _, _, batch in shuffled))
        for uri in uris:
            last = max(((fence, content[uri]) for fence, content, _ in batches if uri in content), default=None)
            if last:
                assert corpus.served(uri) == last[1]
        assert audit.audit(corpus.pool) == []


def test_the_collector_beside_publishers_loses_no_text(corpus: Corpus) -> None:
    """Publishers keep dropping and re-adding the same texts while the collector removes what nobody uses."""
    texts = [f"sentence {i}" for i in range(30)]
    corpus.embed(texts)
    stop = threading.Event()
    removed = []

    def collector() -> None:
        while not stop.is_set():
            removed.append(collect.collect(corpus.pool, cache_days=2, slice_rows=7).texts)

    def publisher(number: int) -> None:
        rng = random.Random(number)
        for version in range(15):
            content = {f"mem://{number}/{i}": rng.sample(texts, 3) for i in range(4)}
            outcome = publish(corpus.pool, corpus.batch(content, fence=corpus.fence(), version=f"v{version}"), everything)
            assert len(outcome.loaded) == 4

    with ThreadPoolExecutor(1) as background:
        future = background.submit(collector)
        try:
            together(lambda: publisher(1), lambda: publisher(2))
        finally:
            stop.set()
        future.result()
    assert sum(removed) > 0
    assert audit.audit(corpus.pool) == []


def test_a_text_collected_between_lookup_and_use_is_written_again(corpus: Corpus) -> None:
    """The collector holds the text's row when the publisher wants it, then deletes it: the foreign key decides."""
    corpus.load({"mem://a": ["shared"]})
    corpus.load({"mem://a": ["other"]}, version="v2")  # "shared" is unused now
    batch = corpus.batch({"mem://b": ["shared"]}, fence=corpus.fence())
    with ThreadPoolExecutor(1) as background:
        with corpus.pool.connection() as conn:
            conn.execute("SELECT FROM text WHERE text_sha = %s FOR UPDATE", (sha256("shared"),))
            future = background.submit(publish, corpus.pool, batch, everything)
            while not conn.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall():
                pass
            conn.execute("DELETE FROM text WHERE text_sha = %s", (sha256("shared"),))
        assert future.result().loaded == {doc("mem://b")}
    assert corpus.served("mem://b") == ["shared"]
    assert audit.audit(corpus.pool) == []


def test_a_deletion_and_a_newer_publish_end_published_in_both_orders(corpus: Corpus) -> None:
    uris = [f"mem://{i}" for i in range(20)]
    corpus.load({uri: ["first"] for uri in uris})
    corpus.embed(["second"])
    older, newer = corpus.fence(), corpus.fence()
    batch = corpus.batch({uri: ["second"] for uri in uris}, fence=newer, version="v2")
    together(
        lambda: publish(corpus.pool, batch, everything),
        lambda: deletions.delete(corpus.pool, run_id=corpus.run.id, fence=older, doc_ids=[doc(uri) for uri in uris]),
    )
    assert {tuple(corpus.served(uri)) for uri in uris} == {("second",)}
    assert audit.audit(corpus.pool) == []


def test_readers_see_one_version_of_a_document(corpus: Corpus) -> None:
    corpus.embed([f"{letter} {i}" for letter in "ab" for i in range(6)])
    contents = [[f"{letter} {i}" for i in range(size)] for letter, size in (("a", 6), ("b", 3))]
    stop = threading.Event()
    seen: set[tuple[str, ...]] = set()

    def reader() -> None:
        while not stop.is_set():
            seen.add(tuple(corpus.served("mem://a")))

    publish(corpus.pool, corpus.batch({"mem://a": contents[0]}, fence=corpus.fence()), everything)
    with ThreadPoolExecutor(2) as background:
        futures = [background.submit(reader) for _ in range(2)]
        for turn in range(1, 20):
            batch = corpus.batch({"mem://a": contents[turn % 2]}, fence=corpus.fence(), version=f"v{turn}")
            publish(corpus.pool, batch, everything)
        stop.set()
        for future in futures:
            future.result()
    assert seen == {tuple(content) for content in contents}


def test_concurrent_creators_share_one_space_and_one_chunk_set(corpus: Corpus) -> None:
    corpus.pool.resize(8, 8)
    corpus.pool.wait()
    start = threading.Barrier(6)

    def create() -> tuple[int, int]:
        start.wait()
        chunk_set = spaces.ensure_chunk_set(corpus.pool, fingerprint="set-2", settings={}, tokenizer_sha="t", max_tokens=9)
        space = spaces.ensure_space(corpus.pool, Identity(), collection="fresh", chunk_set=chunk_set, storage="vector")
        return chunk_set, space.id

    assert len(set(together(*[create] * 6))) == 1
    assert corpus.rows("SELECT count(*) FROM space WHERE collection = 'fresh'") == [(1,)]
    assert corpus.rows("SELECT count(*) FROM run WHERE source = %s", SOURCE) == [(1,)]

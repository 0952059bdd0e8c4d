"""An object and its attachments: no attachment of a version that was not loaded, none of an object that was deleted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipelines.store import audit, deletions
from pipelines.store.publish import publish
from tests.integration.store.corpus import Corpus, doc, everything, nothing

pytestmark = pytest.mark.integration
OBJECT, MEMBER = "mem://mail", ("mem://mail", "old.txt")


def test_a_superseded_object_keeps_its_attachments_out(corpus: Corpus) -> None:
    """Two overlapping runs read a new object; only the older bytes have the attachment. The newer one wins."""
    corpus.embed(["old", "attached", "new"])
    older, newer = corpus.fence(), corpus.fence()
    late = corpus.batch({OBJECT: ["old"], MEMBER: ["attached"]}, fence=older, version="v1", expected=0)
    publish(corpus.pool, corpus.batch({OBJECT: ["new"]}, fence=newer, version="v2"), everything)
    outcome = publish(corpus.pool, late, everything)
    assert outcome.superseded == {doc(OBJECT), doc(*MEMBER)}
    assert corpus.rows("SELECT count(*) FROM document") == [(1,)]


def test_older_bytes_under_a_newer_fence_bring_no_attachment_either(corpus: Corpus) -> None:
    corpus.embed(["old", "attached", "new"])
    newer_bytes, older_bytes = corpus.fence(), corpus.fence()
    late = corpus.batch({OBJECT: ["old"], MEMBER: ["attached"]}, fence=older_bytes, version="v1", expected=0)
    publish(corpus.pool, corpus.batch({OBJECT: ["new"]}, fence=newer_bytes, version="v2"), everything)
    assert publish(corpus.pool, late, nothing).superseded == {doc(OBJECT), doc(*MEMBER)}
    assert corpus.rows("SELECT count(*) FROM document") == [(1,)]


def test_a_deletion_takes_the_attachment_that_was_published_while_it_waited(corpus: Corpus) -> None:
    """The publisher (older fence) holds the object's row and adds an attachment; the deletion (newer fence) waits for it."""
    corpus.load({OBJECT: ["first"]})
    corpus.embed(["second", "attached"])
    batch = corpus.batch({OBJECT: ["second"], MEMBER: ["attached"]}, fence=corpus.fence(), version="v2", expected=0)
    fence = corpus.fence()
    deleting: list[Any] = []

    def delete() -> deletions.Deleted:
        return deletions.delete(corpus.pool, run_id=corpus.run.id, fence=fence, doc_ids=[doc(OBJECT)])

    with ThreadPoolExecutor(1) as background:

        def recheck(doc_ids: Any) -> set[bytes]:
            """Asked while the publisher holds the locks: the deletion comes now and waits for them."""
            deleting.append(background.submit(delete))
            while not corpus.rows("SELECT 1 FROM pg_locks WHERE NOT granted"):
                pass
            return set(doc_ids)

        publish(corpus.pool, batch, recheck)
        assert deleting[0].result() == deletions.Deleted(frozenset({doc(OBJECT)}), frozenset({doc(*MEMBER)}), frozenset())
    assert corpus.rows("SELECT DISTINCT state FROM document") == [("deleted",)]
    assert corpus.rows("SELECT count(*) FROM chunk") == [(0,)]
    assert audit.audit(corpus.pool) == []

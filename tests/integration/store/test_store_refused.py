"""What the database refuses is charged to that document alone, and a repeated attempt says the same again."""

from __future__ import annotations

import pytest

from pipelines.records import Reason
from pipelines.store.database import connection
from pipelines.store.publish import publish
from tests.integration.store.corpus import Corpus, doc, everything

pytestmark = pytest.mark.integration
OBJECT, MEMBER, OTHER = "mem://mail", ("mem://mail", "notes.txt"), "mem://other"


@pytest.fixture
def strict(corpus: Corpus) -> Corpus:
    """A corpus whose database refuses the text `forbidden`."""
    with connection(corpus.pool) as conn:
        conn.execute("ALTER TABLE text ADD CONSTRAINT refusal CHECK (body <> 'forbidden')")
    corpus.embed(["forbidden", "attached", "fine"])
    return corpus


def test_a_refused_new_object_does_not_charge_its_attachments(strict: Corpus) -> None:
    batch = strict.batch({OBJECT: ["forbidden"], MEMBER: ["attached"], OTHER: ["fine"]}, fence=strict.fence())
    outcome = publish(strict.pool, batch, everything)
    assert [row.doc_id for row in outcome.rejected] == [doc(OBJECT)]
    assert outcome.superseded == {doc(*MEMBER)}
    assert outcome.loaded == {doc(OTHER)}


def test_a_repeated_attempt_reports_its_refusals_again(strict: Corpus) -> None:
    """A task that is delivered twice must not count a quarantined document as unchanged."""
    fence = strict.fence()
    batch = strict.batch({OBJECT: ["forbidden"], OTHER: ["fine"]}, fence=fence)
    publish(strict.pool, batch, everything)
    strict.reject(OBJECT, Reason.DB_REJECTED, fence=fence)
    again = publish(strict.pool, batch, everything)
    assert [row.doc_id for row in again.rejected] == [doc(OBJECT)]
    assert not again.superseded
    assert again.loaded == {doc(OTHER)}

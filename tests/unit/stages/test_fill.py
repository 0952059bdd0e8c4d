"""A share of a budget, and the spans of a re-embedding."""

from __future__ import annotations

import time

import pytest

from pipelines.records import Budget
from pipelines.stages import reembed
from pipelines.stages.decide import MAX_SHARDS
from pipelines.stages.fill import Share
from pipelines.store.fill import Text
from pipelines.store.spaces import Space

SPACE = Space(2, "public", "k", 1, "hashing", "1", "hash", 384, "hash", "halfvec", 256, "building", 2)
TEXTS = [Text(bytes([number]) * 32, f"text {number}", 10) for number in range(5)]


def test_without_limits_everything_is_affordable() -> None:
    share = Share()
    assert share.afford(TEXTS) == TEXTS
    share.take(TEXTS)
    assert not share.spent


@pytest.mark.parametrize(("share", "count"), [(Share(texts=3), 3), (Share(tokens=39), 3), (Share(texts=4, tokens=20), 2)])
def test_what_is_affordable_stays_within_every_limit(share: Share, count: int) -> None:
    kept = share.afford(TEXTS)
    assert kept == TEXTS[:count]
    share.take(kept)
    assert share.afford(TEXTS) == TEXTS[: len(share.afford(TEXTS))]
    assert len(share.afford(TEXTS)) < len(TEXTS)


@pytest.mark.parametrize("share", [Share(texts=0), Share(tokens=0), Share(seconds=0.0), Share(until=time.time() - 1)])
def test_a_share_is_spent_at_its_first_limit(share: Share) -> None:
    assert share.spent


@pytest.mark.parametrize("count", [1, 2, 7, MAX_SHARDS, 10 * MAX_SHARDS])
def test_spans_cover_every_hash_once_and_divide_the_budget(count: int) -> None:
    spans = reembed._spans(9, SPACE, count, Budget(texts=1000, tokens=None, seconds=60, cost=400), 100.0)
    assert len(spans) == min(count, MAX_SHARDS)
    assert (spans[0].after, spans[-1].last) == ("", "ff" * 32)
    for span, later in zip(spans, spans[1:], strict=False):
        assert span.last == later.after
    assert sum(span.texts or 0 for span in spans) >= 1000
    assert {(span.until, span.tokens, span.run_id, span.space) for span in spans} == {(160.0, None, 9, 2)}
    assert sum(span.seconds or 0 for span in spans) == pytest.approx(400)


def test_no_work_has_no_spans() -> None:
    assert reembed._spans(9, SPACE, 0, Budget()) == ()

"""Both legs count, neither alone decides, and equal scores have one order."""

from __future__ import annotations

from pipelines.search.fusion import MOST, fuse


def test_who_is_near_and_relevant_is_before_who_is_only_one_of_both() -> None:
    similarity = {b"both": 0.6, b"near": 0.61, b"worded": 0.1}
    order = fuse(similarity, {b"both": 8.0, b"worded": 8.1}, information=10.0)
    assert list(order) == [b"both", b"near", b"worded"]
    assert max(order.values()) <= MOST


def test_equal_scores_are_ordered_by_hash() -> None:
    assert list(fuse({b"b": 0.5, b"a": 0.5, b"c": 0.5}, {}, 1.0)) == [b"a", b"b", b"c"]


def test_words_alone_or_vectors_alone_keep_their_order() -> None:
    assert list(fuse({}, {b"a": 1.0, b"b": 2.0}, 4.0)) == [b"b", b"a"]
    assert list(fuse({b"a": -0.2, b"b": -0.1}, {}, 0.0)) == [b"b", b"a"]

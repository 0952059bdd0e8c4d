"""One list of two rankings: the same again for the same request, fair to both, silent about what they agree on."""

from __future__ import annotations

import pytest

from pipelines.errors import FixConfiguration
from pipelines.experiments.interleave import Shown, credit, draft


def items(shown: tuple[Shown, ...]) -> str:
    return "".join(place.item for place in shown)


def teams(shown: tuple[Shown, ...]) -> str:
    return "".join({"champion": "c", "challenger": "x", None: "."}[place.team] for place in shown)


def test_a_request_that_is_repeated_shows_the_same_list() -> None:
    lists = {draft("abcdef", "fedcba", length=4, key=f"s|rerank|{request}") for request in range(50)}
    assert lists == {draft("abcdef", "fedcba", length=4, key=f"s|rerank|{request}") for request in range(50)}
    assert len(lists) == 4  # two coins


def test_each_side_picks_its_best_that_is_left() -> None:
    assert {items(draft("abcd", "bxya", length=4, key=str(key))) for key in range(40)} == {"abcx", "abxc", "bacx", "baxc"}


def test_rounds_are_even_and_coins_are_fair() -> None:
    first = []
    for key in range(1000):
        shown = draft("abcdef", "ghijkl", length=6, key=str(key))
        assert all({*teams(shown)[place : place + 2]} == {"c", "x"} for place in (0, 2, 4))
        first.append(teams(shown)[0])
    assert 440 < first.count("x") < 560


@pytest.mark.parametrize(
    ("champion", "challenger", "length", "expected"),
    [
        ("abc", "abc", 3, "..."),
        ("abcd", "abdc", 2, ".."),
        ("abc", "ab", 3, "..."),  # nobody picked against c
        ("", "", 3, ""),
        ("", "ab", 3, ".."),
        ("aab", "ab", 3, ".."),  # an item that stands twice is one
    ],
)
def test_what_both_rank_alike_or_only_one_has_left_is_nobodys(
    champion: str, challenger: str, length: int, expected: str
) -> None:
    assert teams(draft(champion, challenger, length=length, key="k")) == expected


def test_after_the_shared_top_the_draft_begins() -> None:
    shown = draft("abcd", "abdc", length=4, key="k")
    assert (items(shown)[:2], teams(shown)[:2], sorted(teams(shown)[2:])) == ("ab", "..", ["c", "x"])


def test_a_list_needs_a_place() -> None:
    with pytest.raises(FixConfiguration, match="0 places"):
        draft("a", "b", length=0, key="k")


SHOWN = (Shown("n", None), Shown("a", "champion"), Shown("b", "challenger"), Shown("c", "challenger"))


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [("b", 1.0), ("a", -1.0), ("ab", 0.0), ("abc", 1 / 3), ("nb", 1.0), ("n", None), ("", None), ("z", None)],
)
def test_credit_is_the_balance_of_what_was_chosen(chosen: str, expected: float | None) -> None:
    found = credit(SHOWN, set(chosen))
    assert found == (expected if expected is None else pytest.approx(expected))


def test_choices_that_look_at_places_only_favour_nobody() -> None:
    lists = [draft("abcdef", "badcfe", length=4, key=str(key)) for key in range(2000)]
    for place in range(4):
        total = sum(credit(shown, {shown[place].item}) or 0.0 for shown in lists)
        assert abs(total) < 180  # four standard errors

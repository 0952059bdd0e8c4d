"""Units keep their arm, experiments do not share draws, and shares that were not kept are noticed."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from pipelines.errors import FixConfiguration
from pipelines.experiments.bucket import Experiment, exposure

UNITS = [f"user{number}" for number in range(4000)]


def two(challenger: float = 0.5, name: str = "rerank", salt: str = "s1") -> Experiment:
    return Experiment(name, salt, {"champion": 1 - challenger, "challenger": challenger})


def arms(experiment: Experiment) -> list[str]:
    return [experiment.arm(unit) for unit in UNITS]


def test_a_unit_keeps_its_arm_on_every_machine() -> None:
    assert "".join("x" if arm == "challenger" else "c" for arm in arms(two())[:16]) == "cxxxcxxxcxxxcxxx"
    assert Experiment("rerank", "s1", {"challenger": 0.5, "champion": 0.5}).arm("user1") == two().arm("user1")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5])
def test_arms_get_their_shares(share: float) -> None:
    assert not exposure(two(share), Counter(arms(two(share)))).mismatch


@pytest.mark.parametrize("other", [two(name="prompt"), two(salt="s2")])
def test_another_name_or_salt_is_another_draw(other: Experiment) -> None:
    both = Counter(zip(arms(two()), arms(other), strict=True))
    assert all(900 < count < 1100 for count in both.values())
    assert len(both) == 4


def test_a_changed_share_moves_the_least_and_one_way() -> None:
    moved = Counter((old, new) for old, new in zip(arms(two(0.1)), arms(two(0.3)), strict=True) if old != new)
    assert set(moved) == {("champion", "challenger")}
    assert moved.total() / len(UNITS) == pytest.approx(0.2, abs=0.02)


def test_a_new_arm_takes_from_the_others_only() -> None:
    grown = Experiment("rerank", "s1", {"champion": 0.4, "challenger": 0.4, "third": 0.2})
    moved = {new for old, new in zip(arms(two()), arms(grown), strict=True) if old != new}
    assert moved == {"third"}


def test_an_arm_without_a_share_gets_nobody() -> None:
    assert set(arms(two(0.0))) == {"champion"}
    assert exposure(two(0.0), {"champion": 90, "challenger": 1}).mismatch


@pytest.mark.parametrize(
    ("name", "shares", "said"),
    [
        ("a", {"x": 0.5, "y": 0.4}, "sum to 0.9, not 1"),
        ("a", {"x": 1.5, "y": -0.5}, "not x 1.5, y -0.5"),
        ("a", {"x": float("nan")}, "not x nan"),
        ("a", {}, "sum to 0"),
        ("a|b", {"x": 1.0}, r"'a\|b' must not"),
        ("", {"x": 1.0}, "'' must not"),
    ],
)
def test_shares_and_names_that_mean_nothing_are_refused(name: str, shares: dict[str, float], said: str) -> None:
    with pytest.raises(FixConfiguration, match=said):
        Experiment(name, "s", shares)


def test_tenths_sum_to_one() -> None:
    Experiment("a", "s", {str(arm): 0.1 for arm in range(10)})


@pytest.mark.parametrize(
    ("counts", "mismatch", "said"),
    [
        ({"champion": 5000, "challenger": 5100}, False, "have their shares"),
        ({"champion": 5000, "challenger": 5400}, True, "5000, challenger 5400 units where their shares make champion 5200"),
        ({"champion": 5000}, True, "challenger 0"),
        ({"champion": 3, "challenger": 1}, False, "too few units"),
        ({}, False, "too few units"),
    ],
)
def test_a_broken_exposure_is_told(counts: dict[str, int], mismatch: bool, said: str) -> None:
    found = exposure(two(), counts)
    assert found.mismatch == mismatch
    assert said in found.reason
    json.dumps(found.as_dict())


def test_chi_square_is_scipys() -> None:
    from scipy.stats import chisquare

    assert exposure(two(0.25), {"champion": 700, "challenger": 300}).p == pytest.approx(
        chisquare([700, 300], [750, 250]).pvalue
    )


def test_an_unknown_arm_is_no_exposure_of_this_experiment() -> None:
    with pytest.raises(FixConfiguration, match="not third"):
        exposure(two(), {"champion": 1, "third": 2})

"""Two rankings shown as one list, so that a single user's choice says which is better (team draft, Radlinski et al. 2008).

In each round a coin decides which side picks first; each then picks its best item that is not shown yet. The coins come from
the request's key: a request that is repeated shows the same list. What both rank alike at the top says nothing about either,
and no team is credited for it; nor for what is left once one side has nothing more to pick. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import shake_256
from typing import Literal

from pipelines.errors import FixConfiguration

Team = Literal["champion", "challenger"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One place of the list, and whose it is; None for nobody's."""

    item: str
    team: Team | None


def draft(champion: Sequence[str], challenger: Sequence[str], *, length: int, key: str) -> tuple[Shown, ...]:
    """The first `length` places of both rankings interleaved; fewer where both end earlier.

    `key` is all that decides the coins: the experiment's salt and name, and the request's identity.
    Raises FixConfiguration for a length below 1.
    """
    if length < 1:
        raise FixConfiguration(f"a list of {length} places cannot be interleaved; show at least 1")
    shown = [Shown(item, None) for item in _alike(champion, challenger)[:length]]
    taken = {place.item for place in shown}
    coins = shake_256(key.encode()).digest(length)
    queues: dict[Team, list[str]] = {"champion": _rest(champion, taken), "challenger": _rest(challenger, taken)}
    while len(shown) < length and all(queues.values()):
        first: Team = "challenger" if coins[len(shown)] & 1 else "champion"
        for team in (first, _other(first)):
            if queues[team]:
                item = queues[team][0]
                shown.append(Shown(item, team))
                queues = {side: [left for left in queue if left != item] for side, queue in queues.items()}
    left = [Shown(item, None) for item in (*queues["champion"], *queues["challenger"])]
    return tuple([*shown, *left][:length])


def credit(shown: Sequence[Shown], chosen: Collection[str]) -> float | None:
    """What one impression says: the challenger's part of the chosen items less the champion's, -1 to 1.

    None when nothing was chosen that is anybody's: such an impression takes no side and is left out of the summary.
    """
    teams = [place.team for place in shown if place.team and place.item in chosen]
    if not teams:
        return None
    return (teams.count("challenger") - teams.count("champion")) / len(teams)


def _alike(champion: Sequence[str], challenger: Sequence[str]) -> list[str]:
    """The items at the top that both rank alike."""
    found: list[str] = []
    for ours, theirs in zip(dict.fromkeys(champion), dict.fromkeys(challenger), strict=False):
        if ours != theirs:
            break
        found.append(ours)
    return found


def _rest(ranking: Sequence[str], taken: Collection[str]) -> list[str]:
    return [item for item in dict.fromkeys(ranking) if item not in taken]


def _other(team: Team) -> Team:
    return "champion" if team == "challenger" else "challenger"

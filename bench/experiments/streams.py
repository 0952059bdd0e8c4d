"""Users as they come in, look by look: what a champion's and a challenger's arm hold so far.

* `converts`: each user is asked once; a share of them converts.
* `clicks`: users come back. How often one comes has a heavy tail (Lomax, shape 2.5: a finite variance and no fourth moment),
  they arrive on different days, each has a rate of his own, and busy ones click more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from pipelines.experiments.estimate import Units, each

Ints = npt.NDArray[np.int64]
Pair = tuple[Units, Units]  # champion and challenger
TAIL = 2.5
VISITS = 1.5  # a day, of a user of middling activity
OWN = 0.8  # standard deviation of users' rates, on the logit scale
BUSY = 0.15  # what a user's activity adds to the rate, by its logarithm


def even(users: int, looks: int) -> tuple[int, ...]:
    """The users an arm at evenly spaced looks."""
    return tuple(round(users * look / looks) for look in range(1, looks + 1))


def uneven(rng: np.random.Generator, users: int) -> tuple[int, ...]:
    """Looks when somebody happens to look: 5 to 20 of them, two in a row now and then, the last one up to a fifth late."""
    early = np.sort(rng.integers(50, users, size=rng.integers(4, 20)))
    return (*map(int, early), int(users * rng.uniform(1.0, 1.2)))


def converts(rng: np.random.Generator, rates: tuple[float, float], counts: Sequence[int]) -> list[Pair]:
    """Users with one value, 0 or 1; `counts` are the users an arm at each look."""
    arms = [(rng.uniform(size=counts[-1]) < rate).astype(np.float64) for rate in rates]
    return [(each(arms[0][:count]), each(arms[1][:count])) for count in counts]


def clicks(rng: np.random.Generator, rates: tuple[float, float], users: int, days: int) -> list[Pair]:
    """Users who come back over so many days, with a look a day; a rate is that of a user of middling activity."""
    arms = [_coming(rng, rate, users, days) for rate in rates]
    return [(_seen(*arms[0], day), _seen(*arms[1], day)) for day in range(days)]


def unclustered(units: Units) -> Units:
    """Every impression taken for a user, which it is not."""
    clicked = int(units.sums.sum())
    return each(np.repeat([1.0, 0.0], [clicked, int(units.counts.sum()) - clicked]))


def _coming(rng: np.random.Generator, rate: float, users: int, days: int) -> tuple[Ints, Ints]:
    """(users, days) clicks and impressions up to each day."""
    activity = rng.pareto(TAIL, size=users)
    since = np.arange(days) - rng.integers(0, days, size=(users, 1))  # days since the user came first
    impressions = np.where(since < 0, 0, rng.poisson(VISITS * activity[:, None], size=(users, days)) + (since == 0))
    own = expit(logit(rate) + OWN * rng.normal(size=users) + BUSY * np.log(activity / np.expm1(np.log(2) / TAIL)))
    clicked = rng.binomial(impressions, own[:, None])
    return np.cumsum(clicked, axis=1), np.cumsum(impressions, axis=1)


def _seen(clicked: Ints, impressions: Ints, day: int) -> Units:
    present = impressions[:, day] > 0
    return Units(clicked[present, day].astype(np.float64), impressions[present, day].astype(np.float64))

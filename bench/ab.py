"""Do looks at an experiment keep their word? Simulated users, through the real `pipelines.experiments`.

* 14 looks at two equal arms, and at a challenger that is better (30 % to 34 %, 2,800 users an arm). A false alarm is either
  arm called better. Power is compared with that of a single test at the end, on the same streams.
* The same with users who come back, heavily tailed (`streams.clicks`), and with looks that nobody planned: uneven, and late.
* A guardrail: challengers that lose exactly the margin, and equal ones.
* Interleaving: how many fewer users than an A/B test for the same power. A simulation of searchers (`searchers`), in which
  the challenger touches one query in ten; the A/B test has the most sensitive of five metrics. What the factor depends on
  most is how many queries are touched: it is measured too where all are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from bench.experiments import searchers, streams
from bench.experiments.searchers import INFORMATIONAL, NAVIGATIONAL, Ints, Searchers
from bench.harness import Limit, Options, Result
from pipelines.experiments.estimate import Estimate, Units, Untold, difference, preference
from pipelines.experiments.sequential import Look, Plan, decide

LOOKS, USERS, ALPHA = 14, 2800, 0.05
RATES = (0.30, 0.34)
POWER = 0.88  # planned; what 2,800 users an arm have with these rates
SINGLE = NormalDist().inv_cdf(1 - ALPHA / 2)
ALARMS = 123 / 2000  # what a test at alpha stays below in 99 of 100 benches of 2,000 trials
PILOT = 50_000  # users an arm, who say how much those vary who come back
TOUCHED = 0.1  # of the queries
INTERLEAVING_POWER = 0.8
Estimates = Sequence[tuple[float, Estimate | Untold]]  # of one experiment, by look, with the progress to its planned end


@dataclass(frozen=True, slots=True)
class Watched:
    """How one experiment went: the boundary crossed (1, -1, or 0), and the share of its users when it ended."""

    crossed: int
    won: bool  # and was not given up before
    used: float
    peeked: bool  # the bound of a single test was passed at some look
    single: int  # what one test at the end says


@dataclass(frozen=True, slots=True)
class Size:
    """How much is simulated."""

    trials: int
    searchers: int
    experiments: int  # of searchers, for each way


FULL, QUICK = Size(2000, 200_000, 200), Size(200, 30_000, 40)


def run(options: Options) -> Result:
    """2,000 experiments of each kind; `--quick` simulates 200."""
    size = QUICK if options.quick else FULL
    figures: dict[str, Any] = {"trials": size.trials, "looks": LOOKS}
    for number, simulate in enumerate((_planned, _returning, _unplanned, _guardrail, _interleaved)):
        figures |= simulate(np.random.default_rng((options.seed, number)), size)
    # --quick cannot tell 5 % from 7 %, nor powers apart: it judges with what its few trials leave.
    slack = 3 * math.sqrt(ALPHA / size.trials) if options.quick else 0.0
    less = 0.05 if options.quick else 0.0
    doubt = 2.5 * math.sqrt(INTERLEAVING_POWER * (1 - INTERLEAVING_POWER) / size.experiments)
    floors = (
        *(Limit(f"{kind}alarm_share", at_most=round(ALARMS + slack, 4)) for kind in ("", "returning_", "unplanned_")),
        *(Limit(f"{kind}power_of_single", at_least=0.95 - less) for kind in ("", "returning_", "unplanned_")),
        Limit("guardrail_passed_at_margin", at_most=round(ALARMS + slack, 4)),
        Limit("guardrail_passed_equal", at_least=POWER - 0.02 - less),
        Limit("interleaving_power", at_least=round(INTERLEAVING_POWER - doubt, 3)),
        Limit("interleaving_ab_power", at_least=round(INTERLEAVING_POWER - doubt, 3)),
    )
    goals = (Limit("interleaving_fewer_users", at_least=20),)
    notes = (
        "The interleaving figures are of a simulation: the dependent click model, its navigational chances and a challenger",
        f"that touches {TOUCHED:.0%} of the queries, unless named otherwise. The A/B test has the best of five metrics.",
    )
    return Result("ab", figures, floors=floors, goals=goals, notes=notes)


def _planned(rng: np.random.Generator, size: Size) -> dict[str, Any]:
    """Users with one value each, evenly spaced looks, the planned sample."""
    plan = Plan("superior", effect=RATES[1] - RATES[0], looks=LOOKS, power=POWER)
    counts = streams.even(USERS, LOOKS)
    equal = _repeated(plan, size.trials, lambda: _compared(streams.converts(rng, (RATES[0], RATES[0]), counts)))
    better = _repeated(plan, size.trials, lambda: _compared(streams.converts(rng, RATES, counts)))
    spread = math.sqrt(sum(rate * (1 - rate) for rate in RATES) / 2)
    return {
        "stated_users_an_arm": math.ceil(plan.units(spread) / 2),
        **_figures("", equal, better),
        "peeking_alarm_share": _share(seen.peeked for seen in equal),
        "equal_users_used": round(float(np.mean([seen.used for seen in equal])), 3),
        "better_users_used": round(float(np.mean([seen.used for seen in better])), 3),
    }


def _returning(rng: np.random.Generator, size: Size) -> dict[str, Any]:
    """Users who come back, as many as the plan states after a pilot."""
    pilot = _estimated(difference(*streams.clicks(rng, RATES, PILOT, LOOKS)[-1]))
    plan = Plan("superior", effect=pilot.value, looks=LOOKS, power=POWER)
    users = math.ceil(plan.units(pilot.error * math.sqrt(pilot.units) / 2) / 2)
    unclustered = []

    def equal_arms() -> Estimates:
        looks = streams.clicks(rng, (RATES[0], RATES[0]), users, LOOKS)
        unclustered.append(_single(difference(*map(streams.unclustered, looks[-1]))))
        return _compared(looks)

    equal = _repeated(plan, size.trials, equal_arms)
    better = _repeated(plan, size.trials, lambda: _compared(streams.clicks(rng, RATES, users, LOOKS)))
    return {
        "returning_users_an_arm": users,
        **_figures("returning_", equal, better),
        "returning_unclustered_alarm_share": _share(map(bool, unclustered)),
    }


def _unplanned(rng: np.random.Generator, size: Size) -> dict[str, Any]:
    """Looks that nobody planned, the last one late."""
    plan = Plan("superior", effect=RATES[1] - RATES[0], looks=LOOKS, power=POWER)

    def arms(rates: tuple[float, float]) -> Estimates:
        counts = streams.uneven(rng, USERS)
        return [
            (count / USERS, difference(*pair))
            for count, pair in zip(counts, streams.converts(rng, rates, counts), strict=True)
        ]

    equal = _repeated(plan, size.trials, lambda: arms((RATES[0], RATES[0])))
    return _figures("unplanned_", equal, _repeated(plan, size.trials, lambda: arms(RATES)))


def _guardrail(rng: np.random.Generator, size: Size) -> dict[str, Any]:
    """Challengers that lose the margin exactly, and equal ones, on the sample that the plan states."""
    plan = Plan("harmless", effect=RATES[1] - RATES[0], looks=LOOKS, power=POWER)
    users = math.ceil(plan.units(math.sqrt(RATES[1] * (1 - RATES[1]))) / 2)
    counts = streams.even(users, LOOKS)
    worse = _repeated(plan, size.trials, lambda: _compared(streams.converts(rng, RATES[::-1], counts)))
    equal = _repeated(plan, size.trials, lambda: _compared(streams.converts(rng, (RATES[1], RATES[1]), counts)))
    return {
        "guardrail_users_an_arm": users,
        "guardrail_passed_at_margin": _share(seen.crossed > 0 for seen in worse),
        "guardrail_passed_equal": _share(seen.crossed > 0 for seen in equal),
    }


def _interleaved(rng: np.random.Generator, size: Size) -> dict[str, Any]:
    population = searchers.searchers(rng, size.searchers, TOUCHED, NAVIGATIONAL)
    versus, credited = _ab_test(population), _interleaving(population)
    ab = _repeated(versus.plan, size.experiments, lambda: _drawn_arms(rng, population, versus))
    interleaved = _repeated(credited.plan, size.experiments, lambda: _drawn_lists(rng, population, credited))
    noisy = searchers.searchers(rng, size.searchers, TOUCHED, INFORMATIONAL)
    unlike = searchers.searchers(rng, size.searchers, 1.0, NAVIGATIONAL)
    return {
        "interleaving_fewer_users": round(versus.users / credited.users, 1),
        "interleaving_fewer_users_informational": round(_ab_test(noisy).users / _interleaving(noisy).users, 1),
        "interleaving_fewer_users_all_queries_touched": round(_ab_test(unlike).users / _interleaving(unlike).users, 1),
        "interleaving_users": credited.users,
        "interleaving_ab_users": versus.users,
        "interleaving_ab_metric": versus.metric,
        "interleaving_power": _share(seen.crossed > 0 for seen in interleaved),
        "interleaving_ab_power": _share(seen.crossed > 0 for seen in ab),
    }


@dataclass(frozen=True, slots=True)
class Stated:
    """A plan for a population of searchers, and the users in all that it states."""

    plan: Plan
    users: int
    metric: str


def _ab_test(population: Searchers) -> Stated:
    """By the metric that takes the fewest users."""
    return min((_ab_by(population, metric) for metric in population.metrics), key=lambda stated: stated.users)


def _ab_by(population: Searchers, metric: str) -> Stated:
    arms = [Units(sums, population.counts) for sums in population.metrics[metric]]
    known = _estimated(difference(*arms))
    plan = Plan("superior", effect=abs(known.value), looks=LOOKS, power=INTERLEAVING_POWER)
    return Stated(plan, plan.units(known.error * math.sqrt(known.units) / 2), metric)


def _interleaving(population: Searchers) -> Stated:
    known = _estimated(preference(_voting(population.credits)))
    plan = Plan("superior", effect=abs(known.value), looks=LOOKS, power=INTERLEAVING_POWER)
    voters = plan.units(known.error * math.sqrt(known.units), share=None)
    return Stated(plan, math.ceil(voters * len(population.counts) / known.units), "credit")


def _drawn_arms(rng: np.random.Generator, population: Searchers, stated: Stated) -> Estimates:
    counts = streams.even(stated.users // 2, LOOKS)
    arms = [_drawn(rng, Units(sums, population.counts), counts[-1]) for sums in population.metrics[stated.metric]]
    return _even([difference(*(Units(arm.sums[:count], arm.counts[:count]) for arm in arms)) for count in counts])


def _drawn_lists(rng: np.random.Generator, population: Searchers, stated: Stated) -> Estimates:
    counts = streams.even(stated.users, LOOKS)
    drawn = _drawn(rng, population.credits, counts[-1])
    return _even([preference(_voting(Units(drawn.sums[:count], drawn.counts[:count]))) for count in counts])


def _drawn(rng: np.random.Generator, units: Units, number: int) -> Units:
    rows: Ints = rng.integers(0, len(units.sums), size=number)
    return Units(units.sums[rows], units.counts[rows])


def _voting(credits: Units) -> Units:
    """Those whom some impression made take a side; the product has no rows of the others."""
    return Units(credits.sums[credits.counts > 0], credits.counts[credits.counts > 0])


def _compared(looks: Sequence[streams.Pair]) -> Estimates:
    return _even([difference(champion, challenger) for champion, challenger in looks])


def _even(estimates: Sequence[Estimate | Untold]) -> Estimates:
    return [(place / len(estimates), estimate) for place, estimate in enumerate(estimates, 1)]


def _estimated(found: Estimate | Untold) -> Estimate:
    """Raises ValueError for a population that tells nothing."""
    if isinstance(found, Untold):
        raise ValueError(f"the bench's population tells nothing: {found.reason}")
    return found


def _repeated(plan: Plan, trials: int, experiment: Callable[[], Estimates]) -> list[Watched]:
    return [_watch(plan, experiment()) for _ in range(trials)]


def _watch(plan: Plan, estimates: Estimates) -> Watched:
    """Look by look until a boundary is crossed or the users are all in. Where nothing can be told, nothing is crossed."""
    past: list[Look] = []
    given_up: float | None = None
    end = estimates[-1][1]
    used = 1.0
    for progress, estimate in estimates:
        decision = decide(plan, estimate, past, progress=progress)
        if decision.look is None:
            continue
        past.append(decision.look)
        used = progress if isinstance(end, Untold) else decision.units / end.units
        if decision.look.crossed or decision.look.spent >= plan.budget:
            break
        if decision.futile and given_up is None:
            given_up = used
    crossed = past[-1].crossed if past else 0
    peeked = any(_single(estimate) for _, estimate in estimates)
    return Watched(crossed, crossed > 0 and given_up is None, given_up or used, peeked, _single(end))


def _single(estimate: Estimate | Untold) -> int:
    """What one test would say: 1, -1 or nothing."""
    if isinstance(estimate, Untold):
        return 0
    return int(estimate.z() >= SINGLE) - int(estimate.z() <= -SINGLE)


def _figures(kind: str, equal: Sequence[Watched], better: Sequence[Watched]) -> dict[str, Any]:
    """Giving up is ignored for false alarms, since the boundaries must hold without it, and heeded for power."""
    power, single = _share(seen.won for seen in better), _share(seen.single > 0 for seen in better)
    return {
        f"{kind}alarms": sum(seen.crossed != 0 for seen in equal),
        f"{kind}alarm_share": _share(seen.crossed != 0 for seen in equal),
        f"{kind}power": power,
        f"{kind}single_power": single,
        f"{kind}power_of_single": round(power / single, 4),
    }


def _share(flags: Iterable[bool]) -> float:
    return round(float(np.mean(list(flags))), 4)

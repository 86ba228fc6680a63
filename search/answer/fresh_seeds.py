"""Whether fresh seeds are worth their time, and of how many: docs/noise.md has the rule. No torch,
no Ray."""

from __future__ import annotations

import math

from minigpt_search.search.answer.commands import Commands, Step, more_samples
from minigpt_search.search.answer.next_values import with_values
from minigpt_search.search.results.configurations import Configuration, losses
from minigpt_search.search.results.results import Results
from minigpt_search.search.results.statistics import PRIOR_SD, pooled_spread
from minigpt_search.search.results.winner import Winner

MOST_SEEDS = 64
"""To tell two configurations apart by more than this many seeds each is not worth it."""
CONFIRMED = 3
"""The most configurations that are advised to be confirmed."""
CLOSE = 3.0
"""Standard errors of a difference: with normal losses of that spread luck puts one of two equal
configurations further behind in 3 of 1,000 pairs. What is worth fresh seeds lies within them."""


def separate(results: Results, best: Winner, make: Commands) -> list[Step]:
    """Fresh seeds, where the winner is not told from others that seeds alone may have put behind;
    for a sampler more trials, where none is so close."""
    if not best.open or results.missing_trials > 0:
        return []
    noise, plan = results.experiment.noise, results.experiment.plan
    if noise.confirm is not None:
        return _more_seeds(results, best, make)
    sd = seed_spread(results)
    close = [each for each in best.open if best.behind(each) <= _most_by_luck(best, each, sd)]
    if close:
        rank = 2 + best.rivals.index(close[0])  # those before it are separated
        k = str(max(rank, min(CONFIRMED, 1 + len(close))))
        why = (
            f"not separable from {close[0].label}: give the {k} best fresh seeds"
            if best.test is not None
            else f"one seed each says nothing of the spread: give the {k} best fresh seeds"
        )
        return [Step(why=why, command=make.extend("--confirm", k))]
    if plan.sampler is None or plan.samples is None:
        return []
    if more_samples(plan.samples) > results.experiment.space.size():
        return []
    next_best = best.rivals[0]
    why = (
        f"the next is {best.behind(next_best):.2f} nats behind, where seeds seldom make "
        f"{_most_by_luck(best, next_best, sd):.2f}: try more configurations"
    )
    return [Step(why=why, command=with_values(results, best, None, (), make))]


def seed_spread(results: Results) -> float:
    """Standard deviation in nats between seeds: of the replicates of the best configurations, or
    else what it was elsewhere (`PRIOR_SD`)."""
    groups = [losses(each.searched) for each in results.configurations if each.searched]
    spread = pooled_spread(groups)
    return PRIOR_SD if spread is None else spread[0]


def _most_by_luck(best: Winner, rival: Configuration, sd: float) -> float:
    """Nats by which seeds of this spread seldom put one of two equal configurations behind."""
    return CLOSE * sd * math.sqrt(1 / best.estimate.n + 1 / len(best.trials(rival)))


def _more_seeds(results: Results, best: Winner, make: Commands) -> list[Step]:
    """As many fresh seeds as would tell the closest two apart after `--confirm` did not."""
    needed = _seeds_needed(results, best)
    if needed is None or needed > MOST_SEEDS:
        return []  # whatever is between them is too small to matter: take either
    why = (
        f"not separable from {best.open[0].label}: about {needed} fresh seeds each would tell them "
        "apart"
    )
    words = ("--confirm", str(results.experiment.noise.confirm), "--confirm-seeds", str(needed))
    return [Step(why=why, command=make.extend(*words))]


def _seeds_needed(results: Results, best: Winner) -> int | None:
    """Seeds that tell the closest two apart with 80% power if they differ by what they seem to:
    n = 2 (z₁ + z₂)² (sd / difference)² (Cohen 1988, chapter 2)."""
    state = results.confirmation
    if state is None or best.test is None or best.test.t == 0 or not math.isfinite(best.test.t):
        return None
    from scipy.special import ndtri

    z = float(ndtri(1 - state.alpha / 2) + ndtri(0.8))
    needed = math.ceil(best.estimate.n * (z / best.test.t) ** 2)
    return max(needed, results.experiment.noise.confirm_seeds + 1)

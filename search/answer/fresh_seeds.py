"""Whether fresh seeds are worth their time, and of how many: docs/noise.md has the rule. No torch,
no Ray."""

from __future__ import annotations

import math

from minigpt_search.search.answer.commands import Commands, Step, more_samples
from minigpt_search.search.answer.next_values import with_values
from minigpt_search.search.results.configurations import Configuration, losses_by_replicate
from minigpt_search.search.results.results import Results
from minigpt_search.search.results.statistics import ALPHA, PRIOR_SD, pooled_spread, spread
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
    if worth := [each for each in close if each not in results.as_good]:
        rank = 2 + best.rivals.index(worth[0])  # those before it are separated, or as good
        k = str(max(rank, min(CONFIRMED, 1 + len(close))))
        why = (
            f"not separable from {worth[0].label}: give the {k} best fresh seeds"
            if best.test is not None
            else f"one seed each says nothing of the spread: give the {k} best fresh seeds"
        )
        return [Step(why=why, command=make.extend("--confirm", k))]
    if close or plan.sampler is None or plan.samples is None:
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
    """Standard deviation in nats between seeds: of the replicates of the best configurations,
    beside what they share where they are paired; or else what it was elsewhere (`PRIOR_SD`)."""
    found = [each for each in results.configurations if each.searched]
    groups = [losses_by_replicate(each.searched) for each in found]
    known = pooled_spread(groups, paired=results.experiment.noise.paired)
    return PRIOR_SD if known is None else known[0]


def _most_by_luck(best: Winner, rival: Configuration, sd: float) -> float:
    """Nats by which seeds of this spread seldom put one of two equal configurations behind."""
    return CLOSE * sd * math.sqrt(1 / best.estimate.n + 1 / len(best.trials(rival)))


def _more_seeds(results: Results, best: Winner, make: Commands) -> list[Step]:
    """Twice the fresh seeds after those of `--confirm` did not tell the closest two apart, but no
    more than tell apart what matters; none where those left are as good within it: take either."""
    noise, now = results.experiment.noise, best.estimate.n
    still = [each for each in best.open if each not in results.as_good]
    compared = (best.configuration, *best.rivals)
    groups = [losses_by_replicate(best.trials(each)) for each in compared]
    known = spread(groups, paired=noise.paired)
    if known is None or not still:
        return []
    from scipy.special import ndtri

    z = float(ndtri(1 - ALPHA / best.pairs / 2) + ndtri(0.8))
    for_delta = math.ceil(2 * (z * known[0] / noise.delta_nats) ** 2)
    needed = min(for_delta, 2 * max(now, noise.confirm_seeds))
    if not noise.confirm_seeds < needed <= MOST_SEEDS:
        return []
    apart = z * known[0] * math.sqrt(2 / needed)
    more = f", {for_delta} the {noise.delta_nats:g} that matter" if needed < for_delta else ""
    why = (
        f"not separable from {still[0].label}: {needed} fresh seeds each tell {apart:.2g} nats "
        f"apart{more}; looking further spends another {ALPHA:.0%}"
    )
    words = ("--confirm", str(noise.confirm), "--confirm-seeds", str(needed))
    return [Step(why=why, command=make.extend(*words))]

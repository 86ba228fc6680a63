"""The winner's mean loss as the answer has it, with what its seeds leave open. No torch, no Ray."""

from __future__ import annotations

import math
from dataclasses import dataclass

from minigpt_search.search.results.results import Results
from minigpt_search.search.results.winner import Winner

COMPETING = 3
"""From so many on that compete the winner's interval is the shrunk one: Student's holds in 94 of
100 with the best of 3 equal ones and 8 seeds, in 91 of 5, in 80 of 12."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A mean loss in nats and the ends of its 95% interval; those of one seed are the loss."""

    mean: float
    low: float
    high: float
    competing: int
    """Of so many it was shrunk; 0 where it is that of the winner's own seeds."""


def level_of(results: Results, best: Winner) -> Level:
    """Of several that compete the lowest mean is too low, since its seeds chose it: then the shrunk
    one."""
    known, found = best.estimate, results.shrunk.get(best.configuration.config)
    competing = sum(not math.isnan(each.low) for each in results.shrunk.values())
    if found is not None and competing >= COMPETING and known.n > 1:
        return Level(mean=found.mean, low=found.low, high=found.high, competing=competing)
    low, high = (known.mean if end is None else end for end in (known.low, known.high))
    return Level(mean=known.mean, low=low, high=high, competing=0)

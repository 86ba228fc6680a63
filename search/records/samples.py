"""What models of a search write: the same prompts under the best, the median and the worst. No
torch, no Ray: reports read it."""

from __future__ import annotations

from dataclasses import dataclass

BEST, MEDIAN, WORST = "best", "median", "worst"


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What one trial's model makes of the prompts."""

    role: str
    """Its configuration's place among all: BEST, MEDIAN or WORST."""
    trial_id: str
    prompts: tuple[str, ...]
    texts: tuple[str, ...]
    """The continuation of each prompt; empty where the weights could not be had."""
    missing: str = ""
    """Why there are none, in one line."""

"""What a ladder is made of: lengths of training below a target's, and learning rates on a lattice.

The experiment's base configuration is the target itself; a rung is the base with fewer tokens an
epoch. No torch, no Ray: reports use it too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig
from minigpt_search.model.run_length import WARMUP_SHARE_LIMIT, RunLength
from minigpt_search.search.space.axes import AXES, TOKENS, Value
from minigpt_search.search.space.objective import train_sequences
from minigpt_search.search.space.space import Space

LADDER = "ladder"
LEAST_RUNGS, MOST_RUNGS = 3, 7
"""A line and whether it bends take three; what counting scores is kept for eight texts, of which
one is the target's."""
LATTICE_ORIGIN, LATTICE_STEP = 1e-3, math.sqrt(2)
LATTICE = range(-14, 15)
"""Learning rates 0.0000078 to 0.128: powers of the step about the origin."""
SPACING = 2
"""Steps of the lattice between the rates of a rung: a factor of 2."""
LEAST_RATES, MOST_RATES = 3, 7
MOST_WARMUP = 0.5
"""Of a target's steps, and so of a rung's: the rest is at a falling rate."""


@dataclass(frozen=True, kw_only=True)
class LadderSpec:
    """The rungs of a ladder."""

    rungs: tuple[int, ...]
    """Training tokens an epoch, ascending; each has the target's epochs."""
    rates: int = 4
    """Learning rates that a rung begins with; more where the best is at an end of them."""
    whole: bool = True
    """Whether the target's epoch is the whole corpus, not `--tokens-per-epoch` of it."""
    warmup_steps: int | None = None
    """Of the target; each rung warms up for the same share of its own steps, or for as many where
    they share trunks. None where the recipe gives a share anyhow."""
    trunks: bool = False
    """Whether a run goes on from the state that the run of the same rate on the rung below left
    for it (`share_trunks`)."""
    verify: int | None = None
    """Tokens an epoch of the runs that put the prediction to the test, after the rungs; 0: as many
    as the target has; None: it is not tested."""
    verified: tuple[int, ...] = ()
    """`verify` as it was before, of which there may be runs."""
    factor: float | None = None
    """How wide the plan said that the interval of the best rate at the target will be, its upper
    end divided by its lower one; None: not said."""

    def __post_init__(self) -> None:
        rungs, text = self.rungs, ",".join(map(str, self.rungs))
        if not LEAST_RUNGS <= len(rungs) <= MOST_RUNGS:
            raise UserError(f"--rungs {text}: give {LEAST_RUNGS} to {MOST_RUNGS} lengths")
        if rungs[0] < 1 or any(b <= a for a, b in pairwise(rungs)):
            raise UserError(f"--rungs {text}: give tokens an epoch, ascending, none twice")
        if not LEAST_RATES <= self.rates <= MOST_RATES:
            raise ValueError(f"{self.rates} rates a rung")
        if self.verify and self.verify <= rungs[-1]:
            raise UserError(
                f"--verify {self.verify}: the largest rung has {rungs[-1]} tokens an epoch; give "
                "more, or no number for the target"
            )

    @property
    def offsets(self) -> list[int]:
        """Where the rates of a rung lie about its centre, in steps of the lattice."""
        return [SPACING * (place - (self.rates - 1) // 2) for place in range(self.rates)]

    def lengths(self, target: int) -> tuple[int, ...]:
        """Tokens an epoch of all runs that there may be, ascending."""
        return tuple(sorted({*self.rungs, *self.verified, self.verify or target, target}))

    def verifying(self, verify: int | None) -> LadderSpec:
        """The same with other runs that put its prediction to the test."""
        before = {*self.verified, self.verify} - {None, 0, verify}
        return replace(self, verify=verify, verified=tuple(sorted(n for n in before if n)))

    def centre(self, rate: float, start: float) -> int:
        """The place about which a rung's rates lie that are to lie about `rate`; those of the first
        rung lie about `start`. Where trunks are shared the rates are to recur, so it is a whole
        number of a rung's spacings off the first rung's."""
        if not self.trunks:
            return lattice_place(rate)
        alike = LATTICE[(lattice_place(start) - LATTICE[0]) % SPACING :: SPACING]
        return min(alike, key=lambda place: abs(place - exact_place(rate)))

    def places(self, centre: int) -> list[int]:
        """The places of a rung's rates about this one, moved where they would leave the lattice."""
        step = SPACING if self.trunks else 1
        made = [centre + offset for offset in self.offsets]
        over = max(LATTICE[0] - made[0], 0) - max(made[-1] - LATTICE[-1], 0)
        moved = math.copysign(-(-abs(over) // step) * step, over)
        return [place + int(moved) for place in made]


def lattice_rate(place: int) -> float:
    """The learning rate at a place of the lattice, with three digits."""
    return float(f"{LATTICE_ORIGIN * LATTICE_STEP**place:.3g}")


def exact_place(rate: float) -> float:
    """Where `rate` lies on the lattice, also between its places and beyond them."""
    return math.log(rate / LATTICE_ORIGIN) / math.log(LATTICE_STEP)


def lattice_place(rate: float) -> int:
    """The place of the lattice's rate that is nearest to `rate`."""
    return min(max(round(exact_place(rate)), LATTICE[0]), LATTICE[-1])


def is_open(low: float, high: float) -> tuple[bool, bool]:
    """Whether an interval of rates ends beyond all that are tried, below and above: such an end
    bounds nothing."""
    return low < lattice_rate(LATTICE[0]), high > lattice_rate(LATTICE[-1])


def rate_range(low: float, high: float) -> str:
    """`0.00086 to 0.0045`; `0.0048 and above` where the upper end bounds nothing."""
    below, above = is_open(low, high)
    if below and above:
        return "any rate"
    if below or above:
        return f"{high:.2g} and below" if below else f"{low:.2g} and above"
    return f"{low:.2g} to {high:.2g}"


def run_tokens(config: RunConfig, tokens_per_epoch: int) -> int:
    """Training tokens of a run of so many an epoch, repeats counted: an epoch is whole sequences,
    so they may be fewer than was asked for."""
    seq_len = config.model.seq_len
    return tokens_per_epoch // seq_len * seq_len * config.train.epochs


def target_on(
    base: RunConfig, spec: LadderSpec, corpus: Mapping[str, Any], chosen: bool = True
) -> RunConfig:
    """The target as it is on the corpus of this manifest ({} is the built-in one): its tokens an
    epoch as a number, its warm-up as a share of its steps unless `share_trunks`. Raises `UserError`
    if the corpus has fewer tokens, or a rung is no shorter; the rungs may not be `chosen` yet."""
    seq_len = base.model.seq_len
    available = train_sequences(corpus, seq_len) * seq_len
    tokens = available if spec.whole else (base.train.tokens_per_epoch or 0) // seq_len * seq_len
    if spec.verify and spec.verify > tokens:
        raise UserError(
            f"--verify {spec.verify}: the target has {tokens} tokens an epoch; give at most as many"
        )
    if spec.verify and spec.verify // seq_len <= spec.rungs[-1] // seq_len:
        raise UserError(
            f"--verify {spec.verify}: in whole sequences of {seq_len} tokens that is no more than "
            f"the largest rung, {spec.rungs[-1]} tokens an epoch; give more, or no number for the "
            "target"
        )
    if tokens > available:
        raise UserError(
            f"--tokens-per-epoch {tokens:,}: the corpus has {available:,} training tokens, beyond "
            "which a run only repeats them: that is what more --epochs are for"
        )
    unit = seq_len * base.train.batch_size
    lengths = [-(-(rung // seq_len * seq_len) // unit) for rung in spec.rungs]
    if len(set(lengths)) < len(lengths):
        raise UserError(
            f"--rungs {','.join(map(str, spec.rungs))}: steps of {unit} tokens make them "
            f"{', '.join(map(str, lengths))} steps an epoch; give lengths that differ by a step"
        )
    if spec.rungs[-1] // seq_len * seq_len >= tokens:
        if not chosen:
            raise UserError(no_room(tokens))
        raise UserError(
            f"a rung of {spec.rungs[-1]:,} tokens an epoch is no shorter than the target's "
            f"{tokens:,}: search the target itself with --grid lr, or give smaller --rungs"
        )
    if (share := base.train.warmup_fraction or 0) > MOST_WARMUP:
        raise UserError(f"warmup_fraction={share:g}: give at most {MOST_WARMUP} to a ladder")
    target = own_recipe(base.replace(tokens_per_epoch=tokens), spec)
    if spec.warmup_steps is None or share_trunks(target, spec):
        return target
    length = RunLength.of(target, available // seq_len)
    steps = length.steps_per_epoch if base.train.schedule == "wsd" else length.total_steps
    if spec.warmup_steps > MOST_WARMUP * steps:
        raise UserError(
            f"warmup_steps={spec.warmup_steps}: the target has {steps:,} steps, of which at most "
            "half may be warm-up; give --space warmup_fraction=X, or a longer target"
        )
    share = round(spec.warmup_steps / steps, 4)
    return target.replace(warmup_steps=None, warmup_fraction=share)


def no_room(tokens: int) -> str:
    """What is said of a target that no rungs fit below."""
    return (
        f"--ladder: no {LEAST_RUNGS} rungs that are long enough to tell a rate fit below half of "
        f"the target's {tokens:,} tokens an epoch; search it with --grid lr"
    )


def share_trunks(target: RunConfig, spec: LadderSpec) -> bool:
    """Whether the rungs of this target are one run each until the shorter parts from the longer
    (`model/training/trunk.py`): under wsd, where all warm up for the same steps, which take no more
    of the shortest than a warm-up should."""
    lengths = rung_lengths(target, spec)
    warmups = {length.warmup_steps for length in lengths}
    alike = target.train.schedule == "wsd" and len(warmups) == 1
    return alike and max(warmups) <= most_warmup(lengths[0])


def most_warmup(shortest: RunLength) -> int:
    """The warm-up's steps at most where the shortest rung is to have as many as the target."""
    return min(int(WARMUP_SHARE_LIMIT * shortest.total_steps), shortest.constant_until)


def rung_lengths(target: RunConfig, spec: LadderSpec) -> list[RunLength]:
    """Of the rungs' runs, the shortest first."""
    made = [target.replace(tokens_per_epoch=rung) for rung in spec.rungs]
    return [RunLength.of(config, config.train.tokens_per_epoch or 0) for config in made]


def own_recipe(base: RunConfig, spec: LadderSpec) -> RunConfig:
    """The target in its own words: `warmup_steps` where the recipe gives them."""
    if spec.warmup_steps is None:
        return base
    return base.replace(warmup_steps=spec.warmup_steps, warmup_fraction=None)


def ladder_space(base: RunConfig, widths: Sequence[int], spec: LadderSpec) -> Space:
    """The axes of a ladder below the target `base`, and the cells that are planned: the rates of
    every rung about the base's. Which rates a rung really gets is decided as it is reached
    (`search/ladder/rounds.py`)."""
    target = base.train.tokens_per_epoch
    assert target is not None
    centre = lattice_place(base.train.lr_peak)
    rates: tuple[Value, ...] = tuple(map(lattice_rate, LATTICE))
    axes: dict[str, tuple[Value, ...]] = {TOKENS: spec.lengths(target)}
    axes |= {"embed_dim": tuple(widths)} if len(widths) > 1 else {}
    cells = tuple(
        {TOKENS: tokens, **({"embed_dim": width} if len(widths) > 1 else {}), "lr": rate}
        for tokens in spec.rungs
        for width in widths
        for rate in map(lattice_rate, spec.places(centre))
    )
    return Space(base=base, axes=axes | {"lr": rates}, cells=cells, named_grid=LADDER)


def ladder_widths(space: Space) -> tuple[int, ...]:
    """The widths of a ladder's rungs."""
    return space.axes.get("embed_dim", (AXES["embed_dim"].value(space.base),))

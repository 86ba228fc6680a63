"""What ladders expect of the claims about runs that are too long to try here.

A prediction is no run: a claim that the whole 95% interval agrees with is likely, one that no part
of it agrees with is unlikely, and between them it can't be told. An interval of losses that the
rungs themselves did not keep to says nothing. The recipe's numbers are training losses; what is
predicted is the validation loss, which differs little while text is repeated a few times only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minigpt_search.data.common.formatting import one_line
from minigpt_search.model.config import RunConfig
from minigpt_search.reports.claims.noise import UNTOLD, Interval
from minigpt_search.reports.claims.numbers import ALL_TOKENS
from minigpt_search.reports.claims.recipe import (
    CLAIMED_TOKENS,
    TOKENIZER,
    about,
    is_about,
    scored_tokens,
    settings_apart,
)
from minigpt_search.search.ladder.prediction import Prediction
from minigpt_search.search.ladder.ridge import SKEW, Ridge
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.ladder_spec import ladder_widths, own_recipe
from minigpt_search.search.space.presets import PRESETS

LIKELY, UNLIKELY = "likely", "unlikely"


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What ladders say of a claim."""

    claim: str
    """Its words, as in the table of claims."""
    text: str
    verdict: str
    """One of `LIKELY`, `UNLIKELY` and `UNTOLD`."""

    @property
    def sentence(self) -> str:
        """Both in one."""
        return f"predicted from the ladder: {self.text}: {self.verdict}"


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A run of the recipe, of which a ladder may say something."""

    epochs: int
    tokens: int = CLAIMED_TOKENS
    """An epoch."""
    width: int = PRESETS["full"].model.embed_dim

    @property
    def words(self) -> str:
        wide = "" if self.width == _Run.width else f" of width {self.width}"
        return f"{self.epochs} epochs of {self.tokens / 1e6:,.0f}M tokens{wide}"


_PERPLEXITIES = (
    ("Perplexity 330.39 after 3 epochs", 330.39, (_Run(epochs=3),)),
    ("Final perplexity 238.59", 238.59, (_Run(epochs=10),)),
    ("A width of 256 brings perplexity to about 90", 90, (_Run(epochs=10, width=256),)),
    (
        "15 to 20 epochs bring perplexity to about 180",
        180,
        (_Run(epochs=15), _Run(epochs=20)),
    ),
    (
        "All 475M tokens bring perplexity to about 120",
        120,
        (_Run(epochs=10, tokens=ALL_TOKENS),),
    ),
)
_BETTER = (
    (
        "Training longer (3 to 10 epochs) improves the model",
        (_Run(epochs=10),),
        _Run(epochs=3),
    ),
    (
        "15 to 20 epochs bring further gains",
        (_Run(epochs=15), _Run(epochs=20)),
        _Run(epochs=10),
    ),
    (
        "A width of 256 is better",
        (_Run(epochs=3, width=256),),
        _Run(epochs=3),
    ),
)
"""Claims that one of these runs is better than another."""
_RATES = "A rate of 5e-4 converges slowly, 1e-3 faster", 5e-4, 1e-3


def _target(results: Results) -> RunConfig:
    """A ladder's target, in its own words."""
    spec = results.experiment.ladder
    assert spec is not None
    return own_recipe(results.experiment.space.base, spec)


def ladder_differences(results: Results) -> list[str]:
    """Where a ladder's target differs from the recipe, but for the epochs, the width
    and the tokens, which claims are told apart by."""
    return _differences(_target(results), PRESETS["full"]) + _other_tokens(results, TOKENIZER)


def differences_of_ladders(ladders: Sequence[Results]) -> list[str]:
    """The same of each ladder's target and the first one's, under its search's name."""
    first, *others = ladders
    found = []
    for each in others:
        differs = _differences(_target(each), _target(first))
        differs += _other_tokens(each, first.experiment.corpus.tokenizer)
        if differs:
            found.append(f"{one_line(each.experiment.name)} has {', '.join(differs)}")
    return found


def _differences(mine: RunConfig, theirs: RunConfig) -> list[str]:
    return settings_apart(_comparable(mine), _comparable(theirs))


def _other_tokens(results: Results, usual: str) -> list[str]:
    own = results.experiment.corpus.tokenizer
    return [f"tokens of {one_line(own)} instead of {one_line(usual)}"] if own != usual else []


def _comparable(config: RunConfig) -> RunConfig:
    usual = PRESETS["full"]
    return config.replace(
        epochs=1,
        embed_dim=usual.model.embed_dim,
        lr_peak=usual.train.lr_peak,
        tokens_per_epoch=None,
        val_tokens=None,
        precision=usual.train.precision,
        seed=usual.train.seed,
    )


def expected_claims(ladders: Sequence[Results]) -> list[Expected]:
    """What these ladders, of the recipe, say of its claims; those of another recipe
    say nothing."""
    known = [each for each in ladders if not ladder_differences(each)]
    found = [_perplexity(known, *each) for each in _PERPLEXITIES]
    found += [_better(known, *each) for each in _BETTER]
    found.append(_rates(known))
    return [each for each in found if each is not None]


def smallest_rung(found: Prediction, width: float) -> float:
    """Tokens of the smallest rung of this width that counts, of any where none has it: nothing was
    fitted to shorter runs."""
    tokens, widths = np.exp(found.cells).T
    own = tokens[np.isclose(widths, width)]
    return float(min(own if len(own) else tokens))


def _predictions(ladders: Sequence[Results]) -> list[tuple[Results, Prediction]]:
    return [(each, p) for each in ladders if (p := each.ladder_prediction) is not None]


class _LossAhead(NamedTuple):
    """What a ladder expects of a run."""

    loss: Interval
    beyond: str
    """How far beyond the rungs it is."""
    held: bool
    """Whether the rungs kept to their own predictions."""
    scored: int
    """Validation tokens."""


def _loss(ladders: Sequence[Results], run: _Run) -> _LossAhead | None:
    """The predicted loss of a run; None where no ladder has its epochs and width and shorter
    rungs."""
    for results, found in _predictions(ladders):
        train = _target(results).train
        if train.epochs == run.epochs and run.width in ladder_widths(results.experiment.space):
            tokens = run.tokens * run.epochs
            if tokens < smallest_rung(found, run.width):
                continue
            loss = found.loss_at(tokens, run.width)
            beyond = f"{tokens / found.largest:.3g} times the tokens of the largest rung"
            held = all(check.loss_held for check in found.checks) and bool(found.checks)
            one = Interval(mean=loss.loss, low=loss.low, high=loss.high)
            return _LossAhead(one, beyond, held, scored_tokens(results.experiment))
    return None


def _perplexity(
    ladders: Sequence[Results], claim: str, perplexity: float, runs: Sequence[_Run]
) -> Expected | None:
    """Whether one of these runs comes to this perplexity, within 10% of it."""
    low, high = map(math.log, about(perplexity))
    texts, verdicts = [], []
    for run in runs:
        if (found := _loss(ladders, run)) is None:
            continue
        loss, beyond, held, _ = found
        shown = loss.perplexities()
        texts.append(f"{run.words}, {beyond}: validation perplexity {shown}")
        verdicts.append(_verdict(loss, low, high) if held else UNTOLD)
        texts[-1] += "" if held else ", which the rungs did not keep to"
    if not texts:
        return None
    return Expected(claim=claim, text="; ".join(texts), verdict=_any_of(verdicts, len(runs)))


def _better(
    ladders: Sequence[Results], claim: str, runs: Sequence[_Run], than: _Run
) -> Expected | None:
    """Whether one of these runs has a lower loss than another, as if the two predictions' errors
    had nothing in common: those of one ladder have, so its interval is on the safe side."""
    base = _loss(ladders, than)
    texts, verdicts = [], []
    for run in runs:
        found = _loss(ladders, run)
        if base is None or found is None:
            continue
        (one, beyond, held, scored), (other, _, other_held, other_scored) = found, base
        if scored != other_scored:
            texts.append(f"{run.words} is scored on other validation tokens than {than.words}")
            verdicts.append(UNTOLD)
            continue
        mean = one.mean - other.mean
        down = math.hypot(one.mean - one.low, other.high - other.mean)
        up = math.hypot(one.high - one.mean, other.mean - other.low)
        change = Interval(mean=mean, low=mean - down, high=mean + up)
        texts.append(
            f"{run.words} less {than.words}, {beyond}: {change.text('{:+.2f}')} nats of validation"
        )
        verdicts.append(_verdict(change, -math.inf, 0.0) if held and other_held else UNTOLD)
    if not texts:
        return None
    return Expected(claim=claim, text="; ".join(texts), verdict=_any_of(verdicts, len(runs)))


def _rates(ladders: Sequence[Results]) -> Expected | None:
    """Whether the faster rate is the better one at the recipe's size: the valley there is the
    same height at both where its lowest point is in between them."""
    claim, slow, fast = _RATES
    for results, found in _predictions(ladders):
        target = _target(results)
        tokens = found.rate.tokens / target.train.epochs
        if not is_about(tokens, CLAIMED_TOKENS) or found.rate.width != _Run.width:
            continue
        even = _even_at(found, slow, fast)
        rate = found.rate
        held = bool(found.checks) and all(check.rate_held for check in found.checks)
        best = Interval(mean=rate.rate, low=rate.low, high=rate.high)
        text = (
            f"best rate {best.text('{:.2g}')} after {_Run(epochs=target.train.epochs).words}, "
            f"{rate.tokens / found.largest:.3g} times the tokens of the largest rung; {fast:g} is "
            f"better than {slow:g} where it is above {even:.2g}"
        )
        text += "" if held else "; the rungs did not keep to theirs"
        verdict = _verdict(best, even, math.inf) if held else UNTOLD
        return Expected(claim=claim, text=text, verdict=verdict)
    return None


def _even_at(found: Prediction, slow: float, fast: float) -> float:
    """The best rate of the valley in which both rates come to the same loss."""
    ridge = found.rate.fit.problem
    assert isinstance(ridge, Ridge)
    best = np.linspace(math.log(slow), math.log(fast), 1001)
    skew = float(found.rate.fit.parameters[SKEW])
    heights = [ridge.valley(math.log(rate) - best, skew)[0] for rate in (slow, fast)]
    return float(math.exp(best[np.argmin(np.abs(heights[0] - heights[1]))]))


def _verdict(interval: Interval, low: float, high: float) -> str:
    if low <= interval.low and interval.high <= high:
        return LIKELY
    return UNLIKELY if interval.high < low or interval.low > high else UNTOLD


def _any_of(verdicts: Sequence[str], runs: int) -> str:
    """The verdict on a claim that one of so many runs is enough for."""
    if LIKELY in verdicts:
        return LIKELY
    return UNLIKELY if verdicts.count(UNLIKELY) == runs else UNTOLD

"""Rungs that a budget makes the best use of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.search.cli.make_experiment import make_experiment, with_corpus
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.ladder.design import expected_factor
from minigpt_search.search.ladder.ridge import Losses, Ridge
from minigpt_search.search.planning.budget import USABLE_SHARE
from minigpt_search.search.planning.calibration import Speed, Speeds
from minigpt_search.search.planning.checks import check_trials
from minigpt_search.search.planning.estimate import Estimator
from minigpt_search.search.planning.ladder_size import fit_ladder, ladder_price
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.space.ladder_spec import LadderSpec
from minigpt_search.search.trials.length import length_in

SPEED = Speed(training=400.0, scoring=40_000.0, memory_mb=500.0)
TARGET = (3e7, 128.0)


@pytest.fixture
def sized(
    search_root: Path, ladder_words: Sequence[str]
) -> Callable[..., tuple[Experiment, Estimator, list[str]]]:
    """`sized(*words)`: the ladder as it is made to fit at 400 training tokens a second."""

    def make(*words: str) -> tuple[Experiment, Estimator, list[str]]:
        place = list(ladder_words).index("--rungs")
        own = [*ladder_words[:place], *ladder_words[place + 2 :], *words]
        args = make_parser().parse_args(own)
        check_options(args)
        corpus = open_corpus(search_root / "corpus" / "small")
        experiment = with_corpus(make_experiment(args, "cpu"), corpus)
        speeds = Speeds({experiment.space.base: SPEED})
        estimator = Estimator(experiment, speeds, 700, length_in(corpus))
        made, _, lines = fit_ladder(experiment, estimator, 5.0, args.seeds)
        return made, estimator, lines

    return make


def test_more_time_tells_more(
    sized: Callable[..., tuple[Experiment, Estimator, list[str]]],
) -> None:
    factors = []
    for budget in ("2m", "4m", "20m"):
        experiment, estimator, lines = sized("--budget", budget)
        spec = experiment.ladder
        assert spec is not None and spec.factor is not None
        price = ladder_price(experiment, estimator)(spec)
        assert price <= USABLE_SHARE * (60 * int(budget[:-1]) - 5)
        assert spec.rungs[0] >= 800 and spec.rungs[-1] <= 4000
        assert all(tokens % 8 == 0 for tokens in spec.rungs)
        assert lines[0].startswith("Budget ") and "8,000 tokens in 1 epoch" in lines[1]
        factors.append(spec.factor)
    assert factors[0] >= factors[1] >= factors[2] - 0.2


def test_trials_that_are_taken_over_cost_nothing_at_whatever_rates(
    sized: Callable[..., tuple[Experiment, Estimator, list[str]]],
) -> None:
    """The lowest rung's own trials, and two of the next at rates that the plan didn't know."""
    experiment, estimator, _ = sized("--budget", "4m", "--max-concurrent", "1")
    trials = check_trials(experiment, estimator.length)
    rungs = sorted({t.config.train.tokens_per_epoch or 0 for t in trials})
    lowest, next_two = (
        [t for t in trials if t.config.train.tokens_per_epoch == tokens][:most]
        for tokens, most in zip(rungs, (None, 2), strict=False)
    )
    taken = {t.config for t in lowest} | {
        t.config.replace(lr_peak=0.1 / n) for n, t in enumerate(next_two, 1)
    }
    rest = [t for t in trials if t not in (*lowest, *next_two)]
    seconds = estimator.search(experiment, trials, taken)
    assert seconds == pytest.approx(estimator.search(experiment, rest))
    assert seconds < estimator.search(experiment, trials)


def test_what_does_not_fit_says_what_it_takes(
    sized: Callable[..., tuple[Experiment, Estimator, list[str]]],
) -> None:
    with pytest.raises(UserError, match="3 rungs of 100 steps and more take about") as refused:
        sized("--budget", "40s")
    needed = re.search(r"about ([\d.]+) s|about ([\d.]+) min", str(refused.value))
    assert needed is not None
    seconds = float(needed[1]) if needed[1] else 60 * float(needed[2])
    sized("--budget", f"{seconds + 5}s")  # as it was told
    with pytest.raises(UserError, match="fit below half of the target's 1,600"):
        sized("--budget", "20m", "--tokens-per-epoch", "1600")


def test_the_design_knows_what_helps() -> None:
    rungs = (70_000, 140_000, 280_000, 560_000)

    def factor(spec: LadderSpec, seeds: int = 1) -> float:
        return expected_factor(spec, (128,), TARGET, 3, seeds)

    usual = factor(LadderSpec(rungs=rungs))
    assert factor(LadderSpec(rungs=rungs, rates=6)) < usual
    assert factor(LadderSpec(rungs=rungs), seeds=3) < usual
    assert factor(LadderSpec(rungs=rungs[:3])) > usual
    assert factor(LadderSpec(rungs=(*rungs, 1_120_000))) < usual


def test_seeds_come_where_rungs_can_grow_no_more(
    sized: Callable[..., tuple[Experiment, Estimator, list[str]]],
) -> None:
    """Another rate or a longer rung tells more, until the largest has half of the target."""
    assert sized("--budget", "2m")[0].noise.seeds == 1
    many, estimator, lines = sized("--budget", "3h")
    spec = many.ladder
    assert spec is not None and many.noise.seeds > 1
    assert ladder_price(many, estimator)(spec) <= USABLE_SHARE * (3 * 3600 - 5)
    assert f"{spec.rates} rates of {many.noise.seeds} seeds each a rung" in lines[2]
    alone, _, _ = sized("--budget", "3h", "--seeds", "1")
    assert alone.noise.seeds == 1 and alone.ladder is not None
    assert alone.ladder.factor is not None and spec.factor is not None
    assert spec.factor < alone.ladder.factor


def test_what_a_family_misses_a_rate_by_no_number_of_seeds_takes_away() -> None:
    rate = np.repeat([1e-4, 1e-3, 1e-2], 400)
    ones = np.ones_like(rate)
    loss = np.where(rate == 1e-3, 5.0, 5.5)
    ridge = Ridge(
        Losses(1e6 * ones, 128 * ones, rate, loss), TARGET, smooth=False, variance=0.03**2
    )
    precision = ridge.whiten.T @ ridge.whiten
    of_rate = 1 / np.array([precision[rate == r][:, rate == r].sum() for r in np.unique(rate)])
    assert of_rate == pytest.approx(0.03**2 / 400 + np.array([0.175, 0.0, 0.175]) ** 2)

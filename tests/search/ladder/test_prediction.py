"""From a made-up ledger to the five lines: a point where the rungs agree, none where they don't."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from minigpt_search.search.answer.answer import answer
from minigpt_search.search.answer.ladder_answer import check_lines
from minigpt_search.search.ladder.best_rate_ahead import rate_ahead
from minigpt_search.search.ladder.prediction import predict
from minigpt_search.search.ladder.rounds import Point, losses_of
from minigpt_search.search.results.results import Results
from minigpt_search.search.trials.trial import Trial

Losses = Callable[..., Callable[[Trial], float | None]]


def test_a_steady_drift_is_predicted(results_of: Callable[..., Results], loss_of: Losses) -> None:
    results = results_of(loss_of(slope=-0.3, sd=0.01, steep=0.2))
    found = results.ladder_prediction
    assert found is not None and found.refused == ""
    best = 1e-3 * 10**-0.3
    assert found.rate.low < best < found.rate.high
    assert found.rate.rate == pytest.approx(best, rel=0.25)
    true_loss = 5 + 2 * 10**-0.3
    assert found.loss.low < true_loss < found.loss.high
    said = answer(results)
    assert said.use.startswith(f"lr={found.lattice_rate:g} at 8,000 tokens and width 8, 2.5 times")
    assert "expected to beat a bigram table (6.40) from about 2,200 tokens on" in said.loss
    assert "not expected to beat a trigram table (3.00)" in said.loss
    # The rate is trained where its outcome is put beside the prediction.
    name = results.experiment.name
    assert said.steps[0].command == f"python search/run.py --resume {name} --verify"
    elsewhere = answer(results, "/else where").steps[0].command
    assert elsewhere == f"{said.steps[0].command} --out '/else where'"
    assert [line.count("held") for line in check_lines(results)] == [2]


def test_the_target_s_command_gives_each_flag_once(
    results_of: Callable[..., Results], loss_of: Losses
) -> None:
    said = answer(results_of(loss_of(sd=0.05, steep=0.005), "--schedule", "wsd"))
    search = said.steps[-1].command
    assert "--preset quick" in search and "--tokens-per-epoch 8000" in search
    assert search.count("wsd") == 1 and "--schedule wsd" in search


def test_widths_are_weighed_at_the_same_cost(
    results_of: Callable[..., Results], loss_of: Losses
) -> None:
    results = results_of(loss_of(sd=0.01), "--embed-dim", "8,16", "--space", "n_heads=2")
    said, found = answer(results), results.ladder_prediction
    assert found is not None
    words = re.search(
        r"for the same FLOP (.+) \((.+) to (.+)\) by width 8 on ([\d,]+) tokens "
        r"\((.+) times the largest rung, more than the corpus has\)$",
        said.loss,
    )
    assert words is not None
    tokens = int(words[4].replace(",", ""))
    train = results.experiment.corpus.manifest["splits"]["train"]["tokens"]
    assert train < tokens and float(words[5]) == pytest.approx(tokens / 3200, rel=1e-2)
    loss = found.loss_at(tokens, 8)
    assert [float(words[n]) for n in (1, 2, 3)] == pytest.approx(
        [loss.loss, loss.low, loss.high], abs=6e-3
    )
    assert loss.low < loss.loss < loss.high


def test_nothing_is_said_of_a_width_that_would_be_shorter_than_the_rungs(
    results_of: Callable[..., Results], loss_of: Losses
) -> None:
    words = ("--embed-dim", "128,512", "--rungs", "5000,6000,7000")
    said = answer(results_of(loss_of(sd=0.01), *words))
    assert said.loss.endswith("for the same FLOP a run of width 512 is shorter than the rungs")


@pytest.mark.parametrize(
    ("words", "left_out"),
    [((), "tables of counts"), (("--embed-dim", "8,16"), "tables of counts and other widths")],
)
def test_what_a_loss_not_to_be_relied_on_leaves_out_is_said(
    results_of: Callable[..., Results], loss_of: Losses, words: tuple[str, ...], left_out: str
) -> None:
    usual = loss_of(sd=0.01, steep=0.2)

    def loss(trial: Trial) -> float | None:
        missed = trial.config.train.tokens_per_epoch == 3200
        return (usual(trial) or 0.0) + (2.0 if missed else 0.0)

    said = answer(results_of(loss, *words)).loss
    assert "not to be relied on: the rungs below missed the loss at 3,200" in said
    assert said.endswith(f"; {left_out} are left out for that")
    assert "bigram" not in said and "for the same FLOP" not in said


def test_a_rung_that_the_others_did_not_predict_refuses_the_point(
    results_of: Callable[..., Results], loss_of: Losses
) -> None:
    low, high = loss_of(sd=0.01, steep=0.3), loss_of(best=1.2e-2, sd=0.01, steep=0.3)

    def loss(trial: Trial) -> float | None:
        return (high if trial.config.train.tokens_per_epoch == 2400 else low)(trial)

    results = results_of(loss, "--tokens-per-epoch", "9000", "--rungs", "800,1600,2400")
    found = results.ladder_prediction
    assert found is not None and not found.checks[0].rate_held
    said = answer(results)
    assert said.use.startswith("not predictable from these rungs (the rungs below did not predict")
    assert "95% interval" in said.use
    assert "--extend" in said.steps[0].command and len(said.steps) == 2
    # The search over the interval reaches the rate that the longest rung's best was at.
    assert float(found.checks[0].found_rate) == pytest.approx(1.2e-2, rel=0.3)
    assert "0.0113" in said.steps[1].command


def test_flat_valleys_refuse_the_point(results_of: Callable[..., Results], loss_of: Losses) -> None:
    results = results_of(loss_of(steep=0.005, sd=0.05))
    found = results.ladder_prediction
    assert found is not None and "an end of the interval lies beyond all rates" in found.refused
    assert f"95% interval {found.rate.high:.2g} and below" in answer(results).use
    step = answer(results).steps[-1]
    assert step.why == "search the target over a part of the interval"
    words = step.command.split()
    rates = [float(rate) for rate in words[words.index("--lr") + 1].split(",")]
    assert len(rates) == 3 and all(b / a < 10 for a, b in pairwise(rates))
    open_ends = [line for line in check_lines(results) if "and below" in line or "any" in line]
    assert open_ends and "e-" not in "".join(open_ends)


def test_an_interval_that_is_too_wide_refuses_the_point(
    results_of: Callable[..., Results], loss_of: Losses
) -> None:
    found = results_of(loss_of(steep=0.015, sd=0.03)).ladder_prediction
    assert found is not None and "wide, over" in found.refused


def test_a_check_without_ends_checks_nothing(
    results_of: Callable[..., Results], loss_of: Losses
) -> None:
    found = results_of(loss_of(slope=-0.3, sd=0.01, steep=0.2)).ladder_prediction
    assert found is not None and found.refused == ""
    (check,) = found.checks
    open_above = dataclasses.replace(check, high=3.4e4)
    without = dataclasses.replace(found, checks=(open_above,))
    assert "to an interval with two ends: none is checked" in without.refused
    assert dataclasses.replace(found, checks=(open_above, check)).refused == ""


def test_another_width_makes_the_rate_no_surer() -> None:
    """Flat valleys with a wall below, of two widths: together they gave a point, 0.0018 (0.00086 to
    0.0045), that was wrong; by the target's own width there was none."""
    rng, points = np.random.default_rng(6), []
    for tokens in (26_880, 53_760, 107_520, 215_040):
        for width in (16, 32):
            for rate in 5e-4 * 2.0 ** np.arange(6):
                wall = 0.4 * max(0.0, math.log(1.5e-3 * 32 / width / rate)) ** 1.3
                loss = 4 - 0.3 * math.log(tokens / 26_880) + wall + rng.normal(0, 0.06)
                points.append(Point(tokens=tokens, width=width, rate=rate, replicate=0, loss=loss))
    own = [point for point in points if point.width == 32]
    both, alone = (
        predict(known, (537_600, 32), delta=0.01, uniform=5.5) for known in (points, own)
    )
    assert both is not None and alone is not None
    together = rate_ahead(losses_of(points), (537_600, 32), 0.01)
    assert together.factor < 5 and alone.rate.factor > 10
    assert both.rate.low <= alone.rate.low and both.rate.high >= alone.rate.high
    assert alone.refused and both.refused


def test_a_check_names_the_width_where_there_are_several(
    results_of: Callable[..., Results], loss_of: Losses
) -> None:
    words = ("--embed-dim", "8,16", "--space", "n_heads=2")
    found = results_of(loss_of(sd=0.01), *words).ladder_prediction
    assert found is not None
    failed = [dataclasses.replace(check, loss_held=False) for check in found.checks]
    said = dataclasses.replace(found, checks=tuple(failed)).loss_caveat
    assert said.endswith("at 3,200 tokens (width 8), 3,200 tokens (width 16)")


@pytest.mark.parametrize(("lost", "why"), [(1, "came to no result on the rung"), (9, "fewer")])
def test_no_point_is_given_that_the_largest_rung_lost(
    results_of: Callable[..., Results], loss_of: Losses, lost: int, why: str
) -> None:
    usual = loss_of(best=4e-3, sd=0.01, steep=0.2)

    def loss(trial: Trial) -> float | None:
        train = trial.config.train
        too_high = train.lr_peak > (3e-3 if lost == 1 else 1e-9)
        return None if train.tokens_per_epoch == 6400 and too_high else usual(trial)

    found = results_of(loss, "--rungs", "800,1600,3200,6400").ladder_prediction
    assert found is not None and why in found.refused
    assert found.largest == (6400 if lost == 1 else 3200)


def test_rates_below_those_that_diverged_are_tried_until_three_train(
    results_of: Callable[..., Results], loss_of: Losses
) -> None:
    usual = loss_of(best=1e-3, sd=0.01, steep=0.2)

    def loss(trial: Trial) -> float | None:
        return None if trial.config.train.lr_peak > 1.1e-3 else usual(trial)

    results = results_of(loss)
    assert results.ladder_prediction is not None
    assert results.ladder_prediction.passed_over == ()


def test_one_width_that_diverges_takes_no_other_with_it(
    results_of: Callable[..., Results], loss_of: Losses
) -> None:
    usual = loss_of(sd=0.01, steep=0.2)

    def loss(trial: Trial) -> float | None:
        longest = trial.config.train.tokens_per_epoch == 3200
        return None if longest and trial.config.model.embed_dim == 16 else usual(trial)

    found = results_of(loss, "--embed-dim", "8,16").ladder_prediction
    assert found is not None and found.largest == 3200
    assert [(check.tokens, check.width) for check in found.checks] == [(3200, 8)]


def test_before_two_rungs_there_is_no_prediction(
    results_of: Callable[..., Results], loss_of: Losses
) -> None:
    results = results_of(lambda trial: None)
    assert results.ladder_prediction is None
    said = answer(results)
    assert "no two rungs have three rates" in said.use and "longer rungs" in said.steps[0].why

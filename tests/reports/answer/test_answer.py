"""The five lines on ledgers that can be checked by hand, and every command read back."""

from __future__ import annotations

import dataclasses
import math
import shlex
from typing import Any

import pytest
from scipy import stats

from minigpt_search.model.model_size import flops_per_token
from minigpt_search.model.records import DIVERGED, FAILED, STOPPED
from minigpt_search.reports.page.findings import summary
from minigpt_search.search.answer.answer import answer
from minigpt_search.search.answer.text_table import trials_table
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.presets import PRESETS, QUICK

RATES = (5e-4, 1e-3, 2e-3)


def test_one_seed_each_is_said_and_the_cost_is_counted(made: Any, read_back: Any) -> None:
    experiment, ledger = made({"lr": RATES}, {5e-4: [7.2], 1e-3: [7.0], 2e-3: [7.1]})
    found = answer(Results(experiment, ledger))
    lines = found.lines()
    assert [line.split()[0] for line in lines[:5]] == ["Use", "Loss", "Costs", "Next", "Command"]
    assert lines[0].startswith(
        "Use        lr=0.001 (for 614,400 tokens, 32×64 a batch, linear decay); within 0.01 nats "
        "of the best of all rates are 0.00095 to 0.0014"
    )
    assert "7.0000 nats (one seed, so no interval)" in lines[1]
    assert "one seed each: whether it is really the best can't be told" in lines[1]
    flop = 614_400 * flops_per_token(experiment.space.base.model)
    assert f"6,837,888 parameters, 614,400 tokens, {flop:.2g} FLOP" in lines[2]
    assert "one seed each" in found.steps[0].why
    assert lines[4] == "Command    python search/run.py --extend lr-quick --confirm 2"
    assert found.alarms == () and len(lines) == 5
    assert read_back(found)[0][0] == {"lr": RATES}
    assert Results(experiment, ledger).winning_trial == ledger.best()


def test_replicates_decide_by_their_mean_and_not_by_one_lucky_seed(
    made: Any, read_back: Any
) -> None:
    losses = {5e-4: [7.3, 7.31, 7.32], 1e-3: [7.1, 7.11, 7.12], 2e-3: [7.0, 7.4, 7.5]}
    experiment, ledger = made({"lr": RATES}, losses, seeds=3)
    found = answer(Results(experiment, ledger))
    assert found.winner is not None and found.winner.configuration.values == {"lr": 1e-3}
    assert Results(experiment, ledger).winning_trial == found.winner.trial
    assert found.winner.trial.final.val_loss_nats == 7.11  # not the luckiest
    assert Results(experiment, ledger).why_winning_trial == "the median of its 3 seeds"
    assert "7.1100 nats (shrunk, since it was chosen of 3 by them: 7.1" in found.loss
    assert "not separable from lr=0.002" in found.loss
    assert "not separable from lr=0.002" in found.steps[0].why
    read_back(found)


def test_the_reports_sentence_and_its_table_follow_the_winner(made: Any) -> None:
    losses = {5e-4: [7.3, 7.31, 7.32], 1e-3: [7.1, 7.11, 7.12], 2e-3: [7.0, 7.4, 7.5]}
    experiment, ledger = made({"lr": RATES}, losses, seeds=3)
    told = summary(Results(experiment, ledger))
    assert "lr=0.001 with a mean validation loss of 7.1100 nats" in told and "over 3 seeds" in told
    table = trials_table(Results(experiment, ledger))
    best = table["notes"] == "best by the mean of its seeds"  # a seed of 2e-3 is lower
    assert list(table["trial"][best]) == ["lr=0.001, seed 2"]


def test_a_clear_winner_is_separated(made: Any) -> None:
    losses = {5e-4: [7.5, 7.51, 7.52], 1e-3: [7.1, 7.11, 7.12], 2e-3: [7.3, 7.31, 7.32]}
    experiment, ledger = made({"lr": RATES}, losses, seeds=3)
    found = answer(Results(experiment, ledger))
    assert "; separated from lr=0.002 (0.2000 nats behind, p = 1.6e-05), lr=0.0005 (" in found.loss
    assert found.loss.endswith("; p ≤ 0.017 separates: 5% shared by 3 pairs (Bonferroni)")
    assert "not separable" not in " ".join(found.lines())
    assert "of the corpus: look around the winner" not in found.steps[0].why  # whole corpus here
    assert found.steps[0].command == "python search/rerun.py lr-quick"


@pytest.mark.parametrize("upper", [True, False])
def test_the_best_at_an_edge_is_an_alarm_with_the_command_that_extends(
    made: Any, read_back: Any, upper: bool
) -> None:
    step = -0.1 if upper else 0.1
    losses = {rate: [7 + step * i] for i, rate in enumerate(RATES)}
    experiment, ledger = made({"lr": RATES}, losses)
    found = answer(Results(experiment, ledger), "my place")
    assert len(found.alarms) == 1 and ("upper" if upper else "lower") in found.alarms[0]
    assert found.steps[0].command.endswith("--out 'my place'")
    axes, _ = read_back(found)[0]
    assert set(axes["lr"]) == {*RATES, 4e-3 if upper else 2.5e-4}


def test_at_the_highest_rate_there_is_no_other_is_advised(made: Any, read_back: Any) -> None:
    """Twice a rate of 1 is none."""
    base = PRESETS["quick"].replace(seed=0)
    experiment, ledger = made({"lr": (1e-3, 1.0)}, {1e-3: [7.2], 1.0: [7.0]}, base=base)
    found = answer(Results(experiment, ledger))
    assert found.alarms[0].endswith("edge of its grid, and no rate above it is taken")
    whole = next(step.command for step in found.steps if "--preset full" in step.command)
    assert "--lr 0.5,1.0 " in f"{whole} "
    read_back(found)


def test_a_samplers_range_is_widened_and_it_gets_more_trials(made: Any, read_back: Any) -> None:
    experiment, ledger = made(
        {"lr": (1e-4, 1e-2)}, {9.9e-3: [7.0], 1e-3: [7.1]}, sampler="tpe", samples=2
    )
    found = answer(Results(experiment, ledger))
    words = shlex.split(found.steps[0].command)
    assert words[2:] == ["--extend", "lr-quick", "--space", "lr=0.0001:0.02:log", "--trials", "3"]
    read_back(found)
    confirm = next(step for step in found.steps if "--confirm" in step.command)
    assert "--confirm 2" in confirm.command


def test_overfitting_is_an_alarm_with_its_epoch_and_a_shorter_run_is_next(
    made: Any, read_back: Any
) -> None:
    losses = {1e-3: [(7.0, 6.5, 6.9)], 5e-4: [(8.0, 7.5, 7.2)], 2e-3: [(8.0, 7.5, 7.3)]}
    experiment, ledger = made({"lr": RATES}, losses)
    # Training loss is given as validation loss + 0.125 by the builder: here both rose.
    found = answer(Results(experiment, ledger))
    assert "the best epoch isn't the last" in found.alarms[0]
    fell = [
        dataclasses.replace(epoch, train_loss_nats=8.0 - epoch.epoch)
        for epoch in ledger.trials[0].epochs
    ]
    ledger.append(dataclasses.replace(ledger.trials[0], epochs=tuple(fell)))
    found = answer(Results(experiment, ledger))
    assert found.alarms == (
        "validation loss turned up after epoch 2 of 3 (by 0.4000 nats) while training loss fell: "
        "overfitting",
    )
    assert found.steps[0].why.startswith("it was best after epoch 2 of 3")
    axes, base = read_back(found)[0]
    assert axes == {"epochs": (2, 3)} and base.train.lr_peak == 1e-3


def test_a_long_warmup_and_seeds_that_diverged_are_alarms(build: Any, made: Any) -> None:
    base = build.plan().space.base.replace(warmup_steps=100)
    experiment, ledger = made({"lr": RATES}, {1e-3: [7.0]}, base=base, seeds=2)
    ledger.append(build.trial(experiment, {"lr": 1e-3}, (), DIVERGED, replicate=1))
    found = answer(Results(experiment, ledger))
    assert any(alarm.startswith("the warm-up is 33% of the run") for alarm in found.alarms)
    assert "1 of its 2 seeds diverged" in found.alarms


def test_a_rival_that_diverged_with_a_seed_is_left_out_of_how_sure_it_is(
    build: Any, made: Any
) -> None:
    losses = {5e-4: [7.5, 7.51, 7.52], 1e-3: [7.3, 7.31, 7.32], 2e-3: [7.0, 7.01]}
    experiment, ledger = made({"lr": RATES}, losses, seeds=3)
    ledger.append(build.trial(experiment, {"lr": 2e-3}, (8.0,), DIVERGED, replicate=2))
    found = answer(Results(experiment, ledger))
    assert found.winner is not None and found.winner.configuration.values == {"lr": 1e-3}
    assert "separated from lr=0.0005 (0.2000 nats behind, p = " in found.loss
    assert found.loss.endswith("p ≤ 0.05 separates; lr=0.002 left out: diverged with a seed")


def test_p_is_of_the_one_that_is_named_and_it_is_among_those_to_confirm(made: Any) -> None:
    losses = {5e-4: [7.2, 7.4, 7.6], 1e-3: [7.3, 7.301, 7.299], 2e-3: [7.31, 7.311, 7.309]}
    experiment, ledger = made({"lr": RATES}, losses, seeds=3)
    found = answer(Results(experiment, ledger))
    p = stats.ttest_ind(losses[1e-3], losses[5e-4], equal_var=False).pvalue
    assert f"not separable from lr=0.0005 (0.1000 nats behind, p = {p:.2g}), " in found.loss
    p = stats.ttest_ind(losses[1e-3], losses[2e-3], equal_var=False).pvalue
    assert f"separated from lr=0.002 (0.0100 nats behind, p = {p:.2g}); p ≤ 0.017" in found.loss
    assert found.steps[0].command.endswith("--confirm 3")


def test_a_p_stands_on_its_side_of_the_level_as_printed_too(confirmed: Any) -> None:
    """Two looks: p = 0.0254 and a level of 0.025 are the same in two digits."""
    a = (7.0, 7.1, 7.05, 6.95)
    b = tuple(loss + 0.1353 for loss in a)
    p = stats.ttest_ind(a, b, equal_var=False).pvalue
    assert 0.0250 < p < 0.0255
    losses = {1e-3: a, 2e-3: b}
    experiment, ledger = confirmed(lambda rate, replicate: losses[rate][replicate - 1])
    found = answer(Results(experiment, ledger))
    assert "not separable from lr=0.002" in found.loss
    assert f"p = {p:.3g}); p ≤ 0.025 separates: 5% shared by 2 looks" in found.loss


def test_what_is_far_behind_gets_no_fresh_seeds_but_a_sampler_more_trials(
    build: Any, made: Any, read_back: Any
) -> None:
    axes, losses = {"lr": (1e-4, 1e-2)}, {3e-3: [7.0], 1e-3: [7.6]}
    experiment, ledger = made(axes, losses, sampler="tpe", samples=10)
    for rate in (2e-4, 3e-4, 4e-4, 5e-4, 6e-4, 7e-4, 8e-4, 9e-4):
        ledger.append(build.trial(experiment, {"lr": rate}, (), STOPPED))
    found = answer(Results(experiment, ledger))
    assert not any("--confirm" in step.command for step in found.steps)
    assert found.steps[0].why == (
        "the next is 0.60 nats behind, where seeds seldom make 0.17: try more configurations"
    )
    assert found.steps[0].command == "python search/run.py --extend lr-quick --trials 15"
    read_back(found)


@pytest.mark.parametrize(("spread", "advised"), [(0.002, False), (0.1, True)])
def test_where_seeds_were_measured_their_spread_says_what_is_close(
    build: Any, made: Any, spread: float, advised: bool
) -> None:
    """A single seed finished of the second: 0.1 nats behind."""
    losses = {5e-4: [7.5, 7.5 + spread], 1e-3: [7.0, 7.0 + spread], 2e-3: [7.1 + spread / 2]}
    experiment, ledger = made({"lr": RATES}, losses, seeds=2)
    ledger.append(build.trial(experiment, {"lr": 2e-3}, (8.0,), STOPPED, replicate=1))
    found = answer(Results(experiment, ledger))
    assert "lr=0.002 (0.1000 nats behind, too few seeds for a test)" in found.loss
    assert any("--confirm" in step.command for step in found.steps) == advised


def test_where_every_result_costs_too_much_that_is_said(made: Any) -> None:
    losses = {rate: [7.0] for rate in RATES}
    experiment, ledger = made({"lr": RATES}, losses, max_cost="1s")
    found = answer(Results(experiment, ledger))
    assert found.use == "all 3 complete trials cost more than --max-cost 1s"
    assert found.use in found.steps[0].why


def test_a_failed_trial_is_of_the_search_and_not_of_confirming(build: Any, made: Any) -> None:
    experiment, ledger = made({"lr": RATES}, {rate: [7.0] for rate in RATES[:2]})
    ledger.append(build.trial(experiment, {"lr": 2e-3}, (), FAILED, device=None))
    why = answer(Results(experiment, ledger)).steps[0].why
    assert why.startswith("the search is unfinished: 1 trial to go, 1 of them failed")


def test_what_is_unfinished_comes_first(build: Any, made: Any, read_back: Any) -> None:
    experiment, ledger = made({"lr": RATES}, {2e-3: [7.0]})
    ledger.append(build.trial(experiment, {"lr": 1e-3}, (), FAILED, error="lost"))
    found = answer(Results(experiment, ledger))
    assert found.steps[0].why == (
        "the search is unfinished: 2 trials to go, 1 of them failed and is tried again"
    )
    assert found.steps[0].command == "python search/run.py --resume lr-quick"
    assert "so far" in found.loss
    read_back(found)


def test_without_a_result_there_still_is_a_next_step(build: Any, made: Any) -> None:
    experiment, ledger = made({"lr": RATES}, {})
    found = answer(Results(experiment, ledger))
    assert len(found.lines()) == 5 and "no trial is complete" in found.lines()[0]
    for rate in RATES:
        ledger.append(build.trial(experiment, {"lr": rate}, (), DIVERGED))
    found = answer(Results(experiment, ledger))
    assert found.steps[0].command == "python reports/generate.py lr-quick"


def test_fresh_seeds_give_the_winners_number(confirmed: Any) -> None:
    experiment, ledger = confirmed(lambda rate, r: 7.2 - 100 * (rate - 1e-3) + r / 1000)
    found = answer(Results(experiment, ledger))
    assert found.use.startswith("lr=0.002")
    assert "4 fresh seeds" in found.loss and "separated from lr=0.001" in found.loss
    assert found.winner is not None and found.winner.trial.replicate == 1
    assert Results(experiment, ledger).why_winning_trial == "the first of its 4 fresh seeds"
    assert Results(experiment, ledger).winner == found.winner


def test_when_the_seeds_are_spent_twice_as_many_are_advised(confirmed: Any, read_back: Any) -> None:
    losses = {1e-3: (7.20, 7.24, 7.22, 7.26), 2e-3: (7.19, 7.21, 7.23, 7.20)}
    experiment, ledger = confirmed(lambda rate, replicate: losses[rate][replicate - 1])
    found = answer(Results(experiment, ledger))
    assert "not separable from lr=0.001" in found.loss
    step = next(step for step in found.steps if "--confirm-seeds" in step.command)
    assert shlex.split(step.command)[-1] == "8"
    # 2.80 standard errors are found with 80% power at 5%: for what matters, not for what was seen.
    spread = math.sqrt((0.0258**2 + 0.0171**2) / 2)
    apart, needed = 2.8016 * spread * math.sqrt(2 / 8), 2 * (2.8016 * spread / 0.01) ** 2
    assert f"8 fresh seeds each tell {apart:.2g} nats apart" in step.why
    assert step.why.endswith(
        f", {math.ceil(needed)} the 0.01 that matter; looking further spends another 5%"
    )
    read_back(found)
    coarse = experiment.replace(delta_nats=0.06)
    found = answer(Results(coarse, ledger))
    assert "lr=0.001 is as good within 0.06 nats: take either" in found.loss
    assert all("--confirm-seeds" not in step.command for step in found.steps)


def test_of_several_that_compete_the_winners_number_is_shrunk(made: Any) -> None:
    losses = {5e-4: [7.12, 7.16], 1e-3: [7.10, 7.13], 2e-3: [7.11, 7.15]}
    experiment, ledger = made({"lr": RATES}, losses, seeds=2)
    results = Results(experiment, ledger)
    found = answer(results)
    assert found.winner is not None
    mine = results.shrunk[found.winner.configuration.config]
    assert 7.115 < mine.mean < 7.13 and mine.low < mine.mean < mine.high
    assert f"chosen of 3 by them: {mine.mean:.4f}, 95% interval {mine.low:.4f} to" in found.loss
    assert "nats of the best tried with probability" in found.loss
    assert ", not excluded: lr=0.002 (" in found.loss and ", lr=0.0005 (" in found.loss


def test_a_part_of_the_corpus_leads_to_the_whole_around_the_winner(
    made: Any, read_back: Any
) -> None:
    base = QUICK.replace(epochs=3, embed_dim=64)
    losses = {5e-4: [7.5, 7.5], 1e-3: [7.1, 7.1], 2e-3: [7.3, 7.3]}
    experiment, ledger = made({"lr": RATES}, losses, base=base, seeds=2)
    found = answer(Results(experiment, ledger))
    assert found.steps[0].why.startswith("an epoch was 1.1% of the corpus")
    axes, wanted = read_back(found)[0]
    assert axes == {"lr": RATES} and wanted == PRESETS["full"].replace(embed_dim=64)

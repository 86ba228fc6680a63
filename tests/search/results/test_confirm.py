"""`--confirm`: what is due follows from the ledger alone, and looking often finds no difference
where there is none."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import COMPLETE, DIVERGED, FAILED, EpochRecord, Timing
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.planning.plan_text import confirm_line
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.configurations import Configuration, configurations_of
from minigpt_search.search.results.confirm import confirmation_state, interim_seed_counts
from minigpt_search.search.results.results import Results
from minigpt_search.search.trials.trial import Trial, make_trial

RATES = (1e-3, 2e-3, 3e-3)
Loss = Callable[[float, int], float | str | None]
"""Of a rate and a replicate; None: it diverges; a text: it fails for that reason."""


def plan(k: int = 2, most: int = 8, *words: str) -> Experiment:
    rates = ",".join(map(str, RATES))
    flags = ["--lr", rates, "--preset", "quick", "--confirm", str(k), "--confirm-seeds", str(most)]
    args = make_parser().parse_args([*flags, *words])
    check_options(args)
    return make_experiment(args, "cpu").replace(content_hash="abc")


def record(trial: Trial, loss: float | str | None) -> TrialRecord:
    done = isinstance(loss, float)
    epoch = EpochRecord(
        epoch=1,
        train_loss_nats=7.5,
        val_loss_nats=loss if isinstance(loss, float) else 0.0,
        val_perplexity=math.exp(loss) if isinstance(loss, float) else 1.0,
        val_bits_per_byte=2.1,
        lr_last=0.0,
        grad_norm_mean=1.0,
        tokens_seen=1,
        wall_seconds=1.0,
        steps_per_second=1.0,
        peak_memory_mb=1.0,
    )
    return TrialRecord(
        trial_id=trial.trial_id,
        config=trial.config,
        replicate=trial.replicate,
        status=COMPLETE if done else DIVERGED if loss is None else FAILED,
        epochs=(epoch,) if done else (),
        error=None if done else str(loss),
        steps=1,
        timing=Timing(),
        device=None,
        versions={},
        checkpoint=None,
        attempts=1,
        ended_at="2026-01-01T00:00:00+00:00",
    )


def searched(experiment: Experiment, path: Path, loss: Loss) -> Ledger:
    """The ledger of the search itself."""
    ledger = Ledger(path)
    for rate in RATES:
        for replicate in range(experiment.noise.seeds):
            trial = make_trial(experiment, {"lr": rate}, replicate)
            ledger.append(record(trial, loss(rate, replicate)))
    return ledger


def due(experiment: Experiment, ledger: Ledger) -> list[tuple[float, int]]:
    now = Results(experiment, ledger).confirmation
    assert now is not None
    return [(cell.values["lr"], replicate) for cell, replicate in now.due]


def confirm(experiment: Experiment, ledger: Ledger, loss: Loss) -> None:
    """Train what is due until nothing is, as `Search` does; each trial after a look at the ledger
    as a resumed search has it."""
    while waiting := due(experiment, Ledger(ledger.path)):
        rate, replicate = waiting[0]
        trial = make_trial(experiment, {"lr": rate}, replicate)
        ledger.append(record(trial, loss(rate, replicate)))


def test_flags_and_plan(tmp_path: Path) -> None:
    experiment = plan(3, 5)
    assert (experiment.noise.confirm, experiment.noise.confirm_seeds) == (3, 5)
    assert experiment.planned_trials == 3 and experiment.most_trials == 18
    alone = experiment.replace(max_concurrent=1)
    assert experiment.noise.delta_nats == 0.01
    assert plan(2, 8, "--delta", "0.002").noise.delta_nats == 0.002
    line = confirm_line(alone, [10.0, 20.0, 2.0, 4.0])  # the most expensive three
    assert "the 3 best get 2 to 5 fresh seeds" in line
    assert "up to 15 more trials and 3.2 min" in line
    # 5 times 34 s; 3 rounds of 4 s, 1.3 s for a worker's first trial, 0.4 s for the other 12
    short = confirm_line(plan(2, 8).replace(max_concurrent=2), [0.5, 0.5, 0.5])
    assert "16 more trials and 21.9 s" in short  # the trials' own are 4 s
    few = experiment.replace(confirm=9)
    assert "the 3 best get" in confirm_line(few, [1.0, 1.0, 1.0])  # there are no more
    whole = experiment.replace(
        manifest={},
        versions={},
        hardware={"cores": 2, "memory_gb": 1.0, "gpus": []},
    )
    whole.write(tmp_path / "x")
    assert read_experiment(tmp_path / "x") == whole
    for words, said in (
        (["--confirm", "1"], "give 2 or more"),
        (["--confirm", "2", "--confirm-seeds", "1"], "from 2"),
        (["--confirm-seeds", "4"], "goes with --confirm"),
        (["--warm-start", "../x"], "--warm-start"),
        (["--delta", "0"], "--delta 0: give 1e-06 nats or more"),
        (["--delta", "1e-320"], "--delta 9.99989e-321: give 1e-06 nats or more"),
        (["--delta", "nan"], "--delta nan"),
    ):
        with pytest.raises(UserError, match=said):
            check_options(make_parser().parse_args(["--grid", "lr", *words]))


def test_rounds_double_up_to_the_stated_number() -> None:
    assert (
        interim_seed_counts(8) == [2, 4, 8]
        and interim_seed_counts(2) == [2]
        and interim_seed_counts(5) == [2, 4, 5]
    )


def test_the_best_of_the_search_are_given_two_fresh_seeds_each(tmp_path: Path) -> None:
    experiment = plan(2)
    empty = Ledger(tmp_path / "empty")
    assert (
        Results(experiment, empty).confirmation is None
        and Results(experiment, empty).missing_trials == 3
    )
    ledger = searched(experiment, tmp_path / "ledger", lambda rate, _: 7 - 100 * rate)
    assert due(experiment, ledger) == [(3e-3, 1), (2e-3, 1), (3e-3, 2), (2e-3, 2)]
    assert (
        Results(experiment, ledger).missing_trials == 4
        and Results(experiment, ledger).trials_so_far == 7
    )
    seeded = plan(2, 8, "--seeds", "3")
    ledger = searched(seeded, tmp_path / "seeded", lambda rate, r: 7 - 100 * rate + r / 1000)
    assert due(seeded, ledger) == [(3e-3, 3), (2e-3, 3), (3e-3, 4), (2e-3, 4)]


def test_a_clear_winner_needs_one_round_and_its_number_is_the_fresh_one(tmp_path: Path) -> None:
    experiment = plan(2)

    def loss(rate: float, replicate: int) -> float:
        luck = -0.5 if replicate == 0 and rate == 2e-3 else 0.0  # chosen for it, and it is gone
        return 7 + (rate != 3e-3) + luck - 0.7 * (rate == 2e-3) + 1e-3 * replicate

    ledger = searched(experiment, tmp_path / "ledger", loss)
    assert Results(experiment, ledger).winning_trial == ledger.best()
    before = Results(experiment, ledger).winner
    assert before is not None and before.configuration.values == {"lr": 2e-3}
    assert not any(before.tests.values())
    confirm(experiment, ledger, loss)
    assert len(ledger.trials) == 3 + 4 and Results(experiment, ledger).missing_trials == 0
    found = Results(experiment, ledger).winner
    assert found is not None and found.fresh and found.configuration.values == {"lr": 3e-3}
    assert found.estimate.n == 2 and found.estimate.mean == pytest.approx(7.0015)
    assert found.trial.replicate == 1 and Results(experiment, ledger).winning_trial == found.trial
    assert found.open == () and found.test is not None and found.test.p <= found.alpha


def test_equal_ones_are_tried_until_the_seeds_are_spent(tmp_path: Path) -> None:
    experiment = plan(3, 6)
    chance = np.random.default_rng(0)
    ledger = searched(experiment, tmp_path / "ledger", lambda *_: 7 + chance.normal() / 10)
    confirm(experiment, ledger, lambda *_: 7 + chance.normal() / 10)
    assert len(ledger.trials) == 3 + 3 * 6
    found = Results(experiment, ledger).winner
    assert found is not None and len(found.open) == 2 and found.estimate.n == 6


def test_one_that_diverges_with_a_fresh_seed_is_out(tmp_path: Path) -> None:
    experiment = plan(2, 4)
    ledger = searched(experiment, tmp_path / "ledger", lambda rate, _: 7 - 100 * rate)

    def loss(rate: float, replicate: int) -> float | None:
        return None if rate == 3e-3 and replicate == 2 else 7 - 100 * rate

    confirm(experiment, ledger, loss)
    assert len(ledger.trials) == 3 + 4
    found = Results(experiment, ledger).winner
    assert found is not None and found.configuration.values == {"lr": 2e-3} and found.open == ()


def test_failures_are_spent_and_tried_again_by_a_resumed_search(tmp_path: Path) -> None:
    experiment = plan(2, 2)
    ledger = searched(experiment, tmp_path / "ledger", lambda rate, _: 7 - 100 * rate)
    confirm(experiment, ledger, lambda *_: "its process was lost")
    assert due(experiment, ledger) == []  # in this run
    assert Results(experiment, ledger).missing_trials == 4  # for the next
    found = Results(experiment, ledger).winner
    assert found is not None and not found.fresh and found.configuration.values == {"lr": 3e-3}


def test_a_failed_search_trial_leaves_the_rest_to_be_confirmed(tmp_path: Path) -> None:
    experiment = plan(3, 2)
    losses: dict[float, float | str] = {1e-3: 7.0, 2e-3: 6.0, 3e-3: "lost"}
    ledger = searched(experiment, tmp_path / "ledger", lambda rate, _: losses[rate])
    assert [rate for rate, _ in due(experiment, ledger)] == [2e-3, 1e-3, 2e-3, 1e-3]
    assert Results(experiment, ledger).missing_trials == 1


def separated_share(k: int, difference: float, repeats: int) -> tuple[float, float]:
    """Of `repeats` drawn searches of `k` configurations, of which the first is `difference`
    standard deviations better: the share that end separated, and that with the first as winner."""
    config = RunConfig()
    experiment = plan(k, 8).replace(axes={"lr": tuple(1e-3 + i / 1e5 for i in range(k))})
    names = [config.replace(lr_peak=rate) for rate in experiment.space.axes["lr"]]
    chance = np.random.default_rng(k)
    template = record(make_trial(plan(), {"lr": 1e-3}, 0), 7.0)

    def trial(cell: int, replicate: int) -> TrialRecord:
        loss = 7 + 0.01 * (chance.normal() + difference * (cell > 0))
        epoch = dataclasses.replace(template.epochs[0], val_loss_nats=loss)
        return dataclasses.replace(
            template, trial_id=f"{cell}-{replicate}", config=names[cell], replicate=replicate,
            epochs=(epoch,),
        )  # fmt: skip

    ended = right = 0
    for _ in range(repeats):
        trials = [trial(cell, 0) for cell in range(k)]
        while True:
            now = confirmation_state(experiment, configurations_of(experiment, trials))
            assert now is not None
            if not now.due:
                break
            trials += [trial(names.index(_of(cell)), r) for cell, r in now.due]
        ended += not now.open
        right += not now.open and now.leader is not None and _of(now.leader) == names[0]
    return ended / repeats, right / repeats


def _of(cell: Configuration) -> RunConfig:
    return RunConfig().replace(lr_peak=cell.config.train.lr_peak)


def test_two_identical_configurations_are_separated_in_5_of_100() -> None:
    share, _ = separated_share(2, 0.0, 1000)
    assert 0.03 < share <= 0.065  # 50 are expected; more than 65 with probability 0.015


def test_three_identical_configurations_are_too() -> None:
    share, _ = separated_share(3, 0.0, 500)
    assert share <= 0.05


@pytest.mark.parametrize("k", [2, 3])
def test_four_standard_deviations_are_nearly_always_found(k: int) -> None:
    ended, right = separated_share(k, 4.0, 300)
    if k == 2:
        assert ended == right >= 0.99
    else:  # the two others are equal: the winner needs to be told from both
        assert right >= 0.99


def test_an_experiment_from_before_goes_on_by_the_rule_that_it_began_with(tmp_path: Path) -> None:
    began = plan(2).replace(spending="even")
    ledger = searched(began, tmp_path / "ledger", lambda rate, _: 7 - 100 * rate)

    def loss(rate: float, replicate: int) -> float:
        return 7 - 100 * rate + 0.004 * (replicate % 2)

    confirm(began, ledger, loss)
    assert len(ledger.trials) == 3 + 4
    now = Results(began, ledger).confirmation
    assert now is not None and now.alpha == 0.05 / 3 and not now.late and not now.open
    late = Results(began.replace(spending="late"), ledger).confirmation
    assert late is not None and late.alpha < 1e-4 and late.open and len(late.due) == 4

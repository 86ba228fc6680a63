"""What a search is predicted to take, and what `--budget` makes of it, with clocks of our own."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.formatting import duration
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.model_size import flops_per_token
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.cli.plan_search import begin
from minigpt_search.search.cli.search_flags import parse_budget
from minigpt_search.search.machines.local import LocalMachines
from minigpt_search.search.planning import calibration
from minigpt_search.search.planning.budget import (
    LEAST_STEPS,
    USABLE_SHARE,
    fit_grid,
    fit_sampler,
    freeze_plan,
)
from minigpt_search.search.planning.calibration import (
    Speed,
    Speeds,
    read_cache,
    speeds,
)
from minigpt_search.search.planning.checks import check_trials
from minigpt_search.search.planning.estimate import Estimator
from minigpt_search.search.planning.plan_text import end_line, plan_lines
from minigpt_search.search.planning.prediction import (
    FIRST_TRIAL_SECONDS,
    NEXT_TRIAL_SECONDS,
    Work,
    makespan,
    search_seconds,
    trials_that_fit,
    work_seconds,
)
from minigpt_search.search.records.clock import Clock
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.plan import END_SECONDS, START_SECONDS
from minigpt_search.search.samplers.budget_gate import BudgetGate
from minigpt_search.search.samplers.ledger_sampler import LedgerOptunaSearch
from minigpt_search.search.space.space import Space
from minigpt_search.search.trials.length import length_in
from minigpt_search.search.trials.reports import OBJECTIVE
from minigpt_search.search.trials.trial import Trial, grid_trials

SPEED = Speed(training=1000.0, scoring=4000.0, memory_mb=500.0)


class FakeClock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def plan(*words: str) -> Experiment:
    args = make_parser().parse_args(words)
    check_options(args)
    return make_experiment(args, "cpu")


def estimated(*words: str, speed: Speed = SPEED) -> tuple[Experiment, list[Trial], Estimator]:
    experiment = plan(*words).replace(max_concurrent=2)
    trials = check_trials(experiment, length_in(None))
    speed_of = Speeds({experiment.space.base: speed})
    return experiment, trials, Estimator(experiment, speed_of, 260_000, length_in(None))


# --- the prediction's arithmetic


def test_a_trial_takes_its_tokens_its_evaluations_and_its_checkpoints() -> None:
    work = Work(
        config=RunConfig(),
        training_tokens=100_000,  # 100 s: two checkpoints on the way, of 12 bytes a parameter
        scored_tokens=8_000,
        parameters=75_000_000,
        checkpoint_every_seconds=45.0,
    )
    assert work_seconds(work, SPEED) == pytest.approx(100 + 2 + 75e6 * (4 + 2 * 12) / 300e6)


def test_rungs_between_epochs_ends_are_counted_and_those_at_them_are_not() -> None:
    words = "--grid", "lr", "--epochs", "2", "--tokens-per-epoch", "25600", "--val-tokens", "1000"
    _, trials, plain = estimated(*words)
    _, _, scored = estimated(*words, "--stop", "never")
    assert plain.work(trials[0]).training_tokens == 2 * 25_600
    # The curve's validations between them are 3% of the training tokens: 9 of 170, or 6 of 256.
    assert plain.work(trials[0]).scored_tokens == 2 * 1000 + 9 * 170
    # At 1/8 and 1/4; 1/2 is an epoch's end.
    assert scored.work(trials[0]).scored_tokens == 4 * 1000 + 6 * 256


@given(seconds=st.lists(st.floats(0.1, 100), min_size=1, max_size=12), workers=st.integers(1, 4))
def test_trials_go_to_the_first_worker_that_is_free(seconds: list[float], workers: int) -> None:
    free = [FIRST_TRIAL_SECONDS] * workers
    ends = []
    for own in seconds:
        worker = free.index(min(free))
        ends.append(free[worker] + own)
        free[worker] = ends[-1] + NEXT_TRIAL_SECONDS
    assert makespan(seconds, workers) == pytest.approx(max(ends))
    total = START_SECONDS + max(ends) + END_SECONDS
    assert search_seconds(seconds, workers) == pytest.approx(total)
    # As many fit as the longest prefix whose search is short enough.
    fit = trials_that_fit(lambda n: seconds[n % len(seconds)], workers, total + 1e-9)
    cycle = list(itertools.islice(itertools.cycle(seconds), fit + 1))
    assert search_seconds(cycle[:fit], workers) <= total + 1e-6
    assert search_seconds(cycle, workers) > total - 1e-6


def test_a_shape_that_was_not_measured_has_the_speed_of_the_nearest_by_its_operations() -> None:
    narrow, wide = (RunConfig().replace(embed_dim=width) for width in (64, 256))
    fast = dataclasses.replace(SPEED, training=5000.0)
    speed_of = Speeds({narrow: fast, wide: SPEED})
    assert speed_of(narrow) == fast
    other = RunConfig().replace(embed_dim=224)
    factor = flops_per_token(wide.model) / flops_per_token(other.model)
    assert speed_of(other).training == pytest.approx(1000 * factor)
    assert speed_of(other).scoring == pytest.approx(4000 * factor)


def test_speeds_are_measured_once_and_a_damaged_file_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[int] = []

    def measure(experiment: Experiment, configs: list[RunConfig]) -> list[Speed]:
        measured.extend(config.model.embed_dim for config in configs)
        return [SPEED] * len(configs)

    monkeypatch.setattr(calibration, "measure", measure)
    experiment = plan("--grid", "lr")
    widths = [experiment.space.base.replace(embed_dim=width) for width in (32, 64, 96, 128, 256)]
    first = speeds(experiment, widths, tmp_path, LocalMachines())
    assert measured == [32, 96, 256]
    assert capsys.readouterr().err.startswith("Measuring  how fast models of 3 shapes train here")
    assert read_cache(tmp_path) == first.new  # also a dry run, or one that is refused, keeps them
    again = speeds(experiment, widths, tmp_path, LocalMachines())
    assert measured == [32, 96, 256] and not again.new and capsys.readouterr().err == ""
    speeds(experiment, widths, tmp_path / "no root", LocalMachines())
    assert not (tmp_path / "no root").exists()
    del measured[3:]
    other = experiment.replace(threads_per_trial=7)
    speeds(other, widths[:1], tmp_path, LocalMachines())
    assert measured == [32, 96, 256, 32]
    file = tmp_path / "calibration.json"
    file.write_text(file.read_text().replace("1000.0", "9000.0"))
    assert read_cache(tmp_path) == {}


def test_the_shortest_measurement_gives_speeds() -> None:
    experiment = plan("--grid", "lr")
    small = experiment.space.base.replace(vocab_size=100, embed_dim=8, seq_len=8)
    one = experiment.replace(max_concurrent=1)
    [speed] = calibration.measure(one, [small])
    assert speed.training > 0 and speed.scoring > 0 and 50 < speed.memory_mb < 5000


# --- --budget


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("2d", 172_800)]
)
def test_a_budget_has_a_unit(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["30", "m", "-5m", "0s", "1w", "30 minutes", "nan"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--budget"):
        plan("--grid", "lr", "--budget", text)


def test_a_grid_that_fits_is_left_as_it_is() -> None:
    experiment, trials, estimator = estimated("--grid", "lr", "--budget", "1h")
    assert fit_grid(experiment, trials, estimator, 5.0)[:2] == (experiment, trials)


@pytest.mark.parametrize("budget", ["90s", "2m", "200s"])
def test_a_grid_is_trimmed_to_the_most_tokens_that_fit(budget: str) -> None:
    experiment, trials, estimator = estimated("--grid", "lr", "--budget", budget)
    assert estimator.search(experiment, trials) > 200
    cut, cut_trials, line = fit_grid(experiment, trials, estimator, 5.0)
    tokens = cut.space.base.train.tokens_per_epoch
    assert tokens is not None and cut.plan.budget_seconds is not None
    assert "with 109,952 tokens an epoch" in line and f"trimmed to {tokens:,}" in line
    available = USABLE_SHARE * (cut.plan.budget_seconds - 5.0)
    assert estimator.search(cut, cut_trials) <= available
    assert {trial.config.train.tokens_per_epoch for trial in cut_trials} == {tokens}
    step = 4 * 64
    more = cut.replace(base=cut.space.base.replace(tokens_per_epoch=tokens + step))
    assert estimator.search(more, check_trials(more, length_in(None))) > available


def test_what_max_cost_left_out_of_the_plan_does_not_come_back_when_it_is_trimmed(
    root: Path,
    search_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (root / "corpus").symlink_to(search_root / "corpus")  # without speeds that others measured
    words = ("--lr", "1e-3,2e-3", "--embed-dim", "16,32", "--epochs", "6", "--preset", "quick")
    words += ("--corpus", "small", "--budget", "60s", "--max-cost", "4e11flop", "--name", "trimmed")
    monkeypatch.setattr(calibration, "measure", lambda experiment, configs: [SPEED] * len(configs))
    args = make_parser().parse_args(words)
    begun = begin(args, root, time.time(), LocalMachines())
    assert begun is not None
    said = capsys.readouterr().out
    assert "trimmed to" in said and "--max-cost 4e11flop was of the untrimmed" in said
    assert "embed_dim = 16, 32: 2 trials" in said
    assert len(grid_trials(begun[0])) == 2


def test_a_grid_is_refused_before_its_trials_get_too_short() -> None:
    experiment, trials, estimator = estimated("--grid", "lr", "--budget", "70s")
    with pytest.raises(UserError, match=r"steps and more take about 8[0-9]"):
        fit_grid(experiment, trials, estimator, 5.0)
    experiment, trials, estimator = estimated("--grid", "lr", "--budget", "90s")
    _, cut, _ = fit_grid(experiment, trials, estimator, 5.0)
    assert all(estimator.length(trial).total_steps >= LEAST_STEPS for trial in cut)


def test_a_sampler_needs_no_number_with_a_budget_and_is_told_what_fits() -> None:
    words = "--search", "tpe", "--epochs", "1", "--embed-dim", "128", "--budget", "10m"
    experiment, drawn, estimator = estimated(*words)
    expected, line = fit_sampler(experiment, drawn, estimator, 5.0)
    own = estimator.seconds(drawn[0])
    per_worker = (USABLE_SHARE * 595 - START_SECONDS - END_SECONDS) / own
    assert 2 * (int(per_worker) - 1) <= expected <= 2 * int(per_worker)
    assert f"about {expected} trials fit" in line
    few = experiment.replace(samples=3)
    assert fit_sampler(few, drawn, estimator, 5.0)[0] == 3
    short = experiment.replace(budget_seconds=30.0)
    with pytest.raises(UserError, match="hardly a trial fits"):
        fit_sampler(short, drawn, estimator, 5.0)


def test_when_the_budget_is_spent_the_plan_is_what_there_was(tmp_path: Path) -> None:
    experiment = plan("--search", "tpe", "--budget", "10m", "--name", "x")
    experiment.write(tmp_path / "x")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    frozen = freeze_plan(experiment, tmp_path / "x", ledger)
    assert frozen.planned_trials == 1
    assert read_experiment(tmp_path / "x") == frozen
    grid = plan("--grid", "lr", "--budget", "10m")
    assert freeze_plan(grid, tmp_path / "nowhere", ledger) == grid


def test_the_clock_goes_on_from_where_the_run_before_was_noted(tmp_path: Path) -> None:
    now = FakeClock()
    now.time = 1000.0
    first = Clock(tmp_path, started=990.0, now=now)
    assert first.used() == 10.0
    now.time = 1030.0
    first.note_sometimes()
    now.time = 1032.0
    first.note_sometimes()  # too soon: a kill here loses these two seconds
    now.time = 5000.0
    second = Clock(tmp_path, started=4999.0, now=now)
    assert second.used() == 41.0
    assert (first.searched(), second.searched()) == (4000.0, 30.0)
    second.note()
    idle = Clock(tmp_path, started=4999.0, now=now, counts=False)
    now.time = 6000.0
    idle.note()
    assert (idle.used(), idle.searched()) == (41.0, 30.0)
    (tmp_path / "clock.json").write_text("{")
    assert Clock(tmp_path, started=5999.0, now=now).used() == 1.0
    older = checked_json.seal({"used_seconds": 41.0})  # its prediction was of all of it
    (tmp_path / "clock.json").write_text(json.dumps(older))
    assert Clock(tmp_path, started=5999.0, now=now).searched() == 41.0


def test_the_last_line_has_both_times() -> None:
    experiment = plan("--grid", "lr").replace(predicted_seconds=200.0)
    line = end_line(experiment, 250.0, 250.5)
    assert line == "Time       4.2 min; predicted were 3.3 min (+25%)"
    assert end_line(experiment, 250.0, 262.0).endswith(
        "(+25%); 12.0 s before it, to start, measure and prepare"
    )
    limited = experiment.replace(budget_seconds=300.0)
    assert end_line(limited, 190.0, 190.0).endswith("(-5%); in all 3.2 min, the budget was 5.0 min")
    unknown = experiment.replace(predicted_seconds=None)
    assert end_line(unknown, 250.0, 250.0) == "Time       4.2 min"
    confirmed = experiment.replace(confirm=2)
    assert "4.2 min with confirming; 3.3 min were predicted without" in end_line(
        confirmed, 250.0, 250.0
    )


def test_what_the_plan_says_is_kept_as_what_was_predicted(
    search_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--grid", "lr", "--corpus", "small", "--tokens-per-epoch", "4096", "--preset", "quick")
    words += ("--name", "kept")
    monkeypatch.setattr(sys, "argv", ["search/run.py", *words])

    def measure(experiment: Experiment, configs: list[RunConfig]) -> list[Speed]:
        return [dataclasses.replace(SPEED, training=1234.0)] * len(configs)

    monkeypatch.setattr(calibration, "measure", measure)
    args = make_parser().parse_args(words)
    long_ago = time.time() - 1000.0  # a start and a measuring that took their time
    begun = begin(args, search_root, long_ago, LocalMachines())
    assert begun is not None and begun[0].plan.predicted_seconds is not None
    cost = f"Cost       about {duration(begun[0].plan.predicted_seconds)} here"
    assert cost in capsys.readouterr().out


def test_the_full_preset_beside_a_quick_plan_takes_what_its_own_plan_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(experiment: Experiment, configs: list[RunConfig]) -> list[Speed]:
        return [dataclasses.replace(SPEED, training=99.0 * c.train.batch_size) for c in configs]

    monkeypatch.setattr(calibration, "measure", measure)

    def said(*words: str) -> str:
        words = ("--grid", "lr,epochs", "--dry-run", *words)
        words += ("--max-concurrent", "2", "--cpus-per-trial", "1")
        monkeypatch.setattr(sys, "argv", ["search/run.py", *words])
        assert begin(make_parser().parse_args(words), tmp_path, time.time(), machines) is None
        return capsys.readouterr().out

    machines = LocalMachines()
    [own] = re.findall("Cost       about (.*) here", said("--preset", "full"))
    assert f"; with --preset full about {own}\n" in said("--preset", "quick")
    assert "--preset full about" not in said("--preset", "quick", "--budget", "50h")


def test_the_plan_names_time_memory_and_disk_and_the_full_preset_beside_it() -> None:
    words = "--grid", "lr", "--tokens-per-epoch", "25600"
    experiment, trials, estimator = estimated(*words)
    lines = "\n".join(plan_lines(experiment, trials, None, estimator, 120.0, 156.0))
    assert "102,400 training tokens" in lines
    assert (
        "Cost       about 2.0 min here and the time to prepare the corpus; with --preset" in lines
    )
    assert "with --preset full about 2.6 min" in lines
    assert "Memory     about 2.7 GB at most, 900.0 MB for each trial" in lines
    assert "Disk " in lines


def test_what_is_asked_for_and_cannot_be_had_is_a_line_each(search_root: Path) -> None:
    words = ("--lr", "1e-3,2e-3,4e-3", "--space", "warmup_fraction=0.3", "--val-tokens", "99999")
    experiment, trials, estimator = estimated(*words, "--tokens-per-epoch", "25600")
    corpus = open_corpus(search_root / "corpus" / "small")
    estimator.validation_tokens = 700
    lines = plan_lines(experiment, trials, corpus, estimator, 120.0)
    assert [line for line in lines if line.startswith("Warning")] == [
        "Warning    lr=0.001 and 2 more: a warm-up of 30 of 100 steps, more than 20%",
        "Warning    --val-tokens 99,999: the validation split has 700, which are all scored",
    ]


def test_a_plan_that_needs_more_memory_than_there_is_says_so() -> None:
    experiment, trials, estimator = estimated("--grid", "lr", "--tokens-per-epoch", "25600")
    for gigabytes, is_said in ((2.0, True), (4.0, False)):
        hardware = {**experiment.machine.hardware, "memory_gb": gigabytes}
        limited = experiment.replace(hardware=hardware)
        lines = "\n".join(plan_lines(limited, trials, None, estimator, 120.0))
        told = "Warning    that is more than the 2.0 GB that this process may use" in lines
        assert told == is_said


# --- the gate


def simulate(
    budget: float,
    workers: int,
    real: Callable[[Mapping[str, float]], float],
    predicted: Callable[[Mapping[str, float]], float],
    chance: random.Random,
) -> list[tuple[float, float]]:
    """Starts and ends of the trials of a search that suggests one ahead, as Tune does."""
    now = FakeClock()
    clock = Clock(Path("nowhere"), started=0.0, now=now)
    gate = BudgetGate(budget, workers, clock, predicted)
    now.time = START_SECONDS
    ends: dict[str, float] = {}
    starts: dict[str, float] = {}
    done: list[tuple[float, float]] = []
    waiting: tuple[str, dict[str, float]] | None = None
    over, number = False, 0
    while True:
        if waiting is None and not over:
            values = {"size": chance.uniform(2, 30)}
            if gate.fits(values):
                waiting = f"t{number}", values
                gate.begin(*waiting)
                number += 1
            else:
                over = True
        if waiting is not None and len(ends) < workers:
            name, values = waiting
            starts[name], ends[name] = now.time, now.time + real(values)
            gate.on_trial_start(0, [], SimpleNamespace(trial_id=name))
            waiting = None
            continue
        if not ends:
            return done
        name = min(ends, key=lambda n: ends[n])
        began = now.time
        for part in (0.1, 0.5, 0.9):  # all report on the way
            now.time = began + part * (ends[name] - began)
            for other, end in ends.items():
                share = (now.time - starts[other]) / (end - starts[other])
                result = {"kind": "progress", "step": share, "total_steps": 1.0}
                gate.on_trial_result(0, [], SimpleNamespace(trial_id=other), result)
        now.time = ends.pop(name)
        done.append((starts[name], now.time))
        ended: Any = SimpleNamespace(trial_id=name, last_result={"status": "complete"})
        gate.on_trial_complete(0, [], ended)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("slowness", [0.7, 1.0, 1.5])
def test_all_trials_end_inside_the_budget_and_little_of_it_is_left(
    workers: int, slowness: float
) -> None:
    for seed in range(20):
        chance = random.Random(seed)
        done = simulate(
            400.0,
            workers,
            real=lambda values, chance=chance: (  # type: ignore[misc]
                slowness * values["size"] * chance.uniform(0.95, 1.05)
            ),
            predicted=lambda values: values["size"],
            chance=chance,
        )
        assert max(end for _, end in done) <= 400.0
        busy = sum(end - start for start, end in done)
        assert busy > 0.75 * workers * 400.0


def test_what_does_not_fit_is_not_suggested_and_the_search_ends() -> None:
    now = FakeClock()
    clock = Clock(Path("nowhere"), started=0.0, now=now)
    gate = BudgetGate(100.0, 1, clock, lambda values: 20.0 if values["lr"] < 1e-3 else 500.0)
    search = LedgerOptunaSearch(
        space=Space(axes={"lr": (1e-4, 1e-2)}, kinds={}, base=RunConfig()),
        sampler="tpe",
        base_seed=0,
        finished=[],
        unfinished=[],
        gate=gate,
    )
    for number in range(3):
        suggestion = search.suggest(str(number))
        assert isinstance(suggestion, dict) and suggestion["values"]["lr"] < 1e-3
        gate.on_trial_start(0, [], SimpleNamespace(trial_id=str(number)))
        now.time += 25.0
        result = {OBJECTIVE: 7.0, "kind": "end", "status": "complete"}
        search.on_trial_complete(str(number), result)
        ended: Any = SimpleNamespace(trial_id=str(number), last_result=result)
        gate.on_trial_complete(0, [], ended)
    assert search.suggest("too late") == "FINISHED"

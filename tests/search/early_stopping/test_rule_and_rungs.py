"""Which trials are compared at a rung, what each rule says, and that nothing of it is in memory."""

from __future__ import annotations

import dataclasses
import math
import statistics
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import STOPPED, RungRecord, Timing
from minigpt_search.search.answer.endings import without_result
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.early_stopping.rule import RungHistory, find_comparable, why_stop
from minigpt_search.search.early_stopping.rungs import (
    StoppingDecision,
    all_scored,
    read_rungs,
    record_curve,
    write_rungs,
)
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_lines import decode, encode
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.trial_folder import trial_folder
from minigpt_search.search.results.results import Results
from minigpt_search.search.samplers.ledger_sampler import LedgerOptunaSearch, Observation
from minigpt_search.search.samplers.study_db import write_study
from minigpt_search.search.space.space import Space
from minigpt_search.search.sync.worker_files import WorkerFiles
from minigpt_search.search.trials.reports import OBJECTIVE
from minigpt_search.search.trials.trial import Trial, grid_trials, make_trial
from minigpt_search.search.worker import trainable
from minigpt_search.search.worker.trial_record import make_record

BASE = RunConfig().replace(warmup_steps=0, epochs=1)
HORIZON = 80_000


def rung(loss: float, share: float = 0.25, horizon: int = HORIZON) -> RungRecord:
    tokens = round(share * horizon)
    return RungRecord(
        step=max(1, tokens // 256), tokens_seen=tokens, schedule_tokens=horizon, val_loss_nats=loss
    )


def scored(lr: float, *rungs: RungRecord, seed: int = 0, stopped: str | None = None) -> RungHistory:
    return RungHistory(config=BASE.replace(lr_peak=lr, seed=seed), rungs=rungs, stopped=stopped)


def cells(*losses: float) -> list[RungHistory]:
    """One trial a loss, each of a cell of its own."""
    return [scored(1e-5 * (number + 1), rung(loss)) for number, loss in enumerate(losses)]


OWN = BASE.replace(lr_peak=0.5)


@pytest.mark.parametrize(
    ("others", "share", "horizon", "comparable"),
    [
        (rung(8.0), 0.25, HORIZON, True),
        (rung(8.0), 0.255, HORIZON + 64, True),  # rounded to whole steps and sequences
        (rung(8.0), 0.5, HORIZON, False),
        (rung(8.0, share=0.5, horizon=HORIZON // 2), 0.25, HORIZON, False),  # as many tokens
        (rung(8.0, horizon=2 * HORIZON), 0.25, HORIZON, False),  # the same share of more
        (rung(8.0, horizon=HORIZON * 19 // 20), 0.25, HORIZON, False),  # 19 epochs and 20
    ],
)
def test_only_the_same_share_of_the_same_horizon_is_compared(
    others: RungRecord, share: float, horizon: int, comparable: bool
) -> None:
    found = find_comparable(OWN, rung(7.0, share, horizon), scored(1e-3, others))
    assert (found == others) if comparable else (found is None)


def under_wsd(other: RungHistory) -> RungHistory:
    return dataclasses.replace(other, config=other.config.replace(schedule="wsd"))


def test_under_wsd_the_same_tokens_are_compared_whatever_the_horizon() -> None:
    own = OWN.replace(schedule="wsd")
    longer = rung(8.0, share=0.125, horizon=2 * HORIZON)
    assert find_comparable(own, rung(7.0), under_wsd(scored(1e-3, longer))) == longer
    later = under_wsd(scored(1e-3, rung(8.0, horizon=2 * HORIZON)))
    assert find_comparable(own, rung(7.0), later) is None
    others = [under_wsd(scored(1e-3 * k, longer)) for k in (1, 2, 3)]
    reason = why_stop("median", own, rung(9.0), others)
    assert reason == "stopped after 20,000 tokens: 9.00 nats, 4th of 4 there"


def test_other_schedules_are_not_compared() -> None:
    assert find_comparable(OWN, rung(7.0), scored(1e-3, rung(8.0))) is not None
    assert find_comparable(OWN, rung(7.0), under_wsd(scored(1e-3, rung(8.0)))) is None


@given(
    loss=st.integers(0, 12).map(float),
    others=st.lists(st.integers(0, 12).map(float), max_size=14),
)
def test_asha_lets_the_best_third_go_on_and_the_median_rule_the_better_half(
    loss: float, others: list[float]
) -> None:
    n = len(others) + 1
    asha = why_stop("asha", OWN, rung(loss), cells(*others))
    best_third = sorted([*others, loss])[: max(1, n // 3)]
    assert (asha is None) == (n < 3 or loss <= best_third[-1])
    median = why_stop("median", OWN, rung(loss), cells(*others))
    assert (median is None) == (n < 4 or loss <= statistics.median(others))
    assert why_stop("never", OWN, rung(loss), cells(*others)) is None
    if asha is not None:
        rank = sorted([*others, loss]).index(loss) + 1
        assert asha.startswith(f"stopped at 1/4 of its run: {loss:.2f} nats, {rank}")
        assert asha.endswith(f" of {n} there")


def test_the_first_replicate_decides_for_its_cell_and_a_cell_counts_once() -> None:
    others = cells(5.0, 6.0)
    assert why_stop("asha", OWN, rung(9.0), others) is not None
    went_on = RungHistory(config=OWN.replace(seed=1), rungs=(rung(4.0),))
    assert why_stop("asha", OWN, rung(9.0), [*others, went_on]) is None
    ended = RungHistory(config=OWN.replace(seed=1), rungs=(rung(4.0),), stopped="stopped there")
    assert why_stop("asha", OWN, rung(4.0), [*others, ended]) == "stopped there"
    later = dataclasses.replace(ended, rungs=(rung(4.0), rung(4.0, share=0.5)))
    assert why_stop("asha", OWN, rung(9.0), [*others, later]) is None  # it passed this rung
    replicates = [scored(1e-3, rung(6.0 + k), seed=k) for k in range(5)]  # one cell, mean 8.0
    assert why_stop("asha", OWN, rung(9.0), replicates) is None
    assert why_stop("asha", OWN, rung(7.5), [*replicates, *cells(8.5)]) is None
    assert why_stop("asha", OWN, rung(8.2), [*replicates, *cells(8.5)]) is not None


def plan(*words: str) -> Experiment:
    args = make_parser().parse_args(words)
    check_options(args)
    corpus = {"content_hash": "abc", "manifest": {"name": "builtin"}}
    return make_experiment(args, "cpu").replace(**corpus)


def ended(trial: Trial, status: str, error: str | None, *rungs: RungRecord) -> TrialRecord:
    record = make_record(trial, "lost", 1, "cpu")
    fields = {"status": status, "error": error, "rungs": rungs, "timing": Timing()}
    return dataclasses.replace(record, **fields)  # type: ignore[arg-type]


def test_decisions_come_from_the_files_of_running_and_the_ledger_of_ended_trials(
    tmp_path: Path,
) -> None:
    trials = grid_trials(plan("--grid", "lr"))
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(ended(trials[0], STOPPED, "stopped there", rung(7.0)))
    running = trial_folder(tmp_path, trials[1].trial_id)
    for trial in trials[1:]:
        trial_folder(tmp_path, trial.trial_id).mkdir(parents=True)
    write_rungs(running, RungHistory(config=trials[1].config, rungs=(rung(7.1),)))
    damaged = trial_folder(tmp_path, trials[2].trial_id)
    (damaged / "rungs.json").write_text('{"rungs": [')
    assert [s.rungs[0].val_loss_nats for s in all_scored(tmp_path, exclude="x")] == [7.0, 7.1]

    def decision() -> StoppingDecision:
        return StoppingDecision("asha", tmp_path, trials[3].trial_id, trials[3].config)

    first = decision()
    assert not first.stops(rung(6.0, share=0.125))  # alone there
    assert first.stops(rung(7.2))
    assert first.reason == "stopped at 1/4 of its run: 7.20 nats, 3rd of 3 there"
    own = read_rungs(trial_folder(tmp_path, trials[3].trial_id))
    assert own is not None and own.stopped == first.reason and len(own.rungs) == 2
    # Killed before its outcome was written, and at the rungs again: the decisions stand.
    write_rungs(running, RungHistory(config=trials[1].config, rungs=(rung(9.0),)))
    again = decision()
    assert not again.stops(rung(6.0, share=0.125))
    assert again.stops(rung(7.2)) and again.reason == first.reason
    own = read_rungs(trial_folder(tmp_path, trials[3].trial_id))
    assert own is not None and len(own.rungs) == 2


def test_fresh_seeds_of_confirming_are_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = plan("--grid", "lr", "--stop", "asha", "--confirm", "2")
    for number, other in enumerate(cells(7.0, 7.1, 7.2)):
        folder = trial_folder(tmp_path, f"other{number}")
        folder.mkdir(parents=True)
        write_rungs(folder, other)
    monkeypatch.setattr(trainable, "open_corpus", lambda folder: None)
    values = grid_trials(experiment)[0].values
    searched, fresh = (make_trial(experiment, values, replicate) for replicate in (0, 1))
    for trial in (searched, fresh):
        trial_folder(tmp_path, trial.trial_id).mkdir()
    _, _, _, decisions, _ = trainable._what_to_train(
        experiment, [searched, fresh], WorkerFiles(tmp_path)
    )
    assert not decisions[1].stops(rung(9.0))
    assert read_rungs(trial_folder(tmp_path, fresh.trial_id)) is not None
    (trial_folder(tmp_path, fresh.trial_id) / "rungs.json").unlink()
    assert decisions[0].stops(rung(9.0))
    assert not decisions[1].stops(rung(9.0))  # nor because the search's own was


def test_a_record_with_rungs_comes_back_and_impossible_rungs_are_refused() -> None:
    trial = grid_trials(plan("--grid", "lr"))[0]
    record = ended(trial, STOPPED, "stopped there", rung(8.0, 0.125), rung(7.5))
    assert decode(encode(record)) == record
    for bad in (
        (rung(7.5), rung(7.4)),
        (rung(7.5), rung(8.0, 0.125)),
        (rung(-1.0),),
        (dataclasses.replace(rung(7.0), tokens_seen=HORIZON + 1),),
    ):
        with pytest.raises(ValueError):
            encode(dataclasses.replace(record, rungs=bad))


def test_stopped_trials_are_in_the_table_without_results_and_pruned_in_the_study(
    tmp_path: Path,
) -> None:
    experiment = plan("--grid", "lr", "--stop", "asha", "--name", "x")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    reason = "stopped at 1/4 of its run: 7.50 nats, 5th of 6 there"
    rungs = rung(8.0, 0.125), rung(7.5)
    ledger.append(ended(grid_trials(experiment)[0], STOPPED, reason, *rungs))
    [row] = without_result(Results(experiment, ledger)).to_dict("records")
    assert (row["status"], row["reason"], row["epochs_done"]) == ("stopped", reason, "0 of 1")
    assert ledger.best() is None
    write_study(experiment, tmp_path, ledger)
    study = optuna.load_study(study_name="x", storage=f"sqlite:///{tmp_path / 'study.db'}")
    [trial] = study.trials
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {125: 8.0, 250: 7.5}
    assert record_curve(ledger.trials[0]) == trial.intermediate_values


# --- Optuna


def make(finished: list[Observation]) -> LedgerOptunaSearch:
    return LedgerOptunaSearch(
        space=Space(axes={"lr": (1e-4, 1e-2), "embed_dim": (32, 256)}, kinds={}, base=RunConfig()),
        sampler="tpe",
        base_seed=0,
        finished=finished,
        unfinished=[],
    )


def loss_of(values: dict[str, float]) -> float:
    return 7 + (math.log10(values["lr"]) + 3) ** 2


def run(search: LedgerOptunaSearch, start: int, stop: int) -> list[Observation]:
    """Every trial that is not a third is stopped at 1/4."""
    done: list[Observation] = []
    for number in range(start, stop):
        suggestion = search.suggest(str(number))
        assert suggestion is not None
        values = suggestion["values"]
        curve = {125: loss_of(values) + 2, 250: loss_of(values) + 1}
        for at, loss in curve.items():
            result = {OBJECTIVE: loss, "kind": "rung", "curve_step": at}
            search.on_trial_result(str(number), result)
        end = {"kind": "end", OBJECTIVE: 10.8, "status": STOPPED if number % 3 else "complete"}
        if number % 3 == 0:
            end[OBJECTIVE] = loss_of(values)
        search.on_trial_complete(str(number), end)
        status, loss = str(end["status"]), float(end[OBJECTIVE])
        done.append(Observation(values=values, status=status, objective=loss, curve=curve))
    return done


def test_stopped_trials_are_told_as_pruned_with_their_curve_and_rebuilt_so() -> None:
    search = make([])
    whole = run(search, 0, 18)
    states = [trial.state for trial in search.study.trials]
    assert states == [TrialState.PRUNED if n % 3 else TrialState.COMPLETE for n in range(18)]
    assert search.study.trials[1].intermediate_values == whole[1].curve
    for cut in (4, 12):
        assert run(make(whole[:cut]), cut, 18) == whole[cut:]


def test_tpe_learns_from_the_curves_of_stopped_trials() -> None:
    """Ten stopped trials that came equally far: it goes where the better of them were."""

    def mean_lr(good_low: bool) -> float:
        lrs = [10 ** (-4 + 2 * k / 11) for k in range(12)]
        finished = [
            Observation(
                values={"lr": lr, "embed_dim": 128},
                status=STOPPED,
                objective=10.8,
                curve={125: 8.0 + (k if good_low else 11 - k) / 10},
            )
            for k, lr in enumerate(lrs)
        ]
        search = make(finished)
        suggested = []
        for number in range(8):
            suggestion = search.suggest(str(number))
            assert suggestion is not None
            suggested.append(math.log10(suggestion["values"]["lr"]))
        return statistics.mean(suggested)

    assert mean_lr(good_low=True) < mean_lr(good_low=False) - 0.5


# --- flags


def test_stop_goes_without_packs_and_is_a_part_of_the_plan() -> None:
    for pack in ("2", "auto"):
        with pytest.raises(UserError, match="--stop goes without --pack"):
            plan("--grid", "lr", "--stop", "asha", "--pack", pack)
    assert plan("--grid", "lr").plan.stopper is None
    assert plan("--grid", "lr", "--stop", "median").plan.stopper == "median"


def test_tokens_per_epoch_and_val_tokens_override_the_preset() -> None:
    train = plan(
        "--grid", "lr", "--tokens-per-epoch", "16000", "--val-tokens", "4096"
    ).space.base.train
    assert (train.tokens_per_epoch, train.val_tokens) == (16_000, 4096)
    with pytest.raises(UserError, match="--val-tokens 0"):
        plan("--grid", "lr", "--val-tokens", "0")

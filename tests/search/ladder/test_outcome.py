"""Predictions in the ledger before any outcome, and `--verify`."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.data.common.checked_json import seal, unseal
from minigpt_search.reports.figures.speed_plots import predicted_figures
from minigpt_search.reports.page.ladder_section import ladder_section
from minigpt_search.reports.page.sections import without_result_section
from minigpt_search.search.answer.answer import answer
from minigpt_search.search.answer.ladder_answer import verify_line
from minigpt_search.search.answer.ladder_outcome import (
    Outcome,
    keep_predictions,
    outcome_text,
    outcomes,
    prediction_text,
)
from minigpt_search.search.cli.config_file import config_text, with_config
from minigpt_search.search.cli.extend import extended_arguments
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.cli.resume_flags import _verification
from minigpt_search.search.ladder.rounds import ladder_state
from minigpt_search.search.planning.plan_text import end_line
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_lines import decode, encode
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.results import Results
from minigpt_search.search.reuse.take_over import take_over
from minigpt_search.search.samplers.study_db import write_study
from minigpt_search.search.space.ladder_spec import SPACING, lattice_place, lattice_rate
from minigpt_search.search.trials.trial import Trial, make_trial

Climb = Callable[..., list[TrialRecord]]


def test_a_prediction_is_written_once_and_reads_back(
    climbed: Callable[..., tuple[Experiment, Ledger]],
) -> None:
    experiment, ledger = climbed()
    (made,) = keep_predictions(experiment, ledger)
    assert decode(encode(made)) == made
    assert keep_predictions(experiment, ledger) == []
    again = Ledger(ledger.path)
    assert again.predictions == [made] and len(again.trials) == made.rung_trials
    assert made.tokens == 8000 and made.largest_rung_tokens == 3200
    assert made.rate_low < 4e-3 * 10**-0.3 < made.rate_high
    with pytest.raises(ValueError, match="best rate"):
        encode(dataclasses.replace(made, rate_low=1.0))


@pytest.mark.parametrize(("best", "steep"), [(4e-3, 0.2), (2e-3, 0.03), (1e-3, 0.2), (2e-4, 0.2)])
def test_the_rival_lies_within_the_interval(
    make_ladder: Callable[..., Experiment],
    climb: Climb,
    loss_of: Callable[..., Any],
    tmp_path: Path,
    best: float,
    steep: float,
) -> None:
    """A run of the recipe's own rate far beyond it says nothing of the rate."""
    experiment, ledger = make_ladder(), Ledger(tmp_path / "ledger.jsonl")
    for record in climb(experiment, loss_of(sd=0.01, steep=steep, best=best)):
        ledger.append(record)
    (made,) = keep_predictions(experiment, ledger)
    own = made.rate_low <= 1e-3 <= made.rate_high and made.use_rate not in (7.07e-4, 1e-3, 1.41e-3)
    assert own == (steep == 0.03)
    place, up = lattice_place(made.use_rate), made.rate_high * made.rate_low > made.rate**2
    beside = lattice_rate(place + (SPACING if up else -SPACING))
    assert made.rival_rate == (1e-3 if own else beside)


def test_two_runs_verify_it_after_it_is_written(
    climbed: Callable[..., tuple[Experiment, Ledger]],
    loss_of: Callable[..., Any],
    record_of: Callable[..., TrialRecord],
) -> None:
    experiment, ledger = climbed("--verify")
    before = ladder_state(experiment, ledger.trials, ledger.ended(), ledger.predictions)
    assert (before.due, before.later) == ((), 2)  # they wait for the prediction
    assert Results(experiment, ledger).missing_trials == 2
    (today,) = keep_predictions(experiment, ledger)
    made = dataclasses.replace(today, rate_low=today.rate_low / 3)  # by another version of the fit
    ledger.append(made)
    due = ladder_state(experiment, ledger.trials, ledger.ended(), ledger.predictions).due
    assert [values["lr"] for values, _ in due] == [made.use_rate, made.rival_rate]
    assert outcomes(Results(experiment, ledger)) == []
    line = verify_line(Results(experiment, ledger)) or ""
    assert line.startswith(f"Verify     lr={made.use_rate:g} and lr={made.rival_rate:g} on 8,000")
    assert ", each about " in line and "as fast as the longest run so far" in line
    loss = loss_of(slope=-0.3, sd=0.01, steep=0.2, best=4e-3)
    for each in due:
        trial = make_trial(experiment, *each)
        assert trial.config.train.tokens_per_epoch == 8000
        ledger.append(record_of(trial, loss(trial)))
    results = Results(experiment, ledger)
    assert results.missing_trials == 0 and verify_line(results) is None
    (found,) = outcomes(results)
    assert found.loss_held and found.best == made.use_rate
    assert found.rate_held is None  # the best may lie far above both
    assert "which can't be told: the lowest lies at an end" in outcome_text(found)
    use = answer(results).use
    assert use.startswith(f"lr={made.use_rate:g}, the lowest of 2 rates trained at")
    assert f"predicted from: {made.rate:.2g}, 95% interval {made.rate_low:.2g} to" in use
    came = f"{found.losses[made.use_rate]:.4f} nats at lr={made.use_rate:g}, one seed; predicted"
    assert answer(results).loss.startswith(f"{came} before: {made.loss:.3f} ({made.loss_low:.3f}")
    assert "8,000 tokens came to" in outcome_text(found)
    beside, keep = answer(results).steps  # which way the best lies comes before what to keep
    assert keep.command == f"python search/rerun.py {experiment.name}"  # it is the lowest of all
    assert f"--lr {made.use_rate / 2:g} " in beside.command  # the rival was the one above
    assert results.edges == []  # the target's tokens are no end that a better may lie beyond
    # A prediction is not made again once there is an outcome.
    assert keep_predictions(experiment, ledger) == []
    assert results.ladder_prediction is not None
    assert results.ladder_prediction.rate.rate == pytest.approx(made.rate)


def test_a_loss_that_the_rungs_missed_is_no_loss_to_rely_on_in_the_ledger_either(
    make_ladder: Callable[..., Experiment],
    climb: Climb,
    loss_of: Callable[..., Any],
    record_of: Callable[..., TrialRecord],
    tmp_path: Path,
) -> None:
    usual = loss_of(sd=0.01, steep=0.2)

    def loss(trial: Trial) -> float:
        return float(usual(trial)) + (2.0 if trial.config.train.tokens_per_epoch == 3200 else 0.0)

    experiment, ledger = make_ladder("--verify"), Ledger(tmp_path / "ledger.jsonl")
    for record in climb(experiment, loss):
        ledger.append(record)
    (made,) = keep_predictions(experiment, ledger)
    assert made.loss_caveat == "the rungs below missed the loss at 3,200 tokens"
    assert decode(encode(made)) == made
    caveat = f", not to be relied on ({made.loss_caveat})"
    assert caveat in prediction_text(made)
    for each in ladder_state(experiment, ledger.trials, ledger.ended(), [made]).due:
        trial = make_trial(experiment, *each)
        ledger.append(record_of(trial, usual(trial)))
    (found,) = outcomes(Results(experiment, ledger))
    assert caveat in outcome_text(found)
    # A ledger of before has no such word.
    older = unseal(json.loads(encode(made)))
    del older["loss_caveat"]
    line = json.dumps(seal(older)).encode()
    assert decode(line) == dataclasses.replace(made, loss_caveat="")


@pytest.mark.parametrize(
    ("losses", "diverged", "held"),
    [
        ({1e-3: 6.1, 2e-3: 6.0, 4e-3: 6.2}, (), True),
        ({1e-3: 6.1, 2e-3: 6.0}, (4e-3,), True),
        ({2e-3: 6.0, 4e-3: 6.2, 8e-3: 6.3}, (), None),
        ({1e-3: 6.0, 5e-4: 6.1, 2e-4: 6.2}, (), None),
        ({2e-4: 6.1, 1e-4: 6.0, 5e-5: 6.2}, (), False),
        ({}, (1e-3, 2e-3), False),
    ],
)
def test_a_rate_held_where_the_best_lies_between_two_others(
    climbed: Callable[..., tuple[Experiment, Ledger]],
    losses: dict[float, float],
    diverged: tuple[float, ...],
    held: bool | None,
) -> None:
    experiment, ledger = climbed("--verify")
    (made,) = keep_predictions(experiment, ledger)
    made = dataclasses.replace(made, rate_low=1.2e-3, rate_high=3e-3)
    found = Outcome(prediction=made, losses=dict(sorted(losses.items())), diverged=diverged)
    assert found.rate_held is held
    assert ("came to no result at lr=" in outcome_text(found)) == (not losses)


def test_runs_that_diverge_are_an_outcome_and_no_rate_to_use(
    climbed: Callable[..., tuple[Experiment, Ledger]], record_of: Callable[..., TrialRecord]
) -> None:
    experiment, ledger = climbed("--verify")
    keep_predictions(experiment, ledger)
    due = ladder_state(experiment, ledger.trials, ledger.ended(), ledger.predictions).due
    for each in due:
        ledger.append(record_of(make_trial(experiment, *each), None))
    results = Results(experiment, ledger)
    (found,) = outcomes(results)
    assert found.best is None and not found.loss_held
    assert answer(results).use.startswith("no rate yet: lr=")
    [step] = answer(results).steps
    assert "no rate trained at the target came to a result" in step.why
    words, lowest = step.command.split(), min(found.diverged)
    rates = [float(rate) for rate in words[words.index("--lr") + 1].split(",")]
    assert rates == pytest.approx([lowest / 8, lowest / 4, lowest / 2], rel=0.02)


def test_a_ladder_beyond_a_verified_one_keeps_its_prediction_and_ends(
    climbed: Callable[..., tuple[Experiment, Ledger]],
    make_ladder: Callable[..., Experiment],
    climb: Callable[..., list[TrialRecord]],
    loss_of: Callable[..., Any],
    record_of: Callable[..., TrialRecord],
    tmp_path: Path,
) -> None:
    experiment, ledger = climbed("--verify", "--name", "verified")
    loss = loss_of(slope=-0.3, sd=0.01, steep=0.2, best=4e-3)
    keep_predictions(experiment, ledger)
    for each in ladder_state(experiment, ledger.trials, ledger.ended(), ledger.predictions).due:
        trial = make_trial(experiment, *each)
        ledger.append(record_of(trial, loss(trial)))
    folder = tmp_path / "experiments" / "verified"
    experiment.write(folder)
    (folder / "ledger.jsonl").write_bytes(ledger.path.read_bytes())
    more = make_ladder("--verify", "--rungs", "800,1600,3200,6400", "--name", "more")
    more = more.replace(reuse=dataclasses.replace(more.reuse, extends="verified"))
    taken = Ledger(tmp_path / "experiments" / "more" / "ledger.jsonl")
    taken.path.parent.mkdir()
    take_over(more, taken.path.parent, taken)
    take_over(more, taken.path.parent, taken)  # as each resume does
    assert taken.predictions == ledger.predictions
    while due := ladder_state(more, taken.trials, taken.ended(), taken.predictions).due:
        assert {values["tokens_per_epoch"] for values, _ in due} == {6400}
        for each in due:
            trial = make_trial(more, *each)
            taken.append(record_of(trial, loss(trial)))
    results = Results(more, taken)
    assert results.missing_trials == 0
    [found] = outcomes(results)
    assert found.prediction == ledger.predictions[-1]
    # What the rungs say by now is beside it, and is no test.
    said, now = answer(results), results.ladder_prediction
    assert now is not None
    then = found.prediction.rung_trials
    trials = len(taken.trials) - 2
    after = f"from the present rungs ({trials} trials, {then} then), after runs of that length and"
    fresh = f"{after} so no test: {now.rate.rate:.2g}, 95% interval {now.rate.low:.2g} to"
    assert fresh in said.use
    assert f"{after} so no test: {now.loss.loss:.3f} ({now.loss.low:.3f} to" in said.loss
    assert f"predicted from: {found.prediction.rate:.2g}, 95% interval" in said.use
    assert f"{2.5:.3g} times the tokens of the largest rung it was predicted from" in said.use
    of_section = ladder_section(results).paragraphs[-1]
    assert of_section.startswith(f"8,000 tokens, {after} so no test: best rate {now.rate.rate:.2g}")
    before = Results(experiment, ledger)
    assert "present rungs" not in answer(before).use + answer(before).loss
    assert not any("present rungs" in each for each in ladder_section(before).paragraphs)


def test_the_plan_s_time_is_of_the_rungs_alone(
    climbed: Callable[..., tuple[Experiment, Ledger]],
    loss_of: Callable[..., Any],
    record_of: Callable[..., TrialRecord],
) -> None:
    experiment, ledger = climbed("--verify")
    experiment = experiment.replace(predicted_seconds=500.0)
    keep_predictions(experiment, ledger)
    before = predicted_figures(Results(experiment, ledger).trials_frame, experiment)
    (missing,) = without_result_section(Results(experiment, ledger)).paragraphs
    assert missing == f"Planned and not run yet: 2 of {len(ledger.trials) + 2} trials."
    for each in ladder_state(experiment, ledger.trials, ledger.ended(), ledger.predictions).due:
        ledger.append(record_of(trial := make_trial(experiment, *each), loss_of()(trial)))
    after = predicted_figures(Results(experiment, ledger).trials_frame, experiment)
    assert before and after == before
    said = end_line(experiment, 900.0, 900.0)
    assert said == "Time       15.0 min with the runs of --verify; 8.3 min were predicted without"


def test_a_shorter_run_can_verify_too(
    climbed: Callable[..., tuple[Experiment, Ledger]],
) -> None:
    experiment, ledger = climbed("--verify", "6400")
    made = keep_predictions(experiment, ledger)
    assert [each.tokens for each in made] == [8000, 6400]
    due = ladder_state(experiment, ledger.trials, ledger.ended(), ledger.predictions).due
    assert {values["tokens_per_epoch"] for values, _ in due} == {6400}


def test_runs_of_an_earlier_verification_stay_in_the_plan(
    climbed: Callable[..., tuple[Experiment, Ledger]],
    record_of: Callable[..., TrialRecord],
    tmp_path: Path,
) -> None:
    experiment, ledger = climbed()
    for given, tokens in (("6400", 6400), ("4800", 4800), ("target", 8000), ("4800", 4800)):
        experiment = experiment.replace(**_verification(given, experiment))
        keep_predictions(experiment, ledger)
        due = ladder_state(experiment, ledger.trials, ledger.ended(), ledger.predictions).due
        assert {values["tokens_per_epoch"] for values, _ in due} <= {tokens}
        for each in due:
            ledger.append(record_of(make_trial(experiment, *each), 5.0))
        write_study(experiment, tmp_path, ledger)
    assert due == ()
    assert experiment.space.axes["tokens_per_epoch"] == (800, 1600, 3200, 4800, 6400, 8000)
    experiment.write(tmp_path / "kept")
    assert read_experiment(tmp_path / "kept") == experiment
    with sqlite3.connect(tmp_path / "study.db") as study:
        (count,) = study.execute("SELECT count(*) FROM trials").fetchone()
    study.close()
    assert count == len(ledger.trials)
    assert [each.prediction.tokens for each in outcomes(Results(experiment, ledger))] == [
        *(8000, 6400, 4800)
    ]


def test_resume_may_add_the_verification(
    climbed: Callable[..., tuple[Experiment, Ledger]],
    run_here: Callable[..., Any],
    search_root: Path,
    stored_experiment: Experiment,
) -> None:
    out = ("--out", str(search_root))
    experiment, _ = climbed("--name", "unverified")
    folder = search_root / "experiments" / "unverified"
    experiment.write(folder)
    assert read_experiment(folder) == experiment
    run_here("search/run.py", "--resume", "unverified", "--verify", "a", *out).refused("--verify a")
    small = run_here("search/run.py", "--resume", "unverified", "--verify", "3200", *out)
    small.refused("the largest rung has 3200 tokens")
    large = run_here("search/run.py", "--resume", "unverified", "--verify", "9000", *out)
    large.refused("the target has 8000 tokens")
    stored = dataclasses.replace(stored_experiment, name="gridded").replace(uri=None)
    stored.write(search_root / "experiments" / "gridded")
    run_here("search/run.py", "--resume", "gridded", "--verify", *out).refused("is no ladder")
    run_here("search/run.py", "--grid", "lr", "--verify", *out).refused("goes with --ladder")


def test_what_a_ladder_can_t_be_extended_by_is_named(
    climbed: Callable[..., tuple[Experiment, Ledger]],
    run_here: Callable[..., Any],
    search_root: Path,
) -> None:
    experiment, _ = climbed("--name", "grown")
    experiment.write(search_root / "experiments" / "grown")
    words = ("search/run.py", "--extend", "grown", "--out", str(search_root))
    run_here(*words).refused("no longer rung fits below half of its target")
    run_here(*words, "--grid", "lr").refused("--grid lr: its rates are placed rung by rung")
    run_here(*words, "--budget", "5m").refused("--budget 5m: with other rungs nothing of grown")
    more = ("--extend", "grown", "--rates", "6")
    args = extended_arguments(make_parser(), search_root, "grown", more)
    assert (args.rates, args.rungs) == ("6", "800,1600,3200")


def test_the_file_that_repeats_a_ladder_has_its_flags(
    tmp_path: Path, ladder_words: tuple[str, ...]
) -> None:
    words = [*ladder_words, "--verify", "--rates", "5"]
    args = make_parser().parse_args(words)
    args.words = tuple(words)
    path = tmp_path / "experiment.toml"
    path.write_text(config_text(args, make_experiment(args, "cpu"), tmp_path))
    again = make_parser().parse_args(with_config(["--config", str(path)]))
    assert (again.ladder, again.verify, again.rungs) == (True, "target", args.rungs)
    assert again.rates == "5"

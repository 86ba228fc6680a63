"""`--warm-start`: what other experiments have is taken over, told to the sampler, or left out."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
from pathlib import Path

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import versions
from minigpt_search.model.records import (
    COMPLETE,
    DIVERGED,
    FAILED,
    CheckpointRef,
    EpochRecord,
    Timing,
)
from minigpt_search.search.cli.extend import extended_arguments
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.reuse.warm_start import (
    check_that_some_are_left,
    load_sources,
    take_over_warm,
    with_known_points,
)
from minigpt_search.search.samplers.from_ledger import observation_of_point
from minigpt_search.search.samplers.ledger_sampler import LedgerOptunaSearch, Observation
from minigpt_search.search.space.objective import SECONDS
from minigpt_search.search.space.space import Space
from minigpt_search.search.trials.trial import Trial, grid_trials

CORPUS = {"content_hash": "abc", "manifest": {"name": "builtin"}}
SAMPLER = ("--search", "tpe", "--trials", "9", "--preset", "quick")


def plan(root: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> Experiment:
    """The experiment that `search/run.py` makes of these words."""
    parser = make_parser()
    args = parser.parse_args(words)
    if args.extend is not None:
        args = extended_arguments(parser, root, args.extend, words)
    args.words = words
    check_options(args)
    return make_experiment(args, "cpu").replace(**CORPUS)


def record(trial: Trial, loss: float | None, status: str = COMPLETE) -> TrialRecord:
    epochs: tuple[EpochRecord, ...] = ()
    if loss is not None:
        epoch = dict.fromkeys((f.name for f in dataclasses.fields(EpochRecord)), 1.0)
        epoch |= {"epoch": 1, "tokens_seen": 1}
        epoch |= {"val_loss_nats": loss, "val_perplexity": math.exp(loss)}
        epochs = (EpochRecord(**epoch),)  # type: ignore[arg-type]
    return TrialRecord(
        trial_id=trial.trial_id,
        config=trial.config,
        replicate=trial.replicate,
        status=status,
        epochs=epochs,
        error=None if status == COMPLETE else "because",
        steps=1,
        timing=Timing(),
        device=None,
        versions=versions(),
        checkpoint=CheckpointRef(path=f"checkpoints/{trial.trial_id}/final.pt", sha256="00"),
        attempts=1,
        ended_at="2026-01-01T00:00:00+00:00",
    )


def grid(root: Path, monkeypatch: pytest.MonkeyPatch, name: str, *words: str) -> list[Trial]:
    """A finished grid, the losses of its trials 7, 7.5, 8, ..."""
    experiment = plan(root, monkeypatch, *words, "--preset", "quick", "--name", name)
    folder = root / "experiments" / name
    experiment.write(folder)
    trials = grid_trials(experiment)
    for number, trial in enumerate(trials):
        Ledger(folder / "ledger.jsonl").append(record(trial, 7 + number / 2))
        weights = folder / "checkpoints" / trial.trial_id / "final.pt"
        weights.parent.mkdir(parents=True)
        weights.write_bytes(b"weights")
    return trials


def test_a_grid_takes_finished_cells_of_two_others_and_needs_them_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = grid(tmp_path, monkeypatch, "a", "--lr", "1e-3,2e-3,9e-3")
    b = grid(tmp_path, monkeypatch, "b", "--lr", "2e-3,4e-3")
    words = ("--lr", "1e-3,2e-3,4e-3,8e-3", "--preset", "quick", "--warm-start")
    new = plan(tmp_path, monkeypatch, *words, "a", "--warm-start", "b", "--name", "c")
    assert new.reuse.warm_starts == ("a", "b")
    assert plan(tmp_path, monkeypatch, *words, "a, b,a").reuse.warm_starts == ("a", "b")
    first, second = load_sources(tmp_path, new)
    assert first.line == (
        "Warm start a: 2 trials are taken over; left out: 1 outside of the ranges"
    )
    assert [t.trial_id for t in second.taken] == [b[1].trial_id]
    assert second.line.endswith("left out: 1 that another one named before has too")
    grid(tmp_path, monkeypatch, "same", "--lr", "1e-3,2e-3")
    twice = plan(tmp_path, monkeypatch, *words, "a,same", "--name", "c")
    with pytest.raises(UserError, match=r"same: of its 2 .* none can be used .2 that another"):
        load_sources(tmp_path, twice)
    new = with_known_points(tmp_path, new)
    assert new.reuse.known_points == ()
    folder = tmp_path / "experiments" / "c"
    shutil.rmtree(folder, ignore_errors=True)
    dataclasses.replace(new).write(folder)
    ledger = Ledger(folder / "ledger.jsonl")
    take_over_warm(new, folder, ledger)
    assert [(t.trial_id, t.taken_from) for t in ledger.trials] == [
        (a[0].trial_id, "a"),
        (a[1].trial_id, "a"),
        (b[1].trial_id, "b"),
    ]
    assert len(list(folder.glob("checkpoints/*/final.pt"))) == 3
    before = ledger.path.read_bytes()
    shutil.rmtree(tmp_path / "experiments" / "a")
    take_over_warm(new, folder, ledger)
    assert ledger.path.read_bytes() == before


def test_a_sampler_is_told_the_rest_and_it_is_kept_in_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid(tmp_path, monkeypatch, "a", "--lr", "1e-3,2e-3,9e-3", "--seed", "5")
    same = grid(tmp_path, monkeypatch, "b", "--lr", "3e-3")
    wide = grid(tmp_path, monkeypatch, "wide", "--lr", "1e-3,3e-3", "--embed-dim", "64")
    fixed = ("--epochs", "1", "--embed-dim", "128")
    words = (*SAMPLER, *fixed, "--lr", "5e-4,5e-3", "--warm-start", "a,b", "--name", "c")
    new = plan(tmp_path, monkeypatch, *words)
    first, second = load_sources(tmp_path, new)
    assert first.line == (
        "Warm start a: 0 trials are taken over; 2 results are told to the sampler; "
        "left out: 1 outside of the ranges"
    )
    assert [t.trial_id for t in second.taken] == [same[0].trial_id] and second.points == ()
    new = with_known_points(tmp_path, new)
    told = [(point.values, point.objective) for point in new.reuse.known_points]
    assert told == [({"lr": 1e-3}, 7.0), ({"lr": 2e-3}, 7.5)]
    new = new.replace(hardware={"cores": 2, "memory_gb": 1.0, "gpus": []}, versions={})
    new.write(tmp_path / "experiments" / "c")
    shutil.rmtree(tmp_path / "experiments" / "a")
    assert (
        read_experiment(tmp_path / "experiments" / "c").reuse.known_points == new.reuse.known_points
    )
    longer = plan(tmp_path, monkeypatch, "--extend", "c", "--trials", "12", "--name", "d")
    assert longer.reuse.warm_starts == ()
    assert with_known_points(tmp_path, longer).reuse.known_points == new.reuse.known_points

    other = plan(tmp_path, monkeypatch, *SAMPLER, *fixed, "--warm-start", "wide")
    with pytest.raises(UserError, match=r"none can be used .2 of other configurations"):
        load_sources(tmp_path, other)
    assert len(wide) == 2


def test_a_sampler_with_nothing_left_to_try_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid(tmp_path, monkeypatch, "a", "--lr", "1e-3,2e-3")
    words = "--search", "tpe", "--preset", "quick", "--epochs", "1", "--embed-dim", "128"
    more = plan(tmp_path, monkeypatch, *words, "--warm-start", "a", "--trials", "3")
    check_that_some_are_left(tmp_path, more)
    none = plan(tmp_path, monkeypatch, *words, "--warm-start", "a", "--trials", "2")
    with pytest.raises(UserError, match=r"--trials 2: .* 2 configurations .* give more than 2"):
        check_that_some_are_left(tmp_path, none)


def test_axes_that_both_vary_and_widths_between_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid(tmp_path, monkeypatch, "a", "--embed-dim", "48,64,512", "--lr", "1e-3")
    words = (*SAMPLER, "--epochs", "1", "--seed", "3", "--warm-start", "a")
    new = plan(tmp_path, monkeypatch, *words)
    [found] = load_sources(tmp_path, new)
    assert [point.values for point in found.points] == [{"lr": 1e-3, "embed_dim": 64}]
    assert len(found.outside) == 2


def test_failed_trials_are_left_and_diverged_ones_count_as_guessing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = grid(tmp_path, monkeypatch, "a", "--lr", "1e-3,2e-3", "--seed", "9")
    ledger = Ledger(tmp_path / "experiments" / "a" / "ledger.jsonl")
    ledger.append(record(trials[0], None, FAILED))
    ledger.append(record(trials[1], None, DIVERGED))
    new = plan(tmp_path, monkeypatch, *SAMPLER, "--grid", "lr", "--warm-start", "a")
    [found] = load_sources(tmp_path, new)
    [point] = found.points
    assert (point.objective, point.status) == (pytest.approx(math.log(50_257)), DIVERGED)
    # With two objectives it must not count on the front: it was cheap, and that is all.
    told = observation_of_point(new.replace(objectives=("val_loss", SECONDS)), point)
    assert told.constraints["diverged"] > 0


def test_what_diverged_is_told_apart_from_what_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = grid(tmp_path, monkeypatch, "a", "--lr", "1e-3,2e-3,0.5,0.6")
    ledger = Ledger(tmp_path / "experiments" / "a" / "ledger.jsonl")
    for trial in trials[2:]:
        ledger.append(record(trial, None, DIVERGED))
    some = plan(
        tmp_path, monkeypatch, "--lr", "1e-3,9e-3", "--preset", "quick", "--warm-start", "a"
    )
    [found] = load_sources(tmp_path, some)
    assert found.line.endswith("left out: 3 outside of the ranges, of which 2 diverged")
    none = plan(
        tmp_path, monkeypatch, "--lr", "8e-3,9e-3", "--preset", "quick", "--warm-start", "a"
    )
    message = (
        "a: of its 2 finished and 2 diverged trials none can be used (4 outside of the ranges, "
        "of which 2 diverged); leave it out"
    )
    with pytest.raises(UserError, match=re.escape(message)):
        load_sources(tmp_path, none)


def test_another_corpus_and_a_missing_experiment_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid(tmp_path, monkeypatch, "a", "--lr", "1e-3,2e-3")
    new = plan(tmp_path, monkeypatch, "--lr", "1e-3,3e-3", "--warm-start", "a,gone")
    with pytest.raises(UserError, match="no experiment 'gone'"):
        load_sources(tmp_path, new)
    other = new.replace(content_hash="abd")
    with pytest.raises(UserError, match="--warm-start a: it is on the corpus builtin"):
        load_sources(tmp_path, other)


def test_what_is_known_moves_a_samplers_suggestions_and_may_be_tried_again() -> None:
    def search_with(
        axes: dict[str, tuple[float, ...]], known: list[Observation]
    ) -> LedgerOptunaSearch:
        return LedgerOptunaSearch(
            space=Space(axes=axes, kinds={}, base=RunConfig()),
            sampler="tpe",
            base_seed=0,
            finished=[],
            unfinished=[],
            known=known,
        )

    def told(values: dict[str, float], loss: float) -> Observation:
        return Observation(values=values, status=COMPLETE, objective=loss)

    def suggestions(known: list[Observation]) -> list[float]:
        search = search_with({"lr": (1e-4, 1e-2), "epochs": (1, 3)}, known)
        return [search.suggest(str(number))["values"]["lr"] for number in range(12)]

    best = 10 ** (-4 + 18 / 12)
    points = [
        told({"lr": 10 ** (-4 + i / 12), "epochs": 1 + i % 3}, abs(i - 18) / 9) for i in range(25)
    ]
    near, far = (
        sum(abs(math.log(rate / best)) for rate in suggestions(known)) for known in (points, [])
    )
    assert near < far / 1.5
    search = search_with({"epochs": (1, 3)}, [told({"epochs": n}, 7.0) for n in (1, 2, 3)])
    tried = {search.suggest(str(number))["values"]["epochs"] for number in range(3)}
    assert tried == {1, 2, 3}


def test_trials_with_other_seeds_are_told_from_those_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were said to be outside of the ranges."""
    grid(tmp_path, monkeypatch, "a", "--lr", "1e-3,2e-3", "--no-paired")
    grid(tmp_path, monkeypatch, "b", "--lr", "1e-3,2e-3", "--paired")
    words = ("--lr", "1e-3,3e-3", "--preset", "quick", "--paired", "--warm-start")
    [found] = load_sources(tmp_path, plan(tmp_path, monkeypatch, *words, "b"))
    assert found.line.endswith("1 trial is taken over; left out: 1 outside of the ranges")
    with pytest.raises(UserError) as error:
        load_sources(tmp_path, plan(tmp_path, monkeypatch, *words, "a"))
    assert (
        "(1 outside of the ranges; 1 with other seeds (--seed, --seeds or --paired differs))"
        in str(error.value)
    )

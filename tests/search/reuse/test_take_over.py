"""A search that goes on with something else than it began with, and one that takes over another."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.hardware.device import versions
from minigpt_search.model.records import (
    COMPLETE,
    DIVERGED,
    FAILED,
    CheckpointRef,
    Device,
    EpochRecord,
    Timing,
)
from minigpt_search.search.cli.extend import extended_arguments
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.provenance import check_resume_compatible
from minigpt_search.search.results.barriers import MEMORY
from minigpt_search.search.reuse.take_over import (
    extension_line,
    finished_trials,
    take_over,
    with_failed_points,
)
from minigpt_search.search.reuse.warm_start import is_mixed, load_sources
from minigpt_search.search.trials.trial import Trial, grid_trials, make_trial

EPOCH = EpochRecord(
    epoch=1,
    train_loss_nats=7.5,
    val_loss_nats=7.0,
    val_perplexity=math.exp(7.0),
    val_bits_per_byte=2.1,
    lr_last=0.0,
    grad_norm_mean=1.0,
    tokens_seen=1,
    wall_seconds=1.0,
    steps_per_second=1.0,
    peak_memory_mb=1.0,
)
CORPUS = {"content_hash": "abc", "manifest": {"name": "builtin"}}


def plan(root: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> Experiment:
    """The experiment that `search/run.py` makes of these words."""
    parser = make_parser()
    args = parser.parse_args(words)
    if args.extend is not None:
        args = extended_arguments(parser, root, args.extend, words)
    args.words = words
    check_options(args)
    return make_experiment(args, args.device or "cpu").replace(**CORPUS)


def begin(root: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[Experiment, Path]:
    experiment = plan(root, monkeypatch, *words)
    folder = root / "experiments" / experiment.name
    experiment.write(folder)
    return experiment, folder


def record(trial: Trial, status: str = COMPLETE) -> TrialRecord:
    return TrialRecord(
        trial_id=trial.trial_id,
        config=trial.config,
        replicate=trial.replicate,
        status=status,
        epochs=(EPOCH,) if status == COMPLETE else (),
        error=None if status == COMPLETE else "because",
        steps=1,
        timing=Timing(),
        device=Device(kind="cpu", name="a processor", threads=1),
        versions=versions(),
        checkpoint=CheckpointRef(path=f"checkpoints/{trial.trial_id}/final.pt", sha256="00"),
        attempts=1,
        ended_at="2026-01-01T00:00:00+00:00",
    )


def test_what_an_experiment_did_not_begin_with_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = plan(tmp_path, monkeypatch, "--grid", "lr", "--name", "x")
    check_resume_compatible(experiment, "abc")
    code = experiment.provenance.code | {
        "model/training/loop.py": "0" * 16,
        "model/gone.py": "1" * 16,
    }
    other = experiment.replace(
        code=code, versions=experiment.provenance.versions | {"torch": "1.0"}
    )
    with pytest.raises(UserError) as caught:
        check_resume_compatible(other, None)
    said = str(caught.value)
    assert "--resume x" in said and "--extend x" in said and "\n" not in said
    assert "changed code: model/gone.py, model/training/loop.py;" in said
    assert f"torch 1.0 then, {versions()['torch']} now" in said
    assert "corpus builtin: abc then, missing now" in said
    with pytest.raises(UserError, match="abc then, abd now"):
        check_resume_compatible(experiment, "abd")
    with pytest.raises(UserError, match="not on record"):
        check_resume_compatible(experiment.replace(code={}), "abc")


def test_an_extension_is_the_other_command_with_flags_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path, monkeypatch, "--grid", "lr", "--preset", "full", "--seed", "7", "--name", "a")
    first = plan(tmp_path, monkeypatch, "--extend", "a", "--lr", "1e-3,4e-3", "--name", "b")
    assert first.space.axes == {"lr": (1e-3, 4e-3)}
    assert (first.preset, first.noise.base_seed, first.name, first.reuse.extends) == (
        "full",
        7,
        "b",
        "a",
    )
    first.write(tmp_path / "experiments" / "b")
    second = plan(tmp_path, monkeypatch, "--extend", "b", "--seeds", "2")
    assert (
        second.space.axes == first.space.axes
        and second.noise.base_seed == 7
        and second.noise.seeds == 2
    )
    assert second.name not in ("a", "b") and second.reuse.extends == "b"


def test_finished_trials_are_taken_over_once_with_their_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--grid", "lr", "--lr", "1e-3,2e-3,3e-3", "--preset", "quick")
    old, old_folder = begin(tmp_path, monkeypatch, *words, "--name", "a")
    ledger = Ledger(old_folder / "ledger.jsonl")
    trials = grid_trials(old)
    for trial, status in zip(trials, (COMPLETE, DIVERGED, FAILED), strict=True):
        ledger.append(record(trial, status))
    weights = old_folder / "checkpoints" / trials[0].trial_id / "final.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")

    new, folder = begin(
        tmp_path, monkeypatch, "--extend", "a", "--lr", "5e-4,1e-3,2e-3,3e-3", "--name", "b"
    )
    taken = Ledger(folder / "ledger.jsonl")
    for _ in range(2):
        take_over(new, folder, taken)
    known = {t.trial_id: t for t in Ledger(taken.path).trials}
    assert known.keys() == {trials[0].trial_id, trials[1].trial_id}
    assert all(t.taken_from == "a" for t in known.values())
    assert (folder / weights.relative_to(old_folder)).read_bytes() == b"weights"
    assert taken.path.read_bytes().count(b"\n") == 2
    assert {t.trial_id for t in grid_trials(new)} >= known.keys()


def test_what_failed_outside_of_the_new_plan_is_kept_in_mind_from_search_to_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--lr", "1e-3,2e-3,0.5,0.9", "--preset", "quick")
    old, folder = begin(tmp_path, monkeypatch, *words, "--name", "a")
    first, second, third, fourth = (record(trial) for trial in grid_trials(old))
    third = dataclasses.replace(third, status=DIVERGED, epochs=())
    fourth = dataclasses.replace(fourth, status=FAILED, epochs=(), error="out of memory: no room")
    for each in (first, second, third, fourth):
        Ledger(folder / "ledger.jsonl").append(each)
    names = ("a", "b")
    for number, name in enumerate(names):
        rates = "1e-3,2e-3,4e-3" if number == 0 else "1e-3,4e-3"
        new = plan(tmp_path, monkeypatch, "--extend", name, "--lr", rates, "--name", "bc"[number])
        assert "left out: 2 that diverged or found too" in extension_line(tmp_path, new)
        new = with_failed_points(tmp_path, new)
        known = [(point.values["lr"], point.reason) for point in new.reuse.failed_points]
        assert known == [(0.5, DIVERGED), (0.9, MEMORY)]
        new.write(tmp_path / "experiments" / new.name)
        ledger = Ledger(tmp_path / "experiments" / new.name / "ledger.jsonl")
        take_over(new, ledger.path.parent, ledger)
        assert read_experiment(ledger.path.parent).reuse == new.reuse
    flags = ("--lr", "1e-3,6e-3", "--preset", "quick", "--warm-start", "a", "--name", "w")
    warm = with_failed_points(tmp_path, plan(tmp_path, monkeypatch, *flags))
    assert [p.warm for p in warm.reuse.failed_points] == [True, True]
    both = plan(tmp_path, monkeypatch, "--extend", "b", *flags)
    assert [p.warm for p in with_failed_points(tmp_path, both).reuse.failed_points] == [False] * 2
    within = plan(tmp_path, monkeypatch, "--extend", "a", "--name", "d")  # they are in its plan
    assert with_failed_points(tmp_path, within).reuse.failed_points == ()


@pytest.mark.parametrize("more", [("--confirm", "2"), ("--lr", "1e-3,2e-3,4e-3")])
def test_after_a_budget_what_it_was_trimmed_to_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    words = ("--lr", "1e-3,2e-3", "--preset", "quick", "--budget", "5m", "--name", "a")
    whole = plan(tmp_path, monkeypatch, *words)
    old = whole.replace(base=whole.space.base.replace(tokens_per_epoch=51_200))
    folder = tmp_path / "experiments" / "a"
    old.write(folder)
    for trial in grid_trials(old):
        Ledger(folder / "ledger.jsonl").append(record(trial))
    new = plan(tmp_path, monkeypatch, "--extend", "a", *more, "--name", "b")
    assert new.plan.budget_seconds is None
    assert len(finished_trials(tmp_path, new)) == 2


def test_after_a_budget_a_sampler_has_tried_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--search", "random", "--lr", "1e-4,1e-2", "--epochs", "1", "--embed-dim", "32")
    old, folder = begin(tmp_path, monkeypatch, *words, "--budget", "5m", "--name", "a")
    for rate in (1e-3, 2e-3, 3e-3):
        trial = make_trial(old, {"lr": rate}, 0)
        Ledger(folder / "ledger.jsonl").append(record(trial))
    new = plan(tmp_path, monkeypatch, "--extend", "a", "--confirm", "2")
    assert new.plan.samples == 3 and new.plan.budget_seconds is None
    more = plan(tmp_path, monkeypatch, "--extend", "a", "--trials", "20")
    assert more.plan.samples == 20 and more.plan.budget_seconds is None
    again = plan(tmp_path, monkeypatch, "--extend", "a", "--budget", "9m")
    assert again.plan.budget_seconds == 540 and again.plan.samples == old.plan.samples


def test_other_code_is_still_said_of_what_was_taken_over_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--lr", "1e-3,2e-3", "--preset", "quick")
    made = plan(tmp_path, monkeypatch, *words, "--name", "a")
    libraries = made.provenance.versions | {"torch": "1.0"}
    made.replace(versions=libraries).write(tmp_path / "experiments" / "a")
    ledger = Ledger(tmp_path / "experiments" / "a" / "ledger.jsonl")
    for trial in grid_trials(made):
        ledger.append(record(trial))
    second = plan(tmp_path, monkeypatch, "--extend", "a", "--name", "b")
    assert extension_line(tmp_path, second).endswith("made by other code or libraries")
    second = second.replace(mixed=is_mixed(tmp_path, second))
    folder = tmp_path / "experiments" / "b"
    second.write(folder)
    take_over(second, folder, Ledger(folder / "ledger.jsonl"))
    for flag in ("--extend", "--warm-start"):
        flags = words if flag == "--warm-start" else ()
        third = plan(tmp_path, monkeypatch, *flags, flag, "b", "--name", "c")
        assert is_mixed(tmp_path, third)
        lines = [found.line for found in load_sources(tmp_path, third)]
        lines += [extension_line(tmp_path, third)] if flag == "--extend" else []
        assert lines[0].endswith("made by other code or libraries")


@pytest.mark.parametrize(
    "words", [("--seed", "1"), ("--lr", "4e-3"), ("--embed-dim", "64"), ("--batch", "none")]
)
def test_another_plan_takes_nothing_over_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    old, folder = begin(
        tmp_path, monkeypatch, "--lr", "1e-3,2e-3", "--preset", "quick", "--name", "a"
    )
    Ledger(folder / "ledger.jsonl").append(record(grid_trials(old)[0]))
    if words == ("--batch", "none"):  # the same plan on another corpus
        monkeypatch.setitem(CORPUS, "content_hash", "other")
        words = ()
    new = plan(tmp_path, monkeypatch, "--extend", "a", *words, "--name", "b")
    with pytest.raises(UserError, match="--extend a: none of its 1 finished trial is"):
        finished_trials(tmp_path, new)


def test_a_sampler_takes_over_what_lies_in_its_ranges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, folder = begin(
        tmp_path, monkeypatch, "--lr", "1e-3,2e-3,9e-3", "--preset", "quick", "--name", "a"
    )
    for trial in grid_trials(old):
        Ledger(folder / "ledger.jsonl").append(record(trial))
    sampler = ("--search", "tpe", "--trials", "9", "--lr", "5e-4,5e-3")
    fixed = ("--epochs", "1", "--embed-dim", "128")
    new = plan(tmp_path, monkeypatch, "--extend", "a", *sampler, *fixed)
    rates = [t.config.train.lr_peak for t in finished_trials(tmp_path, new)]
    assert rates == [1e-3, 2e-3]


def test_claims_take_over_the_cells_that_are_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the others between the axes' values."""
    words = ("--grid", "lr,embed_dim", "--lr", "3e-4,1e-3", "--embed-dim", "64,128")
    before, folder = begin(tmp_path, monkeypatch, *words, "--preset", "quick", "--name", "lr")
    ledger = Ledger(folder / "ledger.jsonl")
    for trial in grid_trials(before):
        ledger.append(record(trial))
    claims = plan(tmp_path, monkeypatch, "--grid", "claims", "--preset", "quick")
    claims = claims.replace(extends="lr")
    taken = finished_trials(tmp_path, claims)
    values = [(t.config.train.lr_peak, t.config.model.embed_dim) for t in taken]
    assert sorted(values) == [(3e-4, 128), (1e-3, 64), (1e-3, 128)]

"""Rungs that share trunks under wsd: what is shared, told, counted, left for the next rung, taken
up there and deleted."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.config import trial_id
from minigpt_search.model.records import COMPLETE, EpochRecord
from minigpt_search.model.training.train import train
from minigpt_search.search.driver.recorder import Recorder, drop_branches
from minigpt_search.search.ladder.layout import on_its_text
from minigpt_search.search.ladder.rounds import ladder_state
from minigpt_search.search.planning.calibration import Speed, Speeds
from minigpt_search.search.planning.disk import running_bytes
from minigpt_search.search.planning.estimate import Estimator
from minigpt_search.search.planning.ladder_size import ladder_lines, ladder_price
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.trial_folder import Start, note_start, trial_folder
from minigpt_search.search.space.ladder_spec import LATTICE, LadderSpec, lattice_place
from minigpt_search.search.storage.folder import FolderStorage
from minigpt_search.search.sync.mirror import Mirror, StorageMirror
from minigpt_search.search.sync.worker_files import SyncedWorkerFiles
from minigpt_search.search.trials.groups import price_line, rung_beside, shared_steps
from minigpt_search.search.trials.length import length_in
from minigpt_search.search.trials.trial import Trial, grid_trials, make_trial
from minigpt_search.search.worker import trainable

Make = Callable[..., Experiment]
WSD = ("--schedule", "wsd", "--space", "warmup_steps=10")
LONG = ("--schedule", "wsd", "--space", "warmup_steps=21")
"""Its warm-up is more than a fifth of the shortest rung's 100 steps."""
TINY = (
    *("--schedule", "wsd", "--space", "warmup_steps=2", "--epochs", "2"),
    *("--rungs", "80,160,320", "--max-concurrent", "1", "--cpus-per-trial", "1"),
)
"""Rungs of 10, 20 and 40 steps an epoch."""
SPEED = Speed(training=400.0, scoring=40_000.0, memory_mb=500.0)


def on_small(search_root: Path) -> Callable[[Trial], Any]:
    return length_in(open_corpus(search_root / "corpus" / "small"))


def lines_of(experiment: Experiment, search_root: Path) -> list[str]:
    """The plan's lines on target and rungs."""
    assert experiment.ladder is not None
    ladder = dataclasses.replace(experiment.ladder, factor=5.0)
    known = estimator(experiment, search_root)
    return ladder_lines(experiment.replace(ladder=ladder), known)


def estimator(experiment: Experiment, search_root: Path) -> Estimator:
    speeds = Speeds({experiment.space.base: SPEED})
    return Estimator(experiment, speeds, 700, on_small(search_root))


def test_a_rate_has_one_seed_on_all_rungs_where_they_share_trunks(make_ladder: Make) -> None:
    shared, own, linear = (
        grid_trials(make_ladder(*words, "--seeds", "2")) for words in (WSD, LONG, ())
    )
    by_rate = Counter((t.config.train.lr_peak, t.config.train.seed) for t in shared)
    assert set(by_rate.values()) == {3} and len(by_rate) == 4 * 2
    for trials in (own, linear):
        assert len({t.config.train.seed for t in trials}) == len(trials) == 3 * 4 * 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (LONG, "a warm-up of 21 steps is too much of the shortest rung"),
        (("--schedule", "wsd"), "a warm-up that is a share of each run"),
        (("--schedule", "wsd", "--space", "warmup_fraction=0.05"), "a share of each run"),
    ],
)
def test_a_warm_up_that_rungs_cannot_have_alike_says_what_would_help(
    make_ladder: Make, search_root: Path, words: tuple[str, ...], why: str
) -> None:
    experiment = make_ladder(*words)
    assert experiment.ladder is not None and not experiment.ladder.trunks
    assert experiment.space.base.train.warmup_fraction is not None
    [line] = [line for line in lines_of(experiment, search_root) if line.startswith("Branches")]
    assert why in line and "--space warmup_steps=N, at most 20, lets" in line
    trials = grid_trials(experiment)
    assert price_line(experiment, trials, on_small(search_root)) == []
    # What it says helps.
    helped = make_ladder("--schedule", "wsd", "--space", "warmup_steps=20")
    assert helped.ladder is not None and helped.ladder.trunks
    assert helped.space.base.train.warmup_steps == 20
    assert on_its_text(helped) == helped
    told = lines_of(helped, search_root)
    assert "warm-up 20 of 1,000 steps, as many on every rung" in told[0]
    assert not any(line.startswith("Branches") for line in told)


def test_both_kinds_of_warm_up_are_refused(run_here: Callable[..., Any]) -> None:
    words = ("--grid", "lr", "--space", "warmup_steps=5", "--space", "warmup_fraction=0.1")
    run_here("search/run.py", *words).refused("exclude each other")


def test_the_plan_counts_what_rungs_go_on_from(make_ladder: Make, search_root: Path) -> None:
    """Of 100, 200 and 400 steps: 80 and 160 of the two longer are the shorter one's."""
    experiment, length = make_ladder(*WSD, "--max-concurrent", "1"), on_small(search_root)
    trials = grid_trials(experiment)
    shared = shared_steps(experiment, trials, length)
    steps = {t.trial_id: t.config.train.tokens_per_epoch for t in trials}
    assert Counter((steps[name], n) for name, n in shared.items()) == {
        (1600, 80): 4,
        (3200, 160): 4,
    }
    [line] = price_line(experiment, trials, length)
    assert "1,840 steps are trained instead of 2,800" in line
    assert shared_steps(experiment, trials[4:8], length) == {}  # none that it could go on from
    ended = [t.config for t in trials[:2]]
    assert set(shared_steps(experiment, trials[4:8], length, ended).values()) == {80}
    assert len(shared_steps(experiment, trials[4:8], length, ended)) == 2

    known = estimator(experiment, search_root)
    spec = experiment.ladder
    assert spec is not None
    apart = known.seconds(trials[0]), known.seconds(trials[4]), known.seconds(trials[8])
    saved = 4 * (0.4 * apart[1] + 0.4 * apart[2])
    alone = experiment.replace(ladder=dataclasses.replace(spec, trunks=False))
    assert known.search(alone, trials) - known.search(experiment, trials) == pytest.approx(saved)
    long = make_ladder(*LONG, "--max-concurrent", "1")
    price = [ladder_price(each, known)(each.ladder) for each in (long, experiment) if each.ladder]
    assert price[0] - price[1] == pytest.approx(saved)


def test_branches_are_counted_on_disk(make_ladder: Make) -> None:
    shared, own = (running_bytes(make_ladder(*words, "--seeds", "2"), 1) for words in (WSD, LONG))
    assert shared == pytest.approx(own * (3 + 2 * 4 * 2) / 3)


@pytest.mark.parametrize(
    ("rate", "slope"), [(1e-3, 0.5), (1.41e-3, -0.6), (1.2e-1, 0.3), (9e-6, 0)]
)
def test_rates_recur(
    make_ladder: Make,
    loss_of: Callable[..., Any],
    climb: Callable[..., list[TrialRecord]],
    rate: float,
    slope: float,
) -> None:
    experiment = make_ladder(*WSD, "--lr", f"{rate}")
    records = climb(experiment, loss_of(slope=slope, best=rate))
    places: dict[int, set[int]] = {}
    for record in records:
        train = record.config.train
        places.setdefault(train.tokens_per_epoch or 0, set()).add(lattice_place(train.lr_peak))
    assert {k % 2 for own in places.values() for k in own} == {lattice_place(rate) % 2}
    assert all(k in LATTICE for own in places.values() for k in own)
    assert places[800] & places[1600] and places[1600] & places[3200]


def test_places_stay_on_the_lattice_and_off_the_same_places() -> None:
    spec = LadderSpec(rungs=(1, 2, 3), rates=4, trunks=True)
    for centre in LATTICE:
        places = spec.places(centre)
        assert len(places) == 4 and all(k in LATTICE and (k - centre) % 2 == 0 for k in places)
        plain = dataclasses.replace(spec, trunks=False).places(centre)
        assert abs(plain[0] - places[0]) <= 1
        assert (plain == places) == (-12 <= centre <= 10 or centre % 2 == 0)
    assert {spec.centre(rate, 1.41e-3) % 2 for rate in (1e-9, 1e-3, 2e-3, 9.0)} == {1}


CLOCKS = {"wall_seconds", "steps_per_second", "peak_memory_mb"}


def numbers(epochs: tuple[EpochRecord, ...]) -> list[dict[str, float]]:
    return [{k: v for k, v in vars(epoch).items() if k not in CLOCKS} for epoch in epochs]


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def worker(
    make_ladder: Make, search_root: Path, monkeypatch: pytest.MonkeyPatch, threads: None
) -> Iterator[Callable[..., tuple[Experiment, Path, Callable[[Trial], TrialRecord]]]]:
    """`worker(name, *words)`: a ladder's plan, its folder, and what trains a trial there."""
    monkeypatch.setattr(trainable.tune, "report", lambda result: None)

    def make(name: str, *words: str) -> tuple[Experiment, Path, Callable[[Trial], TrialRecord]]:
        plan = make_ladder(*TINY, "--name", name, *words)
        folder = search_root / "experiments" / name
        plan.write(folder)
        ledger = Ledger(folder / "ledger.jsonl")
        recorder = Recorder(plan, folder, ledger)

        def run(trial: Trial) -> TrialRecord:
            cells = {"pack": [{"values": trial.values, "replicate": trial.replicate}]}
            trainable.run_trials(cells, folder, session="a")
            recorder.on_trial_complete(0, [], SimpleNamespace(config=cells, last_result=None))
            record = ledger.newest(trial.trial_id)
            assert record is not None and record.status == COMPLETE
            return record

        return plan, folder, run

    yield make


def test_a_rungs_trial_goes_on_from_the_one_below_and_the_rest_is_deleted(
    worker: Callable[..., Any], search_root: Path
) -> None:
    plan, folder, run = worker("rungs-trunks")
    trials = grid_trials(plan)
    shorter, longer, longest = trials[0], trials[4], trials[8]
    assert len({t.config.train.lr_peak for t in (shorter, longer, longest)}) == 1
    first, other = run(shorter), run(trials[1])
    waiting = trial_folder(folder, longer.trial_id)
    assert [path.name for path in waiting.iterdir()] == ["step_000000010.pt"]
    ledger = Ledger(folder / "ledger.jsonl")
    drop_branches(plan, folder, ledger, Mirror(), trials[4:8])  # which may yet be wanted
    second = run(longer)
    assert (first.trunk_steps, second.trunk_steps, second.steps) == (0, 10, 40)
    assert second.attempts == 1 and 0 < second.trunk_seconds < second.timing.total()
    corpus = open_corpus(search_root / "corpus" / "small")
    for record in (first, second):
        assert record.device is not None
        torch.set_num_threads(record.device.threads)
        assert numbers(record.epochs) == numbers(train(record.config, corpus).epochs)

    ledger = Ledger(folder / "ledger.jsonl")
    unused = trial_folder(folder, trials[5].trial_id)
    assert rung_beside(plan, other.config, 1) == trials[5].config and any(unused.iterdir())
    drop_branches(plan, folder, ledger, Mirror(), [longest])  # the second rung is over
    assert not unused.exists() and (waiting / "final.pt").exists()
    assert any(trial_folder(folder, longest.trial_id).glob("step_*"))
    drop_branches(plan, folder, ledger, Mirror(), [])
    assert not list(folder.rglob("step_*.pt"))


def test_what_has_begun_is_never_written_into(worker: Callable[..., Any]) -> None:
    plan, folder, run = worker("rungs-begun")
    shorter, longer = grid_trials(plan)[0], grid_trials(plan)[4]
    home = trial_folder(folder, longer.trial_id)
    note_start(home, longer.values, 0, Start(session="a"))
    (home / "step_000000005.pt").write_bytes(b"its own")
    assert run(shorter).status == COMPLETE
    assert {path.name for path in home.iterdir()} == {"trial.json", "step_000000005.pt"}


def test_a_branch_goes_through_the_storage(
    make_ladder: Make, storage: FolderStorage, tmp_path: Path
) -> None:
    plan = make_ladder(*WSD, "--name", "x", "--storage", storage.uri)
    shorter, longer = grid_trials(plan)[0].trial_id, grid_trials(plan)[4].trial_id
    with ExitStack() as held:
        files = SyncedWorkerFiles(storage, plan, tmp_path / "one" / "x", held)
        files.begin([shorter])
        note_start(trial_folder(files.folder, shorter), {}, 0, Start(session="a"))
        files.wrote(trial_folder(files.folder, shorter) / "trial.json")
        assert files.has_begun(shorter) and not files.has_begun(longer)
        branch = trial_folder(files.folder, longer) / "step_000000080.pt"
        branch.parent.mkdir()
        branch.write_bytes(b"branch")
        files.wrote_checkpoint(branch)
        assert not branch.parent.exists()
        files.close()  # at once: it is there already
    with ExitStack() as held:
        other = SyncedWorkerFiles(storage, plan, tmp_path / "two" / "x", held)
        other.begin([longer])
        fetched = trial_folder(other.folder, longer) / branch.name
        assert fetched.read_bytes() == b"branch"
    StorageMirror(storage, plan, tmp_path).forget_checkpoints(longer)
    assert not storage.list(f"experiments/x/checkpoints/{longer}")


def test_an_ended_trial_and_one_that_failed_keep_their_files(
    make_ladder: Make, record_of: Callable[..., TrialRecord], tmp_path: Path
) -> None:
    plan, ledger = make_ladder(*WSD), Ledger(tmp_path / "ledger.jsonl")
    trials = grid_trials(plan)
    for number, trial in enumerate((trials[0], trials[1], trials[4])):
        ledger.append(record_of(trial, 5.0 + number))
    for trial in trials[4:6]:
        folder = trial_folder(tmp_path, trial.trial_id)
        folder.mkdir(parents=True)
        (folder / "step_000000080.pt").touch()
    drop_branches(plan, tmp_path, ledger, Mirror(), [])
    assert trial_folder(tmp_path, trials[4].trial_id).exists()
    assert not trial_folder(tmp_path, trials[5].trial_id).exists()


def test_ids_of_longer_runs_are_those_that_come_to_be_due(
    make_ladder: Make,
    loss_of: Callable[..., Any],
    climb: Callable[..., list[TrialRecord]],
) -> None:
    plan = make_ladder(*WSD, "--seeds", "2", "--embed-dim", "8,16")
    records = climb(plan, loss_of(best=1e-3))
    left = {
        trial_id(longer, plan.corpus.content_hash)
        for record in records
        if (longer := rung_beside(plan, record.config, 1)) is not None
    }
    above = {r.trial_id for r in records if (r.config.train.tokens_per_epoch or 0) > 800}
    assert len(above & left) > len(above) / 2
    due = [make_trial(plan, *each) for each in ladder_state(plan, records[:16]).due]
    assert {t.trial_id for t in due} <= above | {r.trial_id for r in records}

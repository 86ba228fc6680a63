"""The files of running trials: whole, small, gone at the end, and never in a search's way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from minigpt_search.model.records import TrialCurve
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.driver import live_curves
from minigpt_search.search.driver.live_curves import LiveCurves
from minigpt_search.search.trials.reports import MEMBER_END
from minigpt_search.search.trials.trial import Trial, trials_of


def points(first: int, last: int, step: int = 1) -> TrialCurve:
    steps = tuple(range(first, last, step))
    return TrialCurve(
        steps=steps,
        train_loss_nats=(7.12345,) * len(steps),
        grad_norm=(0.512345,) * len(steps),
        grad_norm_max=(1.12345,) * len(steps),
        lr=(0.000123456,) * len(steps),
        val_steps=steps[9::10],
        val_loss_nats=(7.12345,) * len(steps[9::10]),
        val_tokens=(640,) * len(steps[9::10]),
    )


Reported = tuple[LiveCurves, list[Trial], Callable[..., None], Path]


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reported:
    """The callback, a pack's two trials, what hands it a report of one, and its folder."""
    monkeypatch.setattr(live_curves, "SOONEST_SECONDS", 0.0)
    experiment = make_experiment(make_parser().parse_args(["--grid", "lr"]), "cpu")
    cells = [{"values": {"lr": lr}, "replicate": 0} for lr in (1e-3, 2e-3)]
    pack = SimpleNamespace(config={"pack": cells})
    live = LiveCurves(experiment, tmp_path)
    trials = trials_of(experiment, pack.config)

    def report(kind: str, which: int = 0, **fields: object) -> None:
        if kind == "complete":
            live.on_trial_complete(1, [], pack)
        else:
            result = {"kind": kind, "member": trials[which].trial_id, **fields}
            live.on_trial_result(1, [], pack, result)

    return live, trials, report, tmp_path / "live"


def test_each_running_trial_has_a_file_until_it_ends(two: Reported) -> None:
    _, trials, report, folder = two
    assert not folder.exists()
    report("progress", step=5, total_steps=40, train_loss_nats=9.5, curve=points(1, 6))
    report("epoch", step=20, total_steps=40, epoch=1, val_loss_nats=8.5, curve=points(6, 21))
    report("progress", which=1, step=3, total_steps=40, train_loss_nats=9.0, curve=points(1, 4))
    first, second = (json.loads((folder / f"{t.trial_id}.json").read_text()) for t in trials)
    told = {key: first[key] for key in ("trial", "step", "total_steps", "epoch", "epochs")}
    assert told == {"trial": "lr=0.001", "step": 20, "total_steps": 40, "epoch": 1, "epochs": 1}
    assert (first["train_loss_nats"], first["val_loss_nats"]) == (9.5, 8.5)
    assert first["curve"]["steps"] == list(range(1, 21)) and first["curve"]["val_steps"] == [15]
    assert second["curve"]["steps"] == [1, 2, 3]
    report(MEMBER_END, which=1, status="complete")
    assert [path.stem for path in folder.iterdir()] == [trials[0].trial_id]
    report("complete")
    assert not list(folder.iterdir())


def test_a_file_stays_small_however_long_the_trial_is(two: Reported) -> None:
    _, trials, report, folder = two
    report("progress", step=1, total_steps=10**6, curve=points(10**4, 10**6 + 1, 10**4))
    for step in range(2, 500):
        report("progress", step=step, total_steps=10**6, train_loss_nats=9.123456789)
    assert (folder / f"{trials[0].trial_id}.json").stat().st_size < 6_500


def test_points_that_come_again_replace_those_before(two: Reported) -> None:
    _, trials, report, folder = two
    report("progress", step=30, total_steps=40, curve=points(1, 31))
    report("progress", step=12, total_steps=40, curve=points(1, 13))  # its process was lost
    found = json.loads((folder / f"{trials[0].trial_id}.json").read_text())
    assert found["curve"]["steps"] == list(range(1, 13)) and found["step"] == 12
    assert found["curve"]["val_steps"] == [10]


def test_what_a_killed_driver_left_goes_and_so_does_what_did_not_end(two: Reported) -> None:
    live, _, report, folder = two
    report("progress", step=5, total_steps=40, curve=points(1, 6))
    assert list(folder.iterdir())
    again = LiveCurves(live.experiment, folder.parent)
    assert not folder.exists()
    again.close()
    report("progress", step=6, total_steps=40, curve=points(6, 7))
    live.close()
    assert not folder.exists()


def test_where_it_cant_be_written_that_is_said_once_and_the_search_goes_on(
    two: Reported, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, report, folder = two
    folder.write_text("")  # no folder can be there
    for step in (1, 2, 3):
        report("progress", step=step, total_steps=40, curve=points(step, step + 1))
    report("complete")
    said = capsys.readouterr().err
    assert said.count("can't be written") == 1 and "the search goes on" in said

"""The live page's state, from files that a driver, or a killed one, would have left."""

from __future__ import annotations

import dataclasses
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.model.records import TrialCurve
from minigpt_search.reports.live.curves import COLOURS, GREY, Colours
from minigpt_search.reports.live.state import LiveState
from minigpt_search.reports.live.tables import ROWS
from minigpt_search.search.driver.live_curves import LiveCurves
from minigpt_search.search.records.experiment import LOCK_FILE
from minigpt_search.search.records.ledger_records import BaselineRecord
from minigpt_search.search.records.live import FOLDER, SearchFile, forget, read_search
from minigpt_search.search.trials.trial import Trial, make_trial


def curve(points: int = 3, loss: float = 7.0) -> TrialCurve:
    """Ten steps a point, a validation at the second."""
    return TrialCurve(
        steps=tuple(range(10, 10 * points + 1, 10)),
        train_loss_nats=(loss,) * points,
        grad_norm=(1.0,) * points,
        grad_norm_max=(1.0,) * points,
        lr=(1e-3,) * points,
        val_steps=(20,),
        val_loss_nats=(loss + 0.5,),
        val_tokens=(640,),
    )


@contextmanager
def driver(folder: Path) -> Iterator[None]:
    """Hold the experiment's lock, as the process that runs it does."""
    with open(folder / LOCK_FILE, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def report(callback: LiveCurves, trial: Trial, step: int) -> None:
    """A report of a trial as Tune hands it to the driver's callbacks."""
    cell = {"values": trial.values, "replicate": trial.replicate}
    tune_trial = type("TuneTrial", (), {"config": {"pack": [cell]}})
    result = {"kind": "progress", "member": trial.trial_id, "step": step, "total_steps": 300}
    result |= {"train_loss_nats": 7.25, "curve": curve()}
    callback.on_trial_result(0, [], tune_trial, result)


def test_a_running_search_shows_its_trials_as_the_driver_writes_them(build: Any) -> None:
    experiment = build.plan()
    folder = build.write(experiment).path.parent
    trial = make_trial(experiment, {"lr": 3e-4}, 0)
    with driver(folder):
        assert LiveState(folder).now()["state"] == "starting"
        report(LiveCurves(experiment, folder), trial, step=30)
        SearchFile(folder).write(0.25, 90.0, "20.0 steps/s")
        state = LiveState(folder).now()
    assert state["state"] == "running" and not state["over"]
    assert state["words"] == "1 trial training now."
    assert (state["share"], state["speed"]) == (0.25, "20.0 steps/s")
    known = read_search(folder)
    assert known is not None and state["ends_at"] == known.ends_at is not None
    (row,) = state["running"]
    assert (row["label"], row["step"], row["total_steps"]) == ("lr=0.0003", 30, 300)
    (series,) = state["series"]
    assert (row["train"], row["val"]) == (7.0, 7.5)  # where its curves end
    assert (series["train"][-1][1], series["val"][-1][1]) == (7.0, 7.5)
    assert state["counted"] == "0 of 2 trials finished; 1 training; 1 not run yet"
    tokens = trial.config.train.batch_size * trial.config.model.seq_len
    assert series["train"] == [[10 * tokens, 7.0], [20 * tokens, 7.0], [30 * tokens, 7.0]]
    assert series["val"] == [[20 * tokens, 7.5]]
    assert (series["colour"], series["loss"], series["state"]) == (0, None, "running")


def test_a_trial_that_has_just_ended_stays_until_the_ledger_is_read(build: Any) -> None:
    experiment = build.plan()
    ledger = build.write(experiment)
    folder = ledger.path.parent
    trial = make_trial(experiment, {"lr": 3e-4}, 0)
    with driver(folder):
        callback = LiveCurves(experiment, folder)
        report(callback, trial, step=30)
        live = LiveState(folder)
        colour = live.now()["series"][0]["colour"]
        live._read_again_at = float("inf")  # as after the reading of a long ledger
        ended = build.trial(experiment, {"lr": 3e-4}, (7.0, 6.5, 6.0), trial_id=trial.trial_id)
        ledger.append(ended)
        callback.close()
        assert [row["id"] for row in live.now()["running"]] == [trial.trial_id]
        live._read_again_at = 0.0
        state = live.now()
    assert state["running"] == [] and state["rows"][0]["val"] == 6.0
    assert [series["colour"] for series in state["series"]] == [colour]


def test_a_trial_that_failed_does_not_train_any_more(build: Any) -> None:
    experiment = build.plan()
    ledger = build.write(experiment)
    folder = ledger.path.parent
    trial = make_trial(experiment, {"lr": 3e-4}, 0)
    with driver(folder):
        callback = LiveCurves(experiment, folder)
        report(callback, trial, step=30)
        live = LiveState(folder)
        assert len(live.now()["running"]) == 1
        failed = build.trial(experiment, {"lr": 3e-4}, (), "failed", trial_id=trial.trial_id)
        ledger.append(failed)
        callback.close()
        live._read_again_at = 0.0
        assert live.now()["running"] == []


def test_a_trial_that_trains_has_a_colour_however_many_have_ended(build: Any) -> None:
    experiment = build.plan({"lr": tuple(n * 1e-4 for n in range(1, 10))})
    ended = [build.trial(experiment, {"lr": n * 1e-4}, (7.0, 6.5, 6.0)) for n in range(1, 9)]
    folder = build.write(experiment, ended).path.parent
    with driver(folder):
        report(LiveCurves(experiment, folder), make_trial(experiment, {"lr": 9e-4}, 0), step=30)
        series = LiveState(folder).now()["series"]
    coloured = [each["state"] for each in series if each["colour"] is not None]
    assert coloured == ["complete"] * 3 + ["running"] and len(series) == 9


def test_a_killed_search_says_so_and_how_to_go_on(build: Any) -> None:
    experiment = build.plan()
    folder = build.write(experiment).path.parent
    report(LiveCurves(experiment, folder), make_trial(experiment, {"lr": 3e-4}, 0), step=30)
    state = LiveState(folder).now()
    assert (state["state"], state["over"]) == ("cut short", False)
    assert "is not running (last heard of 20" in state["words"]
    assert "--resume lr-quick" in state["command"]
    assert state["ends_at"] is None
    assert [series["state"] for series in state["series"]] == ["cut short"]


def test_a_search_that_goes_on_after_a_kill_begins_without_what_was_left(build: Any) -> None:
    experiment = build.plan()
    folder = build.write(experiment).path.parent
    report(LiveCurves(experiment, folder), make_trial(experiment, {"lr": 3e-4}, 0), step=30)
    live = LiveState(folder)
    assert live.now()["state"] == "cut short"
    with driver(folder):
        forget(folder)
        state = live.now()
    assert (state["state"], state["running"], state["series"]) == ("starting", [], [])


def test_a_search_that_ended_is_over_and_has_the_answer(build: Any) -> None:
    _, ledger = build.two_rates()
    folder = ledger.path.parent
    with driver(folder):
        state = LiveState(folder).now()
        assert (state["state"], state["over"]) == ("running", False)
        assert "the answer is being made" in state["words"]
    state = LiveState(folder).now()
    assert (state["state"], state["over"], state["share"]) == ("complete", True, 1.0)
    assert "reports/generate.py lr-quick" in state["command"]
    assert [title for title, _ in state["answer"][:5]] == [
        "Use",
        "Loss",
        "Costs",
        "Next",
        "Command",
    ]
    assert [(row["label"], row["best"]) for row in state["rows"]] == [
        ("lr=0.001", True),
        ("lr=0.0003", False),
    ]
    # without curves, as in ledgers of before, the epochs' losses
    assert [point[1] for point in state["series"][0]["val"]] == [7.0, 6.5, 6.0]


def test_nothing_is_answered_from_one_trial(build: Any) -> None:
    experiment = build.plan()
    ledger = build.write(experiment, [build.trial(experiment, {"lr": 1e-3}, (7.0, 6.5, 6.0))])
    assert LiveState(ledger.path.parent).now()["answer"] == []


def test_a_trial_without_a_result_has_a_reason_and_no_loss(build: Any) -> None:
    _, ledger = build.mixed()
    state = LiveState(ledger.path.parent).now()
    rows = {row["label"]: row for row in state["rows"]}
    assert rows["lr=0.0003"]["val"] is None and rows["lr=0.0003"]["state"] == "stopped"
    assert rows["lr=0.0005"]["reason"] == "not finite at step 140"
    assert "4.4444" not in json.dumps(state["rows"])


def test_countings_lines_where_all_trials_see_one_text(build: Any) -> None:
    _, ledger = build.two_rates()
    record = BaselineRecord(
        seq_len=64,
        tokens_per_epoch=None,
        val_tokens=None,
        counted_tokens=1000,
        scored_tokens=640,
        losses={"uniform": 10.8, "unigram": 7.7, "bigram": 6.9, "trigram": 6.8},
        documents={},
    )
    ledger.append(record)
    state = LiveState(ledger.path.parent)
    assert [line["loss"] for line in state.now()["counting"]] == [10.8, 7.7, 6.9, 6.8]
    ledger.append(dataclasses.replace(record, seq_len=128))
    assert state.now()["counting"] == []


def test_what_500_trials_send_is_bounded(build: Any) -> None:
    _, ledger = build.five_hundred("tpe")
    state = LiveState(ledger.path.parent).now()
    assert len(state["rows"]) == ROWS and state["more_rows"] == 500 - ROWS
    assert len(state["series"]) <= COLOURS + GREY
    drawn = sum(series["state"] == "complete" for series in state["series"])
    assert state["more_series"] == 480 - drawn > 400
    assert len(json.dumps(state)) < 60_000


def test_an_unchanged_ledger_is_not_read_again(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, ledger = build.two_rates()
    live = LiveState(ledger.path.parent)
    first = live.now()

    def read_again(*arguments: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("minigpt_search.reports.live.state.Ledger", read_again)
    assert live.now()["rows"] == first["rows"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"trial_id": 3}', b"\xff"])
def test_a_live_file_that_cant_be_read_is_passed_over(build: Any, content: bytes) -> None:
    _, ledger = build.two_rates()
    folder = ledger.path.parent
    (folder / FOLDER).mkdir()
    for name in ("abc.json", "search.json"):
        (folder / FOLDER / name).write_bytes(content)
    assert LiveState(folder).now()["running"] == []


def test_a_damaged_ledger_is_said_on_the_page(build: Any) -> None:
    _, ledger = build.two_rates()
    ledger.path.write_bytes(b"{}\n" + ledger.path.read_bytes())
    state = LiveState(ledger.path.parent).now()
    assert (state["state"], state["over"]) == ("broken", False) and "line 1" in state["words"]
    assert LiveState(ledger.path.parent, skip_damaged=True).now()["state"] == "complete"


def test_a_trial_keeps_its_colour_while_others_come_and_go() -> None:
    colours = Colours()
    assert colours.give(["a", "b"]) == {"a": 0, "b": 1}
    assert colours.give(["b", "c"]) == {"b": 1, "c": 0}
    assert colours.give(["c", "b", "d"]) == {"b": 1, "c": 0, "d": 2}
    assert len(colours.give([str(n) for n in range(20)])) == COLOURS

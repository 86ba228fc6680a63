"""TensorBoard's files: whole records, and no hang where they can't be written."""

from __future__ import annotations

import dataclasses
import errno
import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from minigpt_search.model.records import COMPLETE, EpochRecord, TrialCurve
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.driver.tensorboard import EventFile, TensorBoardEvents
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.trials.reports import MEMBER_END
from minigpt_search.search.trials.trial import Trial, trials_of
from minigpt_search.search.worker.trial_record import make_record


def crc32c(data: bytes) -> int:
    """The checksum by its definition, a bit at a time (Castagnoli, reflected 0x82F63B78)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def read_events(content: bytes) -> list[Event]:
    """Records as TFRecord has them: length, its checksum, data, its checksum."""

    def check(data: bytes, stored: bytes) -> None:
        crc = crc32c(data)
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        assert struct.unpack("<I", stored) == (masked,)

    events = []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        check(content[:8], content[8:12])
        data = content[12 : 12 + length]
        check(data, content[12 + length : 16 + length])
        events.append(Event.FromString(data))
        content = content[16 + length :]
    return events


def test_points_are_on_disk_as_they_are_added(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "run")
    for step in (1, 2):
        file.add({"train/loss_nats": 7.5 / step}, step)
    [path] = (tmp_path / "run").glob("events.out.tfevents.*")
    version, *points = read_events(path.read_bytes())
    assert version.file_version == "brain.Event:2"
    told = [(p.step, p.summary.value[0].tag, p.summary.value[0].simple_value) for p in points]
    assert told == [(1, "train/loss_nats", 7.5), (2, "train/loss_nats", 3.75)]
    file.close()
    file.close()


def points(*steps: int, val: int | None = None) -> TrialCurve:
    """Points at these steps, whose loss is a quarter of the step; one of validation at `val`."""
    return TrialCurve(
        steps=steps,
        train_loss_nats=tuple(step / 4 for step in steps),
        grad_norm=(0.5,) * len(steps),
        grad_norm_max=(1.0,) * len(steps),
        lr=(0.25,) * len(steps),
        val_steps=() if val is None else (val,),
        val_loss_nats=() if val is None else (val / 8,),
        val_tokens=() if val is None else (640,),
    )


@pytest.fixture
def one(tmp_path: Path) -> Iterator[tuple[TensorBoardEvents, Trial, Callable[..., None]]]:
    """The callback, its one trial, and what hands it a report of that one."""
    parser = make_parser()
    experiment = make_experiment(parser.parse_args(["--grid", "lr"]), "cpu")
    events = TensorBoardEvents(experiment, tmp_path, Ledger(tmp_path / "ledger.jsonl"))
    tune_trial = SimpleNamespace(config={"values": {"lr": 1e-3}, "replicate": 0})
    [known] = trials_of(experiment, tune_trial.config)

    def report(kind: str, **fields: object) -> None:
        if kind == "complete":
            events.on_trial_complete(1, [], tune_trial)
        else:
            result = {"kind": kind, "member": known.trial_id, **fields}
            events.on_trial_result(1, [], tune_trial, result)

    yield events, known, report
    events.close()


def scalars(folder: Path) -> list[tuple[int, str, float]]:
    """Steps, tags and values that a reader of the event files is left with, in their order."""
    kept: list[tuple[int, str, float]] = []
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        for event in read_events(path.read_bytes())[1:]:
            if event.HasField("session_log"):
                kept = [point for point in kept if point[0] < event.step]
            kept += [
                (event.step, value.tag, value.simple_value)
                for value in event.summary.value
                if not value.tag.startswith("_hparams_")
            ]
    return kept


def test_curves_are_by_step_and_a_validation_is_one_point(one: Any, tmp_path: Path) -> None:
    _, _, report = one
    report("progress", step=5, train_loss_nats=7.5, curve=points(2, 4))
    report("rung", step=8, val_loss_nats=7.125, curve=points(8, val=7))
    report("epoch", step=16, val_loss_nats=2.0, curve=points(16, val=16))
    report(MEMBER_END, status="stopped")
    report("end", status="complete")
    report("complete")

    def at(step: int) -> list[tuple[int, str, float]]:
        values = {"train/loss_nats": step / 4, "train/grad_norm": 0.5, "train/lr": 0.25}
        return [(step, tag, value) for tag, value in values.items()]

    assert scalars(tmp_path) == [
        *(at(2) + at(4) + at(8)),
        (7, "val/loss_nats", 0.875),
        (8, "val/loss_nats", 7.125),
        *at(16),
        (16, "val/loss_nats", 2.0),
    ]


def test_points_that_come_again_replace_those_before(one: Any, tmp_path: Path) -> None:
    events, _, report = one
    report("progress", step=5, curve=points(2, 4, val=3))
    report("progress", step=9, curve=points(8, val=9))
    report("progress", step=7, curve=points(2, 4, 6, val=3))  # its process was lost in between
    once = [(2, 0.5), (4, 1.0), (6, 1.5)]
    found = [(step, value) for step, tag, value in scalars(tmp_path) if tag == "train/loss_nats"]
    assert found == once
    assert [step for step, tag, _ in scalars(tmp_path) if tag == "val/loss_nats"] == [3]
    events.close()
    again = TensorBoardEvents(events.experiment, tmp_path, events.ledger)
    again._add(one[1], points(2, 4, 6))  # another driver goes on
    again.close()
    found = [(step, value) for step, tag, value in scalars(tmp_path) if tag == "train/loss_nats"]
    assert found == once


def test_a_complete_trial_is_a_row_of_the_hparams_tab(one: Any, tmp_path: Path) -> None:
    events, known, report = one
    report("epoch", step=16, val_loss_nats=7.25, curve=points(16, val=16))
    record = make_record(known, "x", 1, "cpu")
    fields = dict.fromkeys(EpochRecord.__dataclass_fields__, 1.0)
    fields |= {"epoch": 1, "tokens_seen": 1, "val_perplexity": math.exp(1.0)}
    epochs = (EpochRecord(**fields),)  # type: ignore[arg-type]
    events.ledger.append(dataclasses.replace(record, status=COMPLETE, error=None, epochs=epochs))
    report("complete")
    [path] = tmp_path.rglob("events.out.tfevents.*")
    found = [value for event in read_events(path.read_bytes()) for value in event.summary.value]
    data = {
        value.tag: HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for value in found
        if value.tag.startswith("_hparams_/")
    }
    start = data["_hparams_/session_start_info"].session_start_info.hparams
    assert start["lr"].number_value == 1e-3
    assert start["seed"].string_value == str(known.config.train.seed)
    metrics = data["_hparams_/experiment"].experiment.metric_infos
    assert [metric.name.tag for metric in metrics] == ["val/loss_nats"]
    assert "_hparams_/session_end_info" in data


def test_a_trial_that_did_not_finish_is_none(one: Any, tmp_path: Path) -> None:
    events, known, report = one
    report("progress", step=5, curve=points(2))
    events.ledger.append(make_record(known, "it failed", 1, "cpu"))
    report("complete")
    [path] = tmp_path.rglob("events.out.tfevents.*")
    assert b"_hparams_" not in path.read_bytes()


def test_a_full_disk_costs_the_curve_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    nowhere = EventFile(tmp_path / "file" / "run")
    nowhere.add({"x": 1.0}, 1)

    class Full:
        closed = False

        def write(self, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            Full.closed = True

    file = EventFile(tmp_path / "run")
    file.close()
    file.file = Full()  # type: ignore[assignment]
    for step in range(100):
        file.add({"x": 1.0}, step)
    assert Full.closed and file.file is None

"""TensorBoard's files: whole records, and no hang where they can't be written."""

from __future__ import annotations

import errno
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboardX.proto.event_pb2 import Event

from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.driver.tensorboard import EventFile, TensorBoardEvents
from minigpt_search.search.trials.reports import MEMBER_END
from minigpt_search.search.trials.trial import trials_of


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
        file.add("train/loss_nats", 7.5 / step, step)
    [path] = (tmp_path / "run").glob("events.out.tfevents.*")
    version, *points = read_events(path.read_bytes())
    assert version.file_version == "brain.Event:2"
    told = [(p.step, p.summary.value[0].tag, p.summary.value[0].simple_value) for p in points]
    assert told == [(1, "train/loss_nats", 7.5), (2, "train/loss_nats", 3.75)]
    file.close()
    file.close()


def test_steps_rungs_and_epochs_are_curves(tmp_path: Path) -> None:
    parser = make_parser()
    experiment = make_experiment(parser.parse_args(["--grid", "lr"]), "cpu")
    events = TensorBoardEvents(experiment, tmp_path)
    trial = SimpleNamespace(config={"values": {"lr": 1e-3}, "replicate": 0})
    [known] = trials_of(experiment, trial.config)
    losses = {"train_loss_nats": 7.5, "val_loss_nats": 7.25}
    for result in (
        {"kind": "progress", "step": 5, **losses},
        {"kind": "rung", "step": 8, "val_loss_nats": 7.125},
        {"kind": "epoch", "epoch": 1, "lr": 0.5, **losses},
        {"kind": MEMBER_END, "status": "complete"},
        {"kind": "end", "status": "complete"},
    ):
        events.on_trial_result(1, [], trial, {"member": known.trial_id, **result})
    events.on_trial_complete(1, [], trial)
    [path] = tmp_path.rglob("events.out.tfevents.*")
    _, *points = read_events(path.read_bytes())
    assert [(p.step, p.summary.value[0].tag, p.summary.value[0].simple_value) for p in points] == [
        (5, "train/loss_nats", 7.5),
        (8, "rung/val_loss_nats", 7.125),
        (1, "epoch/train_loss_nats", 7.5),
        (1, "epoch/val_loss_nats", 7.25),
        (1, "epoch/lr", 0.5),
    ]


def test_a_full_disk_costs_the_curve_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    nowhere = EventFile(tmp_path / "file" / "run")
    nowhere.add("x", 1.0, 1)

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
        file.add("x", 1.0, step)
    assert Full.closed and file.file is None

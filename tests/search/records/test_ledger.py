"""The ledger survives a kill at any byte, and damage is named, never read as a number."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import (
    COMPLETE,
    DIVERGED,
    FAILED,
    CheckpointRef,
    Device,
    EpochRecord,
    Timing,
    TrialCurve,
)
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_lines import decode, encode
from minigpt_search.search.records.ledger_records import RerunRecord, TrialRecord


def epoch(number: int, loss: float) -> EpochRecord:
    return EpochRecord(
        epoch=number,
        train_loss_nats=loss + 0.1,
        val_loss_nats=loss,
        val_perplexity=math.exp(loss),
        val_bits_per_byte=1.0,
        lr_last=1e-4,
        grad_norm_mean=0.5,
        tokens_seen=100 * number,
        wall_seconds=1.5 * number,
        steps_per_second=3.0,
        peak_memory_mb=400.0,
    )


def trial(name: str, loss: float = 7.0, status: str = COMPLETE) -> TrialRecord:
    return TrialRecord(
        trial_id=name,
        config=RunConfig(),
        replicate=0,
        status=status,
        epochs=(epoch(1, loss + 1), epoch(2, loss)),
        error=None if status == COMPLETE else "because",
        steps=20,
        timing=Timing(training_seconds=3.0),
        device=Device(kind="cpu", name="a processor", threads=1),
        versions={"python": "3.11"},
        checkpoint=CheckpointRef(path="checkpoints/x/final.pt", sha256="0" * 64),
        attempts=1,
        ended_at="2026-01-01T00:00:00+00:00",
    )


RERUN = RerunRecord(
    trial_id="a",
    val_loss_nats=7.0,
    ledger_val_loss_nats=7.0,
    same_bits=True,
    same_machine=True,
    test_loss_nats=7.1,
    test_perplexity=math.exp(7.1),
    test_bits_per_byte=2.1,
    checkpoint=CheckpointRef(path="rerun/final.pt", sha256="1" * 64),
    wall_seconds=10.0,
    ended_at="2026-01-01T00:00:00+00:00",
)


@given(st.floats(0, 690), st.text(max_size=50))
def test_a_record_comes_back_as_it_was(loss: float, error: str) -> None:
    record = dataclasses.replace(trial("a", loss), error=error)
    assert decode(encode(record)) == record
    assert encode(record).count(b"\n") == 1


def test_a_line_of_version_1_had_no_checksum_and_knew_no_packs() -> None:
    fields = {"schema_version": 1, "record": "trial", **dataclasses.asdict(trial("a"))}
    del fields["pack"]
    assert decode(json.dumps(fields).encode()) == trial("a")


CURVE = TrialCurve(
    steps=(10, 20),
    train_loss_nats=(9.5, 8.0),
    grad_norm=(1.5, 0.7),
    grad_norm_max=(3.0, 0.9),
    lr=(1e-3, 1e-4),
    val_steps=(20,),
    val_loss_nats=(7.0,),
    val_tokens=(640,),
)


def test_a_curve_comes_back_and_older_records_have_none() -> None:
    record = dataclasses.replace(trial("a"), curve=CURVE)
    assert decode(encode(record)) == record
    fields = dataclasses.asdict(trial("a"))
    del fields["curve"]
    line = {"schema_version": 3, "record": "trial", **fields}
    assert decode(json.dumps(checked_json.seal(line)).encode()) == trial("a")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"lr": (1e-3,)}, "differ in length"),
        ({"val_tokens": ()}, "differ in length"),
        ({"steps": (20, 20)}, "don't ascend"),
        ({"val_steps": (0,)}, "don't ascend"),
        ({"train_loss_nats": (9.5, -8.0)}, "a loss of -8.0 nats"),
    ],
)
def test_a_curve_that_can_be_none_is_refused(change: dict[str, Any], complaint: str) -> None:
    curve = dataclasses.replace(CURVE, **change)
    with pytest.raises(ValueError, match=complaint):
        encode(dataclasses.replace(trial("a"), curve=curve))


def test_a_number_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for loss in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValueError, match=r"nats|JSON compliant"):
            ledger.append(trial("a", loss))
    ledger.append(trial("b"))
    assert [t.trial_id for t in Ledger(ledger.path).trials] == ["b"]


def test_trials_and_reruns_are_read_back_in_order(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for record in (trial("a"), RERUN, trial("b")):
        ledger.append(record)
    again = Ledger(ledger.path)
    assert [t.trial_id for t in again.trials] == ["a", "b"]
    assert again.reruns == [RERUN]


def test_cut_at_any_byte_whole_records_survive_and_appending_goes_on(tmp_path: Path) -> None:
    first, second = encode(trial("a")), encode(trial("b"))
    path = tmp_path / "ledger.jsonl"
    for cut in [*range(0, len(first) + len(second), 37), len(first) - 1, len(first)]:
        path.write_bytes((first + second)[:cut])
        ledger = Ledger(path)
        # A record that lacks only its newline is whole.
        survivors = (cut >= len(first) - 1) + (cut >= len(first) + len(second) - 1)
        assert len(ledger.trials) == survivors
        ledger.append(trial("c"))
        assert [t.trial_id for t in Ledger(path).trials] == [*["a", "b"][:survivors], "c"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace(b'"status":"complete"', b'"status":"fine"'),
        lambda line: line.replace(b'"val_loss_nats":7.0', b'"val_loss_nats:7.0'),
        lambda line: line.replace(b'"schema_version":4', b'"schema_version":5'),
        lambda line: line.replace(b'"schema_version":4', b'"schema_version":1'),
        lambda line: line.replace(b'"crc32"', b'"crc23"'),
        lambda line: line.replace(b'"val_loss_nats":7.0', b'"val_loss_nats":6.0'),
        lambda line: line.replace(b'"steps":20', b'"steps":20,"steps":20'),
        lambda line: line.replace(b'"epoch":1,', b""),
        lambda line: line.replace(b'"embed_dim":128', b'"embed_dim":130'),
        lambda line: b"[]\n",
        lambda line: b"\xff\xfe\n",
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    line = encode(trial("b"))
    assert damage(line) != line
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(encode(trial("a")) + damage(line) + encode(trial("c")))
    with pytest.raises(UserError, match="line 2 is damaged"):
        Ledger(path)


def test_the_best_is_complete_and_lowest(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert ledger.best() is None
    ledger.append(trial("diverged", loss=1.0, status=DIVERGED))
    ledger.append(trial("worse", loss=7.5))
    ledger.append(trial("best", loss=7.25))
    best = ledger.best()
    assert best is not None and best.trial_id == "best"
    with pytest.raises(ValueError, match="no final result"):
        _ = ledger.trials[0].final


def test_a_failed_trial_may_be_tried_again_and_its_newest_record_counts(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(trial("a", status=FAILED))
    assert ledger.ended() == set()
    ledger.append(trial("a"))
    assert [t.status for t in Ledger(ledger.path).trials] == [COMPLETE]
    assert ledger.ended() == {"a"}


@pytest.mark.parametrize("name", ["", "..", "../../x", "a/b", "a b", "<script>", "x" * 65])
def test_a_trial_id_that_is_no_folder_s_name_is_neither_written_nor_read(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ValueError, match="trial id"):
        Ledger(tmp_path / "ledger.jsonl").append(trial(name))
    line = encode(trial("good")).replace(b'"good"', json.dumps(name).encode())
    fields = {key: value for key, value in json.loads(line).items() if key != "crc32"}
    (tmp_path / "ledger.jsonl").write_text(json.dumps(checked_json.seal(fields)) + "\n")
    with pytest.raises(UserError, match="line 1"):
        Ledger(tmp_path / "ledger.jsonl")

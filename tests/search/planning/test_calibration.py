"""What speeds are kept for, and what the plan says of memory on a GPU that trials share."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError
from minigpt_search.model import notes
from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import Timing
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.machines.local import LocalMachines
from minigpt_search.search.planning import calibration, probe
from minigpt_search.search.planning.calibration import (
    PassingSpeed,
    Speed,
    Speeds,
    read_cache,
    shape_key,
    speeds,
)
from minigpt_search.search.planning.checks import check_trials
from minigpt_search.search.planning.estimate import Estimator, keep_real_speeds
from minigpt_search.search.planning.plan_text import plan_lines
from minigpt_search.search.planning.probe import Probe
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.trials.length import length_in

SPEED = Speed(training=1000.0, scoring=4000.0, memory_mb=500.0)
SMALL = RunConfig().replace(vocab_size=60, seq_len=8, embed_dim=16, batch_size=4, n_layers=1)


@pytest.fixture
def on_gpu() -> Experiment:
    """A plan for a GPU; nothing of it is run."""
    args = make_parser().parse_args(["--grid", "lr", "--preset", "full"])
    check_options(args)
    made = make_experiment(args, "cpu")
    hardware = {**made.machine.hardware, "gpus": ["GPU"], "gpu_memory_gb": 24.0}
    return made.replace(device="cuda", hardware=hardware, gpus_per_trial=1.0)


# --- the key


def test_the_part_of_a_gpu_is_in_the_key_and_a_cpu_s_keys_stay_what_they_were(
    on_gpu: Experiment,
) -> None:
    base = on_gpu.space.base
    half = shape_key(base, on_gpu.replace(gpus_per_trial=0.5))
    assert json.loads(half)["gpus"] == 0.5 and half != shape_key(base, on_gpu)
    assert "gpus" not in json.loads(shape_key(base, on_gpu.replace(device="cpu")))


def test_a_file_of_before_stays_readable_and_its_gpu_s_speeds_are_measured_anew(
    on_gpu: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = on_gpu.space.base
    fields = {k: v for k, v in json.loads(shape_key(base, on_gpu)).items() if k != "gpus"}
    old = {json.dumps(fields, sort_keys=True): dataclasses.asdict(SPEED)}
    (tmp_path / "calibration.json").write_text(json.dumps(checked_json.seal(old)))
    fast = dataclasses.replace(SPEED, training=9000.0)
    monkeypatch.setattr(calibration, "measure", lambda experiment, configs: [fast] * len(configs))
    assert speeds(on_gpu, [base], tmp_path, LocalMachines())(base) == fast
    assert list(read_cache(tmp_path)) == [*old, shape_key(base, on_gpu)]


# --- what is kept


def test_what_went_without_serves_one_plan_and_is_measured_anew(
    on_gpu: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without a compiler: when there is one, the speed of compiled blocks is another."""
    base, found = on_gpu.space.base, [PassingSpeed(**dataclasses.asdict(SPEED)), SPEED]
    monkeypatch.setattr(calibration, "measure", lambda experiment, configs: [found.pop(0)])
    first = speeds(on_gpu, [base], tmp_path, LocalMachines())
    assert first(base).training == SPEED.training and read_cache(tmp_path) == {}
    calibration.write_cache(tmp_path, first.new)  # as a search does when its folder is made
    assert read_cache(tmp_path) == {}
    speeds(on_gpu, [base], tmp_path, LocalMachines())
    assert read_cache(tmp_path) == {shape_key(base, on_gpu): SPEED}


class FakeProbe:
    """A measuring process that answers at once."""

    def __init__(self, **more: float) -> None:
        self.more = more

    def __enter__(self) -> FakeProbe:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, **_: object) -> None:
        pass

    def answer(self) -> dict[str, float]:
        return {"reserved_bytes": 1e9, "memory_mb": 1.0, "tokens_per_second": 2.0, **self.more}


@pytest.mark.parametrize(
    ("more", "kind"),
    [({}, Speed), ({"lacks_kernels": True}, PassingSpeed), ({"lacks_memory": True}, PassingSpeed)],
)
def test_what_the_processes_went_without_is_said(
    more: dict[str, float],
    kind: type,
    on_gpu: Experiment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(calibration, "ProbeProcess", lambda *_: FakeProbe(**more))
    [speed] = calibration.measure(on_gpu, [on_gpu.space.base])
    assert type(speed) is kind
    assert ("for this plan alone and isn't kept" in capsys.readouterr().err) == bool(more)


@pytest.mark.parametrize(
    ("gpu", "triton", "warns"), [(True, True, False), (True, False, True), (False, False, False)]
)
def test_a_process_on_a_gpu_says_what_it_goes_without(
    gpu: bool, triton: bool, warns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "is_cuda", lambda device: gpu)
    monkeypatch.setattr(probe, "triton_runs", lambda: triton)
    monkeypatch.setattr(probe, "triton_fault", lambda: "no C compiler")
    notes.kept().append("of another")
    told = pytest.warns(RuntimeWarning, match="no C compiler") if warns else nullcontext()
    with told:
        made = Probe(SMALL, "cpu", sequences=10)
    assert made.lacks_kernels == warns
    notes.kept().append("blocks are not compiled")
    assert made.lacks_kernels
    notes.begin()


def test_real_speeds_of_trials_that_went_without_are_not_kept(
    make_trial_record: Callable[..., TrialRecord], tmp_path: Path
) -> None:
    experiment = make_experiment(make_parser().parse_args(["--grid", "lr"]), "cpu")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for name, width, noted in (("a", 64, ()), ("b", 128, ("no CUDA graph",))):
        fields = {
            "config": RunConfig().replace(embed_dim=width, val_tokens=100),
            "timing": Timing(training_seconds=10.0, evaluation_seconds=1.0),
            "notes": noted,
        }
        ledger.append(make_trial_record(name, **fields))
    keep_real_speeds(experiment, ledger, tmp_path, set())
    [key] = read_cache(tmp_path)
    assert json.loads(key)["model"]["embed_dim"] == 64


# --- memory


@pytest.mark.parametrize(
    ("sharing", "memory_mb", "said"),
    [(1, 23_500.0, False), (2, 11_000.0, False), (3, 7_500.0, True), (40, 10.0, True)],
)
def test_more_trials_on_a_gpu_than_it_has_memory_for_are_a_warning(
    sharing: int, memory_mb: float, said: bool, on_gpu: Experiment
) -> None:
    """With 800 MB of CUDA's own for each."""
    shared = on_gpu.replace(gpus_per_trial=1 / sharing)
    trials = check_trials(shared, length_in(None))
    speed_of = Speeds({shared.space.base: dataclasses.replace(SPEED, memory_mb=memory_mb)})

    def told(experiment: Experiment) -> bool:
        estimator = Estimator(experiment, speed_of, 260_000, length_in(None))
        lines = plan_lines(experiment, trials, None, estimator, 120.0)
        start = f"Warning    {sharing} of them on a GPU take about "
        return any(line.startswith(start) and "it has 24.0 GB" in line for line in lines)

    assert told(shared) == said
    older = {k: v for k, v in shared.machine.hardware.items() if k != "gpu_memory_gb"}
    assert not told(shared.replace(hardware=older))


def test_a_trial_that_ends_in_its_part_of_a_gpu_is_refused_with_what_helps(
    on_gpu: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object, **__: object) -> float:
        raise ChildProcessError("a measuring process ended early; its message is above")

    monkeypatch.setattr(calibration, "ProbeProcess", lambda *_: FakeProbe())
    monkeypatch.setattr(calibration, "prepare", end)
    with pytest.raises(UserError, match=r"held to 0.25 of a GPU.*--trials-per-gpu"):
        calibration.measure(on_gpu.replace(gpus_per_trial=0.25), [on_gpu.space.base])
    with pytest.raises(ChildProcessError):
        calibration.measure(on_gpu, [on_gpu.space.base])


def test_of_shapes_that_compute_alike_the_one_with_more_memory_is_measured() -> None:
    heads = [SMALL.replace(n_heads=n) for n in (8, 1, 2, 4)]
    chosen = calibration._chosen(heads, lambda config: False)
    assert [config.model.n_heads for config in chosen] == [1, 4, 8]


def test_the_gpu_with_least_memory_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from minigpt_search.model.hardware import device

    sizes = [24e9, 16e9]
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(device.torch.cuda, "get_device_name", lambda number: "GPU")
    monkeypatch.setattr(
        device.torch.cuda,
        "get_device_properties",
        lambda number: SimpleNamespace(total_memory=sizes[number]),
    )
    assert device.hardware()["gpu_memory_gb"] == 16.0

"""Several trials on one GPU: the flags, the choice, each one's part of the memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.machines import gpu_share, machines
from minigpt_search.search.planning import choose_sharing as sharing
from minigpt_search.search.planning.measure import ProbeProcess, prepare
from minigpt_search.search.trials.feasible import limited

H200 = 150e9
LR = ["--grid", "lr", "--preset", "full"]


@pytest.mark.parametrize(
    ("flags", "device", "message"),
    [
        (["--trials-per-gpu", "2"], "cpu", "these trials train on the CPU; use --max-concurrent"),
        (["--trials-per-gpu", "auto"], "cpu", "these trials train on the CPU"),
        (["--trials-per-gpu", "0"], "cuda", "--trials-per-gpu 0: give a number of 1 or more"),
        (["--trials-per-gpu", "-2"], "cuda", "--trials-per-gpu -2: give a number of 1 or more"),
        (["--trials-per-gpu", "some"], "cuda", "--trials-per-gpu some: give a number"),
        (["--trials-per-gpu", "2", "--gpus-per-trial", "0.5"], "cuda", "give one of them"),
    ],
)
def test_what_can_t_be_is_refused(
    flags: list[str], device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch)
    args = make_parser().parse_args([*LR, *flags])
    check_options(args)
    with pytest.raises(UserError, match=message):
        make_experiment(args, device)


def machine(monkeypatch: pytest.MonkeyPatch, gpus: int = 2, cores: int = 16) -> None:
    hardware = {"gpus": ["GPU"] * gpus, "cores": cores, "processor": "CPU", "memory_gb": 100.0}
    monkeypatch.setattr(machines, "hardware", lambda: hardware)
    monkeypatch.setattr(machines, "usable_cores", lambda: cores)
    monkeypatch.setattr(machines, "best_device", lambda: "cuda")
    monkeypatch.setattr(machines, "best_precision", lambda device: "bf16")


@pytest.mark.parametrize(
    ("flags", "concurrent", "threads", "gpus"),
    [
        ([], 2, 4, 1.0),
        (["--trials-per-gpu", "auto"], 2, 4, 1.0),  # until it is measured
        (["--trials-per-gpu", "3"], 4, 4, 1 / 3),  # of the six there is work for four
        (["--trials-per-gpu", "3", "--seeds", "9"], 6, 2, 1 / 3),
        (["--trials-per-gpu", "49", "--seeds", "30"], 98, 1, 1 / 49),
        (["--trials-per-gpu", "3", "--max-concurrent", "2"], 2, 4, 1 / 3),
    ],
)
def test_trials_at_a_time(
    flags: list[str],
    concurrent: int,
    threads: int,
    gpus: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(monkeypatch)
    experiment = make_experiment(make_parser().parse_args([*LR, *flags]), "cuda")
    assert experiment.machine.max_concurrent == concurrent
    assert experiment.machine.threads_per_trial == threads
    assert experiment.machine.gpus_per_trial == pytest.approx(gpus)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({1: 100.0}, 1),
        ({1: 100.0, 2: 104.0, 4: 90.0}, 1),  # a gain too small to pay
        ({1: 100.0, 2: 150.0, 4: 200.0, 8: 205.0}, 4),
        ({1: 100.0, 2: 99.0, 4: 120.0}, 4),
    ],
)
def test_the_fewest_that_are_nearly_as_fast_as_the_best(
    rates: dict[int, float], expected: int
) -> None:
    chosen, why = sharing.choose(rates)
    assert chosen == expected
    assert why.startswith(f"{expected} at a time on a GPU; all tokens/s by their number are 1: 100")


def test_auto_measures_the_largest_trial_and_no_more_than_there_is_work_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(monkeypatch)
    asked = {}

    def measured(
        config: RunConfig, device: str, threads: int, most: int, **setting: object
    ) -> dict[int, float]:
        asked.update(width=config.model.embed_dim, device=device, most=most, **setting)
        return {1: 100.0, 2: 180.0}

    args = make_parser().parse_args([*LR, "--embed-dim", "64,256,128", "--seeds", "1"])
    experiment = make_experiment(args, "cuda")
    assert experiment.planned_trials == 12
    assert sharing.choose_trials_per_gpu(experiment, measured)[0] == 2
    assert asked == {
        "width": 256,
        "device": "cuda",
        "most": 6,  # on each of two GPUs
        "sequences": 10_000_000 // 64,
        "compiled": True,  # 3 epochs of 4,883 steps
        "gpus": 1.0,
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), {"n_layers": 8, "batch_size": 256}),
        (("--space", "tie_head=true,false"), {"n_layers": 8, "batch_size": 256, "tie_head": False}),
        (("--space", "n_heads=2,8", "--space", "dropout=0,0.1"), {"n_heads": 8, "dropout": 0.1}),
        (("--search", "tpe", "--trials", "5"), {"n_layers": 8, "batch_size": 256}),
    ],
)
def test_auto_measures_the_trial_that_takes_most_memory_whatever_varies(
    words: tuple[str, ...], expected: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch)
    asked: list[RunConfig] = []

    def measured(config: RunConfig, device: str, **_: object) -> dict[int, float]:
        asked.append(config)
        return {1: 100.0}

    space = ("--space", "n_layers=2,8", "--space", "batch_size=32,256", "--preset", "full")
    args = make_parser().parse_args([*space, *words])
    sharing.choose_trials_per_gpu(make_experiment(args, "cuda"), measured)
    [config] = asked
    fields = {**vars(config.model), **vars(config.train)}
    assert {name: fields[name] for name in expected} == expected


def test_what_max_cost_leaves_out_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    asked: list[RunConfig] = []

    def measured(config: RunConfig, device: str, **_: object) -> dict[int, float]:
        asked.append(config)
        return {1: 100.0}

    words = ["--space", "n_layers=2,8", "--space", "batch_size=32,256", "--preset", "full"]
    args = make_parser().parse_args([*words, "--max-cost", "7Mparam"])
    sharing.choose_trials_per_gpu(limited(make_experiment(args, "cuda")), measured)
    assert (asked[0].model.n_layers, asked[0].train.batch_size) == (2, 256)


@pytest.mark.parametrize("trials", [2, 3, 8, 40])
def test_the_parts_of_all_trials_and_what_torch_does_not_count_fit(trials: int) -> None:
    part = gpu_share.memory_fraction(1 / trials, H200)
    assert 0 < part < 1 / trials
    assert trials * (part * H200 + gpu_share.CONTEXT_BYTES) <= H200


def test_as_many_trials_fit_as_their_memory_and_contexts_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=10e9)
    )
    assert gpu_share.how_many_fit(1.2e9, "cuda") == 4  # of 2 GB each in 9.5
    assert gpu_share.how_many_fit(99e9, "cuda") == 1
    assert gpu_share.how_many_fit(99e9, "cpu") >= 8


@pytest.mark.parametrize(
    ("device", "gpus", "held"), [("cuda", 0.5, True), ("cuda", 1.0, False), ("cpu", 0.0, False)]
)
def test_a_worker_is_held_to_its_part(
    device: str, gpus: float, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fractions: list[float] = []
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=H200)
    )
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", fractions.append)
    gpu_share.hold_to_share(device, gpus)
    assert fractions == ([gpu_share.memory_fraction(gpus, H200)] if held else [])


def test_two_processes_are_measured() -> None:
    config = RunConfig().replace(vocab_size=60, seq_len=8, embed_dim=16, batch_size=2)
    told: dict[int, float] = {}
    rates = sharing.measure(config, "cpu", threads=1, most=3, seconds=0.1, on_rate=told.__setitem__)
    assert rates == told
    assert list(rates) == [1, 2]
    assert min(rates.values()) > 0


class FakeProbe:
    """A trial on a GPU that has memory for three of them."""

    lived = 0
    held: ClassVar[list[object]] = []
    graphs: ClassVar[int] = 8
    """So many have memory for a step's graph, too."""

    def __init__(self, *_: object) -> None:
        FakeProbe.lived += 1
        self.fits = FakeProbe.lived <= 3
        self.number = FakeProbe.lived

    def __enter__(self) -> FakeProbe:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, **request: object) -> None:
        if "config" in request:
            FakeProbe.held.append(request["gpus"])

    def answer(self) -> dict[str, float]:
        if not self.fits:
            raise ChildProcessError("a measuring process ended early; its message is above")
        lacks_memory = self.number > self.graphs
        return {"reserved_bytes": 1e9, "tokens_per_second": 100.0, "lacks_memory": lacks_memory}


def test_what_fits_beside_the_gpu_s_other_work_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "ProbeProcess", FakeProbe)
    monkeypatch.setattr(FakeProbe, "lived", 0)
    monkeypatch.setattr(FakeProbe, "held", [])
    config = RunConfig()
    assert sharing.measure(config, "cpu", threads=1, most=8) == {1: 100.0, 2: 200.0}
    assert FakeProbe.held == [1.0] + [0.5] * 2 + [0.25] * 4  # as so many trials would be
    with pytest.raises(ChildProcessError):  # not even one
        sharing.measure(config, "cpu", threads=1, most=8)


@pytest.mark.parametrize(("graphs", "sizes"), [(8, [1, 2]), (1, [1]), (0, [1])])
def test_a_step_s_graph_has_to_fit_too(
    graphs: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one alone, it goes without: that is no reason to train none."""
    monkeypatch.setattr(sharing, "ProbeProcess", FakeProbe)
    monkeypatch.setattr(FakeProbe, "lived", 0)
    monkeypatch.setattr(FakeProbe, "graphs", graphs)
    assert list(sharing.measure(RunConfig(), "cpu", threads=1, most=8)) == sizes


def test_a_process_that_ends_early_is_told() -> None:
    config = RunConfig().replace(vocab_size=60, seq_len=8, embed_dim=16, batch_size=2)
    with (
        ProbeProcess("nonsense", 1) as probe,
        pytest.raises(ChildProcessError, match="ended early"),
    ):
        prepare([probe], config)

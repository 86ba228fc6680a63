"""What is measured is what a trial does: its split, its batches, its compiled blocks."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import subprocess
import sys
import time
import weakref
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from minigpt_search.model.config import RunConfig
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.planning import calibration, measure, probe
from minigpt_search.search.planning.calibration import Speed, Speeds, shape_key
from minigpt_search.search.planning.measure import setting_of
from minigpt_search.search.planning.probe import SEGMENT_TOKENS, MadeUpSplit, Probe
from minigpt_search.search.records.experiment import Experiment

SMALL = RunConfig().replace(vocab_size=60, seq_len=8, embed_dim=16, batch_size=4, n_layers=1)


@pytest.fixture
def on_gpu() -> Experiment:
    """A plan for a GPU; nothing of it is run."""
    args = make_parser().parse_args(["--grid", "lr", "--preset", "full"])
    check_options(args)
    return make_experiment(args, "cpu").replace(device="cuda")


@pytest.mark.parametrize("vocab_size", [60, 60_000, 70_000])
@pytest.mark.parametrize("sequences", [5, SEGMENT_TOKENS // 8 + 1])
def test_a_made_up_split_is_as_long_as_a_trials(vocab_size: int, sequences: int) -> None:
    split = MadeUpSplit(sequences, SMALL.replace(vocab_size=vocab_size))
    assert sequences <= len(split) < sequences + SEGMENT_TOKENS // 8
    x, y = split.batch(torch.tensor([0, len(split) - 1]))
    assert x.shape == y.shape == (2, 8) and torch.equal(x[:, 1:], y[:, :-1])
    assert int(x.min()) >= 0 and int(x.max()) < vocab_size


@pytest.mark.parametrize("pack", [1, 3])
def test_each_member_has_the_split_that_a_trial_has(
    pack: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, copies = probe.batch_source, []

    def source(split: MadeUpSplit, device: str) -> Any:
        copies.append(len(split))
        return real(split, device)

    monkeypatch.setattr(probe, "batch_source", source)
    made = Probe(SMALL, "cpu", pack, sequences=77)
    assert copies == [77] * pack
    assert made.trained_per_second(0.01) > 0 and made.scored_per_second(0.01) > 0


@pytest.mark.parametrize(("runs", "compiled"), [(True, 1), (False, 0)])
def test_blocks_are_compiled_as_a_trials_are(
    runs: bool, compiled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    monkeypatch.setattr(probe, "triton_runs", lambda: runs)
    monkeypatch.setattr(probe, "compile_blocks", lambda model, config: calls.append(config))
    Probe(SMALL, "cpu", sequences=10, compiled=True)
    assert len(calls) == compiled
    Probe(SMALL, "cpu", sequences=10)
    assert len(calls) == compiled


def test_a_probe_s_memory_is_given_back_before_the_next_is_built(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it, and first: the peak that is measured would have both."""
    calls: list[str] = []
    alive: list[weakref.ref[Any]] = []

    class Held(Probe):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            calls.append(f"{sum(ref() is not None for ref in alive)} alive")
            super().__init__(*args, **kwargs)
            step = self.members[0]
            step.compute = functools.partial(type(step)._compute, step)  # a cycle, as a graph's
            alive.append(weakref.ref(step.model))

    real = probe.forget
    monkeypatch.setattr(probe, "forget", lambda device: (calls.append("forget"), real(device)))
    monkeypatch.setattr(probe, "Probe", Held)
    monkeypatch.setattr(probe.torch, "set_num_threads", lambda threads: None)
    request = {"config": SMALL.to_dict(), "pack": 1, "sequences": 10, "compiled": False, "gpus": 1}
    lines = "\n".join([json.dumps(request)] * 2)
    monkeypatch.setattr(probe.sys, "argv", ["", json.dumps({"device": "cpu", "threads": 1})])
    monkeypatch.setattr(probe.sys, "stdin", io.StringIO(lines))
    probe.main()
    assert calls == ["0 alive", "forget", "0 alive"]
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["lacks_memory"] for answer in answers] == [False, False]


MEASURING = """
import json, sys, time
from minigpt_search.model.config import RunConfig
from minigpt_search.search.planning.measure import ProbeProcess, prepare
with ProbeProcess("cpu", 1) as probe:
    prepare([probe], RunConfig.from_dict(json.loads(sys.argv[1])))
    probe.ask(what="train", seconds=120)
    print(probe.process.pid, flush=True)
    time.sleep(120)
"""


def test_it_ends_with_the_process_that_measures_in_the_midst_of_its_steps() -> None:
    command = [sys.executable, "-c", MEASURING, json.dumps(SMALL.to_dict())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        measuring = psutil.Process(int(parent.stdout.readline()))
        parent.kill()  # as `timeout` does in the end: nothing of its own runs any more
    with suppress(psutil.NoSuchProcess):
        until = time.monotonic() + 20
        while measuring.status() != psutil.STATUS_ZOMBIE:  # nobody may ask for its status
            if time.monotonic() > until:
                measuring.kill()
                pytest.fail("it goes on without its parent")
            time.sleep(0.1)


@pytest.mark.parametrize(("is_gpu", "steps"), [(False, 1), (True, probe.WARM_UP_STEPS)])
def test_a_gpu_takes_all_steps_of_the_warm_up_however_long_it_compiles(
    is_gpu: bool, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the graph would be captured within what is measured, its memory not counted."""
    monkeypatch.setattr(probe, "is_cuda", lambda device: is_gpu)
    monkeypatch.setattr(probe, "triton_runs", lambda: True)
    monkeypatch.setattr(probe, "MOST_WARM_UP_SECONDS", 0.0)
    assert Probe(SMALL, "cpu", sequences=10).steps == steps


@pytest.mark.parametrize("pack", [1, 2])
def test_a_step_that_finds_no_memory_for_its_graph_says_so(pack: int) -> None:
    made = Probe(SMALL, "cpu", pack, sequences=10)
    assert not made.lacks_memory
    step = made.packed or made.members[0]
    compute = step.compute
    step.compute = SimpleNamespace(lacks_memory=True)  # type: ignore[assignment]
    assert made.lacks_memory
    step.compute = compute


def test_a_gpu_s_peak_is_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(probe, "free_memory", lambda device: calls.append(f"free {device}"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: calls.append("reset"))
    for device in ("cpu", "cuda"):
        probe.forget(device)
    assert calls == ["free cpu", "free cuda", "reset"]


def test_it_compiles_in_a_trials_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, str]] = []
    monkeypatch.setattr(
        measure.subprocess, "Popen", lambda *_, env, **__: started.append(env) or None
    )
    measure.ProbeProcess("cuda", threads=3)
    assert started[0]["TORCHINDUCTOR_COMPILE_THREADS"] == "3"


def test_the_speed_of_compiled_trials_is_another(on_gpu: Experiment) -> None:
    base = on_gpu.space.base
    short, long = base.replace(epochs=1), base.replace(epochs=10)
    sequences = 10_000_000 // 64
    assert setting_of(on_gpu.replace(gpus_per_trial=0.5), long) == {
        "sequences": sequences,
        "compiled": True,
        "gpus": 0.5,
    }
    assert not setting_of(on_gpu, short)["compiled"]
    keys = [json.loads(shape_key(config, on_gpu)) for config in (short, long)]
    assert "compiled" not in keys[0] and keys[1] == keys[0] | {"compiled": True}
    assert not setting_of(on_gpu.replace(pack=2), long)["compiled"]
    assert not setting_of(on_gpu.replace(device="cpu"), long)["compiled"]


def test_what_was_not_measured_takes_the_speed_of_the_nearest_of_its_kind() -> None:
    slow = Speed(training=1000.0, scoring=4000.0, memory_mb=500.0)
    fast = dataclasses.replace(slow, training=2000.0)
    short, long = SMALL.replace(epochs=1), SMALL.replace(epochs=10, embed_dim=64)
    speed_of = Speeds({short: slow, long: fast}, compiled=lambda c: c.train.epochs == 10)
    assert speed_of(SMALL.replace(epochs=10)).training > 2000.0  # the wide one's, scaled
    assert speed_of(SMALL.replace(epochs=1)).training == 1000.0
    assert Speeds({short: slow}, compiled=speed_of.compiled)(long).training < 1000.0


def test_of_both_kinds_some_are_measured() -> None:
    configs = [SMALL.replace(embed_dim=w, epochs=e) for w in (16, 32, 48, 64) for e in (1, 10)]
    chosen = calibration._chosen(configs, lambda c: c.train.epochs == 10)
    shapes = [(c.model.embed_dim, c.train.epochs) for c in chosen]
    assert shapes == [(16, 1), (48, 1), (64, 1), (16, 10), (48, 10), (64, 10)]

"""What to run next: commands that mean what they say, read back by the search's own parser."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

import pytest

from model.config import RunConfig
from reports.findings import next_steps
from search.axes import grid_cells
from search.experiment import Experiment
from search.flags_space import read_space
from search.ledger import Ledger
from search.options import check_options, make_parser
from search.presets import PRESETS, QUICK, SEED

GPU = {"processor": "EPYC", "cores": 2, "memory_gb": 24.0, "gpus": ["H100"]}
RATES = (0.00012345678901234567, 0.0012345678901234567)
CASES: dict[str, dict[str, Any]] = {
    "default": {"axes": {"lr": (3e-4, 5e-4, 1e-3, 2e-3)}, "base": QUICK},
    "seed preset": {"axes": {"lr": (3e-4, 1e-3)}, "preset": "seed", "base": SEED},
    "long rates": {"axes": {"lr": RATES}, "base": QUICK},
    "fixed width": {"axes": {"lr": (3e-4, 1e-3)}, "base": QUICK.replace(embed_dim=16)},
    "all fixed": {
        "axes": {"seq_len": (32, 64)},
        "base": QUICK.replace(lr_peak=RATES[0], epochs=30, embed_dim=16),
    },
    "wsd": {"base": QUICK.replace(schedule="wsd", decay_fraction=0.3, parametrization="mup")},
    "cosine": {"base": QUICK.replace(schedule="cosine")},
    "own corpus": {"base": QUICK, "corpus": "my stories"},
    "several axes": {"axes": {"lr": RATES, "embed_dim": (64, 128), "epochs": (1, 2)}},
    "seeds": {"base": QUICK, "seeds": 2, "base_seed": 7},
    "CPU by choice": {"base": QUICK, "hardware": GPU},
    "GPU": {"base": QUICK, "hardware": GPU, "device": "cuda"},
}


def finished(build: Any, **changes: Any) -> tuple[Experiment, Ledger]:
    """An experiment all of whose trials finished, its last cell the best."""
    if "corpus" in changes:
        changes["corpus"] = build.manifest(name=changes["corpus"])
    experiment = build.plan(**{"base": QUICK, **changes})
    trials = [
        build.trial(experiment, cell, (9.0 - i / 8,), replicate=replicate)
        for i, cell in enumerate(grid_cells(experiment.axes))
        for replicate in range(experiment.seeds)
    ]
    return experiment, build.write(experiment, trials)


def read_back(
    command: str,
) -> tuple[argparse.Namespace, dict[str, tuple[float, ...]], RunConfig]:
    words = shlex.split(command)
    assert words[:2] == ["python", "search/run.py"]
    args = make_parser().parse_args(words[2:])
    check_options(args)
    space = read_space(args, PRESETS[args.preset])
    return args, dict(space.axes), space.base


@pytest.mark.parametrize("case", CASES)
def test_commands_name_the_same_experiment(build: Any, case: str) -> None:
    experiment, ledger = finished(build, **CASES[case])
    best = ledger.best()
    assert best is not None
    steps = next_steps(experiment, ledger, None)
    searches = [step for step in steps if "search/run.py" in step.command]
    # The last cell is the best: one command for the upper edge of each axis, then more seeds.
    spread = experiment.seeds == 1
    assert len(searches) == len(experiment.axes) + spread
    for step in searches:
        args, axes, base = read_back(step.command)
        assert base == experiment.base
        assert list(axes) == list(experiment.axes)
        assert args.preset == experiment.preset
        assert args.corpus == experiment.corpus["name"]
        assert args.seed == experiment.base_seed
        assert args.device == ("cpu" if case == "CPU by choice" else None)
        if step.why.startswith("Measure"):
            assert axes == experiment.axes
            assert args.seeds == 3
            continue
        assert args.seeds == experiment.seeds
        (extended,) = (name for name, values in axes.items() if len(values) > 1)
        for name, values in axes.items():
            top = experiment.axes[name][-1]
            assert values == ((top, top * 2) if name == extended else (top,))


def test_flags_that_say_nothing_are_left_out(build: Any) -> None:
    experiment, ledger = finished(build, **CASES["default"])
    commands = [step.command for step in next_steps(experiment, ledger, "a b")]
    assert commands[:2] == [
        "python search/run.py --preset quick --grid lr --lr 0.002,0.004 --out 'a b'",
        "python search/run.py --preset quick --grid lr --seeds 3 --out 'a b'",
    ]


@pytest.mark.parametrize(
    ("statuses", "why"),
    [
        (("complete", "failed"), "Try the trials that failed again"),
        (("failed",), "Run the trials that are missing and try those that failed again"),
        (("complete",), "Run the trials that are missing"),
        (("complete", "diverged"), None),
    ],
)
def test_failed_and_missing_trials_are_resumed(
    build: Any, statuses: tuple[str, ...], why: str | None
) -> None:
    experiment = build.plan()
    records = [
        build.trial(experiment, {"lr": lr}, (7.0,) if status == "complete" else (), status)
        for lr, status in zip((3e-4, 1e-3), statuses, strict=False)
    ]
    steps = next_steps(experiment, build.write(experiment, records), None)
    resumes = [step for step in steps if "--resume" in step.command]
    assert [step.why for step in resumes] == ([why] if why else [])
    for step in resumes:
        assert step is steps[0]
        assert step.command == "python search/run.py --resume lr-quick"
        args = make_parser().parse_args(shlex.split(step.command)[2:])
        check_options(args)
        assert args.resume == experiment.name

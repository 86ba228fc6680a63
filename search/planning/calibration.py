"""Measured speeds of this machine, kept in ROOT/calibration.json.

A speed is that of one process while as many others do the same as the search will have at a time:
they share memory bandwidth and caches, and on a GPU its turns. At most three shapes are measured,
the others take the speed of the nearest one by floating-point operations. At the end of a search
the speeds that its trials really had replace those measured. What went without a kernel or a graph
that others may have is never kept.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import atomic_file
from minigpt_search.data.common.formatting import duration
from minigpt_search.model.config import RunConfig
from minigpt_search.model.model_size import flops_per_token
from minigpt_search.search.machines.machines import Machines
from minigpt_search.search.planning.measure import (
    ProbeProcess,
    have_kernels,
    have_room,
    measure_together,
    prepare,
    setting_of,
)
from minigpt_search.search.planning.memory import reckoned_bytes
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.trials.length import is_compiled_in

FILE = "calibration.json"
MOST_SHAPES = 3
TRAINING_SECONDS = 2.0
SCORING_SECONDS = 1.0
PROCESS_SECONDS = 5.0
"""Of the measuring processes' start and their models' first steps (2026-11-29, 2 cores)."""
COMPILING_SECONDS = 20.0
"""Of a shape's blocks, the first time; expected, not yet measured on a GPU."""
MOST_SECONDS = 45.0
"""After which no other shape is measured: beside other work a probe can take many times as long."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast one process is; in a pack, all of its members together."""

    training: float
    """Training tokens a second."""
    scoring: float
    """Validation tokens a second."""
    memory_mb: float
    """Peak of the process: on a CPU resident, on a GPU allocated there."""

    def scaled(self, factor: float) -> Speed:
        """The speed of a shape that does `factor` times as many tokens with the same operations."""
        return dataclasses.replace(
            self, training=self.training * factor, scoring=self.scoring * factor
        )


class PassingSpeed(Speed):
    """One that was measured without a kernel, compiled blocks or a step's graph, which trials may
    have another time: it serves one plan, and isn't kept."""


class Speeds:
    """The speeds of the shapes measured, and by them those of any other."""

    def __init__(
        self,
        measured: Mapping[RunConfig, Speed],
        new: Mapping[str, Speed] | None = None,
        compiled: Callable[[RunConfig], bool] = lambda config: False,
    ) -> None:
        """`new`: by `shape_key` those of them that ROOT doesn't hold yet; `compiled`: whether a
        trial of this configuration has its blocks compiled."""
        self.measured, self.new, self.compiled = dict(measured), dict(new or {}), compiled

    def __call__(self, config: RunConfig) -> Speed:
        alike = [o for o in self.measured if self.compiled(o) == self.compiled(config)]
        nearest = min(alike or self.measured, key=lambda other: _distance(config, other))
        factor = flops_per_token(nearest.model) / flops_per_token(config.model)
        return self.measured[nearest].scaled(factor)

    @property
    def memory_mb(self) -> float:
        """The most that a process of those measured took."""
        return max(speed.memory_mb for speed in self.measured.values())


def _distance(one: RunConfig, other: RunConfig) -> float:
    flops = math.log(flops_per_token(one.model) / flops_per_token(other.model))
    return abs(flops) + abs(math.log(one.train.batch_size / other.train.batch_size))


def processes_together(experiment: Experiment) -> int:
    """How many processes load a machine's processor, or one GPU, at a time."""
    if experiment.machine.device == "cpu":
        return -(-experiment.machine.max_concurrent // experiment.machine.hardware.get("nodes", 1))
    return -(-experiment.machine.max_concurrent // max(1, len(experiment.machine.hardware["gpus"])))


def shape_key(config: RunConfig, experiment: Experiment) -> str:
    """What a speed depends on, as a key of the file."""
    model, train, machine = config.model, config.train, experiment.machine.hardware
    key = {
        "machine": (machine["gpus"] or [machine["processor"]])[0]
        if experiment.machine.device == "cuda"
        else machine["processor"],
        "cores": machine["cores"],
        "device": experiment.machine.device,
        "threads": experiment.machine.threads_per_trial,
        "processes": processes_together(experiment),
        "pack": experiment.machine.pack,
        "torch": experiment.provenance.versions["torch"],
        "precision": train.precision,
        "batch_size": train.batch_size,
        "model": dataclasses.asdict(model),
    } | ({"compiled": True} if is_compiled_in(experiment, config) else {})
    if experiment.machine.device == "cuda":
        key["gpus"] = experiment.machine.gpus_per_trial  # whose memory a trial is held to
    return json.dumps(key, sort_keys=True)


def speeds(
    experiment: Experiment, configs: Sequence[RunConfig], root: Path, machines: Machines
) -> Speeds:
    """The speeds for trials of `configs`; those that ROOT doesn't hold yet are measured on one of
    `machines`, which takes some seconds, and kept where ROOT is there."""
    compiled = functools.partial(is_compiled_in, experiment)
    shapes = _chosen(configs, compiled)
    known = read_cache(root)
    new: dict[str, Speed] = {}
    missing = [shape for shape in shapes if shape_key(shape, experiment) not in known]
    if missing:
        # Seconds without a sign of life.
        print(_announcement(missing, compiled), file=sys.stderr, flush=True)
        measured = zip(missing, machines.call(measure, experiment, missing), strict=False)
        new = {shape_key(shape, experiment): speed for shape, speed in measured}
        write_cache(root, new)  # also a command that trains nothing has waited for them
    known |= new
    keys = {shape: shape_key(shape, experiment) for shape in shapes}
    there = {shape: known[key] for shape, key in keys.items() if key in known}
    return Speeds(there, new, compiled)


def speeds_of_others(
    experiment: Experiment, configs: Sequence[RunConfig], root: Path, known: Speeds
) -> Speeds:
    """Those that `speeds` gives for another experiment without measuring: what ROOT holds, and for
    the rest those `known` of nearby shapes."""
    compiled = functools.partial(is_compiled_in, experiment)
    there, shapes = read_cache(root), _chosen(configs, compiled)
    keys = {shape: shape_key(shape, experiment) for shape in shapes}
    found = {shape: there[key] for shape, key in keys.items() if key in there}
    measured = found if len(found) == len(shapes) else known.measured | found
    return Speeds(measured, compiled=compiled)


def _announcement(missing: Sequence[RunConfig], compiled: Callable[[RunConfig], bool]) -> str:
    seconds = PROCESS_SECONDS + len(missing) * (TRAINING_SECONDS + SCORING_SECONDS)
    seconds += COMPILING_SECONDS * sum(map(compiled, missing))
    which = "this shape train" if len(missing) == 1 else f"{len(missing)} shapes train"
    return f"Measuring  how fast models of {which} here: about {seconds:.0f} s"


def _chosen(configs: Sequence[RunConfig], compiled: Callable[[RunConfig], bool]) -> list[RunConfig]:
    """One configuration of each shape; the cheapest, the middle and the most expensive of many.
    Compiled ones are chosen apart, where there are both."""
    chosen: list[RunConfig] = []
    for kind in (False, True):
        alike = [config for config in configs if compiled(config) == kind]
        by_shape = {(c.model, c.train.batch_size, c.train.precision): c for c in alike}
        shapes = sorted(by_shape.values(), key=_operations)
        if len(shapes) > MOST_SHAPES:
            shapes = [shapes[0], shapes[len(shapes) // 2], shapes[-1]]
        chosen += shapes
    return chosen


def _operations(config: RunConfig) -> tuple[float, int, int]:
    """By which shapes are sorted; of those that compute alike the one with more memory is last."""
    return flops_per_token(config.model), config.train.batch_size, reckoned_bytes(config)


def measure(experiment: Experiment, configs: Sequence[RunConfig]) -> list[Speed]:
    """Each configuration's speed, the mean of the processes that do the same at a time. After
    `MOST_SECONDS` those that are left aren't measured: their speeds are missing at the end."""
    machine = experiment.machine
    with ExitStack() as stack:
        probes = [
            stack.enter_context(ProbeProcess(machine.device, machine.threads_per_trial))
            for _ in range(processes_together(experiment))
        ]
        measured: list[Speed] = []
        began = time.monotonic()
        for config in configs:
            if measured and time.monotonic() - began > MOST_SECONDS:
                print(
                    f"Measuring  took {duration(time.monotonic() - began)} for {len(measured)} of "
                    f"{len(configs)} shapes: the others' speed is reckoned from theirs",
                    file=sys.stderr,
                )
                break
            measured.append(_measure_one(experiment, probes, config))
        return measured


def _measure_one(
    experiment: Experiment, probes: Sequence[ProbeProcess], config: RunConfig
) -> Speed:
    """The mean speed of these processes, each with what a trial of `config` has. Raises `UserError`
    if one of several on a GPU ends, most likely for lack of memory."""
    machine = experiment.machine
    try:
        prepare(probes, config, machine.pack, **setting_of(experiment, config))
        training = measure_together(probes, "train", TRAINING_SECONDS)
        scoring = measure_together(probes, "score", SCORING_SECONDS)
    except ChildProcessError as error:
        if not 0 < machine.gpus_per_trial < 1:
            raise
        raise UserError(
            f"{error}; each trial is held to {machine.gpus_per_trial:.3g} of a GPU's memory, and "
            "has more with fewer on a GPU (--trials-per-gpu)"
        ) from None
    whole = have_room(scoring) and have_kernels(scoring)
    if not whole:
        print(
            "Measuring  went without what the warnings above name: this speed is for this plan "
            "alone and isn't kept",
            file=sys.stderr,
        )
    return (Speed if whole else PassingSpeed)(
        training=fmean(answer["tokens_per_second"] for answer in training),
        scoring=fmean(answer["tokens_per_second"] for answer in scoring),
        memory_mb=fmean(answer["memory_mb"] for answer in scoring),
    )


def read_cache(root: Path) -> dict[str, Speed]:
    """The speeds known in ROOT, by `shape_key`; none if the file is not there or damaged."""
    try:
        raw = checked_json.unseal(checked_json.loads((root / FILE).read_bytes()))
        return {key: checked_json.build(Speed, speed) for key, speed in raw.items()}
    except (OSError, ValueError):
        return {}


def write_cache(root: Path, new: dict[str, Speed]) -> None:
    """Add to what is known in ROOT, if it is there and can be written to; but no `PassingSpeed`."""
    if not root.is_dir():  # a dry run makes nothing
        return
    lasting = {key: speed for key, speed in new.items() if not isinstance(speed, PassingSpeed)}
    known = {key: dataclasses.asdict(speed) for key, speed in (read_cache(root) | lasting).items()}
    with suppress(OSError), atomic_file(root / FILE) as file:
        file.write(json.dumps(checked_json.seal(known), indent=1).encode())

"""An experiment's folder and its `experiment.json`: what was planned, on what data and machine.

Written once, before the first trial; the ledger beside it grows. No torch, no Ray: reports read it.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import atomic_file, only_process
from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.model.config import RunConfig
from minigpt_search.search.space.axes import AXES, Value, apply_axes
from minigpt_search.search.space.objective import parse_max_cost, parse_objectives
from minigpt_search.search.space.presets import PRESETS
from minigpt_search.search.space.space import Space
from minigpt_search.search.storage.uri import check_uri

SCHEMA_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class KnownPoint:
    """One result that a sampler is told before it begins."""

    values: dict[str, Value]
    """The axes' values."""
    objective: float
    """Validation loss in nats."""
    seconds: float
    """Of training."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The plan of a search and where it runs."""

    name: str
    created_at: str
    """UTC, ISO 8601."""
    command: tuple[str, ...]
    """The command line that began it."""
    preset: str
    """quick or seed."""
    base: RunConfig
    """The configuration that the axes vary."""
    axes: dict[str, tuple[Value, ...]]
    """A grid: the values of each axis. A sampler: the axes' names with their (low, high), or with
    the values to choose from (`kinds`)."""
    sampler: str | None
    """None for a grid, else the sampler's name (`search.records.experiment.SAMPLERS`)."""
    samples: int | None
    """How many configurations a sampler tries; None for a grid."""
    seeds: int
    """Replicates of each configuration."""
    base_seed: int
    """What the replicates' seeds and the sampler's derive from."""
    corpus_hash: str
    corpus: dict[str, Any]
    """The corpus' manifest, whole."""
    device: str
    """cpu or cuda."""
    max_concurrent: int
    """Trials that run at a time."""
    threads_per_trial: int
    gpus_per_trial: float
    hardware: dict[str, Any]
    """processor, cores, memory_gb, gpus."""
    versions: dict[str, str]
    git_commit: str | None
    """The checkout's commit, with `+changes` if files differ from it; None outside a checkout."""
    pack: int = 1
    """Most trials that train together in one process (`search/planning/choose_pack.py`)."""
    checkpoint_every_seconds: float = 45.0
    """A kill costs at most this much of each trial's training."""
    code: dict[str, str] = dataclasses.field(default_factory=dict)
    """`search.records.provenance.code_hashes` when it began; empty for one of an older program."""
    extends: str | None = None
    """The experiment whose finished trials it takes over."""
    mixed: bool = False
    """Whether trials that it took over were made by other code or libraries."""
    max_disk_bytes: int | None = None
    """What the experiment's folder may hold (`search/planning/disk.py`); None: as much as there
    is."""
    kinds: dict[str, str] = dataclasses.field(default_factory=dict)
    """How a sampler reads an axis: linear, log or choices; a missing one has the axis' own way."""
    cells: tuple[dict[str, Value], ...] | None = None
    """The cells of a grid, where they are not the whole product of its axes
    (`search/trials/feasible.py`, `search/space/claims_grid.py`)."""
    objectives: tuple[str, ...] = ("val_loss",)
    """What is minimised: val_loss, or val_loss and one of `search.space.objective.COSTS`."""
    max_cost: str | None = None
    """What the best configuration may cost, such as 5e14flop, 30s or 8Mparam; None: anything."""
    confirm: int | None = None
    """How many of the best get fresh seeds after the search (`search/results/confirm.py`)."""
    confirm_seeds: int = 8
    """Fresh replicates of each at most: they tell 1.6 standard deviations apart, and cost two the
    price of 16 trials."""
    warm_starts: tuple[str, ...] = ()
    """Experiments that it began with (`search/reuse/warm_start.py`)."""
    known_points: tuple[KnownPoint, ...] = ()
    """What a sampler was told of them: kept here, since they may be deleted."""
    named_grid: str | None = None
    """claims, whose cells are no product (`search/space/claims_grid.py`)."""
    stopper: str | None = None
    """One of `search.records.experiment.STOPPERS`; None: no rungs are scored."""
    budget_seconds: float | None = None
    """From the command's start, resumed parts added up; None: no limit. Then a sampler's `samples`
    are at most so many, and when the budget is spent those that there were."""
    predicted_seconds: float | None = None
    """What the command was predicted to take."""
    storage: str | None = None
    """Where it lives beside this machine (`search/storage/base.py`); None: in its folder alone."""
    is_capped: bool = False
    """Whether `max_concurrent` was asked for, so that also a cluster's new nodes don't raise it."""

    @property
    def space(self) -> Space:
        """What a sampler searches."""
        return Space(axes=self.axes, kinds=self.kinds, base=self.base)

    def corpus_folder(self, folder: Path) -> Path:
        """Where the corpus of the experiment in `folder` is: beside the experiments, so that the
        whole root can be moved."""
        return folder.parents[1] / "corpus" / str(self.corpus["name"])

    @property
    def planned_trials(self) -> int:
        """Trials of the whole plan."""
        if self.samples is not None:
            return self.samples * self.seeds
        whole = math.prod(map(len, self.axes.values()))
        return (whole if self.cells is None else len(self.cells)) * self.seeds

    @property
    def has_branches(self) -> bool:
        """Whether runs of several lengths share a trunk (`search/trials/groups.py`)."""
        schedules: tuple[Any, ...] = self.axes.get("schedule", (self.base.train.schedule,))
        several = len(self.axes.get("epochs", ())) > 1
        return self.sampler is None and several and "wsd" in schedules

    @property
    def most_trials(self) -> int:
        """With the fresh seeds that confirming may take at most."""
        confirmed = min(self.confirm or 0, self.planned_trials // self.seeds)
        return self.planned_trials + confirmed * self.confirm_seeds

    def write(self, folder: Path) -> None:
        """Make `folder` with its `experiment.json`, whole or not at all. Raises `UserError`."""
        fields = checked_json.seal({"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)})
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
                made = Path(temporary) / "made"
                made.mkdir()
                with open(made / "experiment.json", "w", encoding="utf-8") as file:
                    json.dump(fields, file, indent=1, allow_nan=False)
                    file.flush()
                    os.fsync(file.fileno())
                made.rename(folder)
        except OSError as error:
            raise UserError(
                f"--name {self.name}: {folder} can't be made ({error.strerror}); "
                "take another --name or --out"
            ) from None


def replace_experiment(folder: Path, experiment: Experiment) -> None:
    """Write its `experiment.json` anew, whole or not at all."""
    fields = checked_json.seal({"schema_version": SCHEMA_VERSION, **dataclasses.asdict(experiment)})
    with atomic_file(folder / "experiment.json") as file:
        file.write(json.dumps(fields, indent=1, allow_nan=False).encode())


def read_experiment(folder: Path) -> Experiment:
    """The experiment in `folder`. Raises `UserError` if there is none or it can't be read."""
    path = folder / "experiment.json"
    try:
        raw = checked_json.unseal(checked_json.loads(path.read_bytes()))
        version = raw.pop("schema_version", None)
        if version != SCHEMA_VERSION or isinstance(version, bool):
            raise ValueError(f"schema version {version}, this program reads {SCHEMA_VERSION}")
        experiment = checked_json.build(Experiment, raw)
        _check_plan(experiment)
        return experiment
    except FileNotFoundError:
        raise UserError(f"{folder}: no experiment.json there; is that an experiment?") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}") from None


def _check_plan(experiment: Experiment) -> None:
    """Raise `ValueError` for what no search could have written."""
    check_name(experiment.name)
    check_name(experiment.extends or experiment.name, "extends")
    if experiment.preset not in PRESETS:
        raise ValueError(f"preset {experiment.preset!r}")
    datetime.datetime.fromisoformat(experiment.created_at)
    counts = ("seeds", "max_concurrent", "threads_per_trial", "pack")
    for name in counts:
        if getattr(experiment, name) < 1:
            raise ValueError(f"{name} is {getattr(experiment, name)}")
    if experiment.device not in ("cpu", "cuda") or experiment.gpus_per_trial < 0:
        raise ValueError(f"device {experiment.device!r} with {experiment.gpus_per_trial} GPUs")
    if (experiment.confirm is not None and experiment.confirm < 2) or experiment.confirm_seeds < 2:
        raise ValueError(f"confirm {experiment.confirm} with {experiment.confirm_seeds} seeds")
    for name in experiment.warm_starts:
        check_name(name, "warm_starts")
    for point in experiment.known_points:
        if set(point.values) != set(experiment.axes):
            raise ValueError(f"a known point with the values {point.values}")
    if experiment.sampler not in (None, *SAMPLERS):
        raise ValueError(f"sampler {experiment.sampler!r}")
    if (experiment.sampler is None) != (experiment.samples is None):
        raise ValueError("a sampler and its number of samples go together")
    for name, values in experiment.axes.items():
        if name not in AXES or not values:
            raise ValueError(f"axis {name!r} with the values {values}")
    experiment.space.check(sampled=experiment.sampler is not None)
    for cell in experiment.cells or ():
        if set(cell) != set(experiment.axes) or experiment.sampler is not None:
            raise ValueError(f"cells: {cell} has not the axes of this grid")
        if any(value not in experiment.axes[name] for name, value in cell.items()):
            raise ValueError(f"cells: {cell} has a value that its axis has not")
        apply_axes(experiment.base, cell)
    parse_objectives(",".join(experiment.objectives))
    parse_max_cost(experiment.max_cost)
    for seconds in (experiment.budget_seconds, experiment.predicted_seconds):
        if seconds is not None and seconds <= 0:
            raise ValueError(f"a budget or prediction of {seconds} s")
    if experiment.storage is not None:
        check_uri(experiment.storage)
    if experiment.stopper not in (None, *STOPPERS):
        raise ValueError(f"stopper {experiment.stopper!r}")
    machine = experiment.hardware
    kinds = {"cores": int, "memory_gb": int | float, "gpus": list}
    for name, kind in kinds.items():
        if not isinstance(machine.get(name), kind):
            raise ValueError(f"hardware: {name} is {machine.get(name)!r}")


def check_name(name: str, flag: str = "--name") -> str:
    """`name` if it can be a folder's. Raises `UserError`, which names the flag it was given by."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{flag} {name!r}: use letters, digits, dots, dashes and underscores, 100 at most, "
            "beginning with a letter or digit"
        )
    return name


def command_line(script: str, *words: str, root: Path) -> str:
    """A command to print, quoted for a shell, with `--out` where it is needed to find `root`."""
    out = () if root == artifacts_root() else ("--out", str(root))
    return shlex.join(["python", script, *words, *out])


def find_experiment(root: Path, name: str | None) -> Path:
    """The folder of experiment `name`, or of the newest. Raises `UserError` if there is none."""
    home = root / "experiments"
    if name is not None:
        folder = home / check_name(name, "experiment")
        if not (folder / "experiment.json").is_file():
            there = ", ".join(sorted(p.parent.name for p in home.glob("*/experiment.json")))
            raise UserError(f"no experiment {name!r} in {home}; there are: {there or 'none'}")
        return folder
    folders = [path.parent for path in home.glob("*/experiment.json")]
    if not folders:
        raise UserError(f"no experiment in {home}: begin with `python search/run.py --grid lr`")
    return max(folders, key=lambda folder: ((folder / "experiment.json").stat().st_mtime, folder))


@contextmanager
def only_driver(folder: Path) -> Iterator[None]:
    """Hold the experiment's lock: the ledger has one writer. Raises `UserError` if it is held."""

    def busy() -> NoReturn:
        raise UserError(f"{folder.name} is running in another process; wait for it")

    with ExitStack() as held:
        try:
            held.enter_context(only_process(folder / ".lock", busy))
        except OSError as error:
            raise UserError(f"{folder}: can't be written to ({error.strerror})") from None
        yield


SAMPLERS = ("tpe", "gp", "cmaes", "qmc", "random")
NEVER = "never"
STOPPERS = ("asha", "median", NEVER)
"""`never` scores the rungs and stops nothing."""

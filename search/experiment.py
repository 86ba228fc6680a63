"""An experiment's folder and its `experiment.json`: what was planned, on what data and machine.

Written once, before the first trial; the ledger beside it grows. No torch, no Ray: reports read it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, Timeout

from data.errors import UserError
from data.paths import artifacts_root
from model.config import RunConfig
from search.axes import AXES

SCHEMA_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


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
    axes: dict[str, tuple[float, ...]]
    """A grid: the values of each axis. A sampler: the axes' names with their (low, high)."""
    sampler: str | None
    """None for a grid, else the sampler's name (tpe)."""
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
    """Most trials that train together in one process (`search/packing.py`)."""
    max_disk_bytes: int | None = None
    """What the experiment's folder may hold (`search/disk.py`); None: as much as there is."""

    def corpus_folder(self, folder: Path) -> Path:
        """Where the corpus of the experiment in `folder` is: beside the experiments, so that the
        whole root can be moved."""
        return folder.parents[1] / "corpus" / str(self.corpus["name"])

    @property
    def planned_trials(self) -> int:
        """Trials of the whole plan."""
        cells = math.prod(map(len, self.axes.values())) if self.samples is None else self.samples
        return cells * self.seeds

    def write(self, folder: Path) -> None:
        """Make `folder` with its `experiment.json`, whole or not at all. Raises `UserError`."""
        fields = {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}
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


def read_experiment(folder: Path) -> Experiment:
    """The experiment in `folder`. Raises `UserError` if there is none or it can't be read."""
    path = folder / "experiment.json"
    try:
        raw = json.loads(path.read_bytes())
        version = raw.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(f"schema version {version}, this program reads {SCHEMA_VERSION}")
        raw["base"] = RunConfig.from_dict(raw["base"])
        raw["axes"] = {name: _axis_values(name, values) for name, values in raw["axes"].items()}
        raw["command"] = tuple(raw["command"])
        return Experiment(**raw)
    except FileNotFoundError:
        raise UserError(f"{folder}: no experiment.json there; is that an experiment?") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} can't be read: {error}") from None


def _axis_values(name: str, values: list[float]) -> tuple[float, ...]:
    """An axis as it was read. Raises `ValueError` for one that no search can have."""
    numbers = [v for v in values if type(v) in (int, float) and math.isfinite(v)]
    if name not in AXES or not values or len(numbers) < len(values):
        raise ValueError(f"axes: {name!r} with {values!r} is no axis with its values")
    return tuple(values)


def check_name(name: str) -> str:
    """`name` if it can be a folder's. Raises `UserError`."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"--name {name!r}: use letters, digits, dots, dashes and underscores, 100 at most, "
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
        folder = home / check_name(name)
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
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(f"{folder.name} is running in another process; wait for it") from None
    except OSError as error:
        raise UserError(f"{folder}: can't be written to ({error.strerror})") from None
    try:
        yield
    finally:
        lock.release()

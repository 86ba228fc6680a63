"""An experiment's folder and its `experiment.json`: what was planned, on what data and machine.

Written once, before the first trial; the ledger beside it grows. No torch, no Ray: reports read it.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, get_type_hints

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import atomic_file, only_process
from minigpt_search.data.common.invocation import command_line
from minigpt_search.data.common.paths import ANOTHER_ROOT
from minigpt_search.search.records.plan import (
    CorpusUse,
    MachineUse,
    Noise,
    Plan,
    Provenance,
    Reuse,
    StorageUse,
)
from minigpt_search.search.space.axes import TOKENS
from minigpt_search.search.space.ladder_spec import LadderSpec
from minigpt_search.search.space.presets import PRESETS
from minigpt_search.search.space.space import Space

LOCK_FILE = ".lock"
"""In an experiment's folder; its driver holds it."""
SCHEMA_VERSION = 2
"""2: its fields are in sections; 1 had them side by side."""
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
    """quick or full."""
    space: Space
    plan: Plan = dataclasses.field(default_factory=Plan)
    noise: Noise = dataclasses.field(default_factory=Noise)
    machine: MachineUse
    storage: StorageUse = dataclasses.field(default_factory=StorageUse)
    corpus: CorpusUse = dataclasses.field(default_factory=CorpusUse)
    reuse: Reuse = dataclasses.field(default_factory=Reuse)
    provenance: Provenance
    ladder: LadderSpec | None = None
    """The rungs of `--ladder`, whose target is the space's base; None for any other search."""

    def replace(self, **fields: Any) -> Experiment:
        """A copy with fields of its sections, or its own, replaced by name (`samples=1`)."""
        own = {name: fields.pop(name) for name in _OWN if name in fields}
        for section, names in _SECTIONS.items():
            given = {name: fields.pop(name) for name in names if name in fields}
            if given:
                own[section] = dataclasses.replace(getattr(self, section), **given)
        if fields:
            raise TypeError(f"no field of an experiment: {', '.join(fields)}")
        return dataclasses.replace(self, **own)

    def corpus_folder(self, folder: Path) -> Path:
        """Where the corpus of the experiment in `folder` is: beside the experiments, so that the
        whole root can be moved."""
        return folder.parents[1] / "corpus" / self.corpus.name

    @property
    def planned_trials(self) -> int:
        """Trials of the whole plan; of a ladder those that its rungs begin with."""
        samples = self.plan.samples
        return (self.space.grid_size if samples is None else samples) * self.noise.seeds

    @property
    def has_branches(self) -> bool:
        """Whether runs of several lengths share a trunk (`search/trials/groups.py`)."""
        axes = self.space.axes
        schedules: tuple[Any, ...] = axes.get("schedule", (self.space.base.train.schedule,))
        several = len(axes.get("epochs", ())) > 1
        return self.plan.sampler is None and several and "wsd" in schedules

    @property
    def most_trials(self) -> int:
        """With the fresh seeds that confirming may take at most."""
        noise = self.noise
        confirmed = min(noise.confirm or 0, self.planned_trials // noise.seeds)
        return self.planned_trials + confirmed * noise.confirm_seeds

    def write(self, folder: Path, beside: Mapping[str, str] | None = None) -> None:
        """Make `folder` with its `experiment.json`, and the texts of `beside` as files of these
        names, whole or not at all. Raises `UserError`."""
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
                made = Path(temporary) / "made"
                made.mkdir()
                replace_experiment(made, self)
                for name, text in (beside or {}).items():
                    (made / name).write_bytes(text.encode(errors="surrogateescape"))
                made.rename(folder)
        except OSError as error:
            raise UserError(
                f"--name {self.name}: {folder} can't be made ({error.strerror}); "
                "take another --name or --out"
            ) from None


_SECTIONS = {
    field.name: [each.name for each in dataclasses.fields(kind)]
    for field in dataclasses.fields(Experiment)
    if dataclasses.is_dataclass(kind := get_type_hints(Experiment)[field.name])
}
"""The names of the fields in each section; no name is there twice."""
_OWN = [field.name for field in dataclasses.fields(Experiment)]


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
        if version not in (1, SCHEMA_VERSION) or type(version) is not int:
            raise ValueError(f"schema version {version}, this program reads 1 to {SCHEMA_VERSION}")
        raw = from_version_1(raw) if version == 1 else raw
        experiment = checked_json.build(Experiment, raw)
        _check(experiment)
        return experiment
    except FileNotFoundError:
        raise UserError(f"{folder}: no experiment.json there; is that an experiment?") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}") from None


def _check(experiment: Experiment) -> None:
    """Raise `ValueError` for what no search could have written: what its sections can't tell by
    themselves."""
    check_name(experiment.name)
    if experiment.preset not in PRESETS:
        raise ValueError(f"preset {experiment.preset!r}")
    datetime.datetime.fromisoformat(experiment.created_at)
    for name in (experiment.reuse.extends, *experiment.reuse.warm_starts):
        check_name(name or experiment.name, "extends or warm_starts")
    for point in experiment.reuse.known_points:
        if set(point.values) != set(experiment.space.axes):
            raise ValueError(f"a known point with the values {point.values}")
    for failed in experiment.reuse.failed_points:
        if set(failed.values) != set(experiment.space.axes):
            raise ValueError(f"a failed point with the values {failed.values}")
    if experiment.ladder is not None:
        lengths = experiment.space.axes.get(TOKENS, (0,))
        if experiment.ladder.lengths(lengths[-1]) != lengths:
            raise ValueError(f"a ladder of {experiment.ladder.rungs} with other axes")
    experiment.space.check(sampled=experiment.plan.sampler is not None)


_SINCE_1 = {"storage": "uri", "corpus_hash": "content_hash", "corpus": "manifest"}
"""Fields of version 1 by the names that they have now."""


def from_version_1(raw: dict[str, Any]) -> dict[str, Any]:
    """The fields of a file of version 1 in their sections; unknown ones stay, to be refused."""
    raw = {_SINCE_1.get(name, name): value for name, value in raw.items()}
    made: dict[str, Any] = {
        section: {name: raw.pop(name) for name in names if name in raw}
        for section, names in _SECTIONS.items()
    }
    made |= raw
    if made.get("preset") == "seed":  # as the preset `full` was called
        made["preset"] = "full"
    return made


def check_name(name: str, flag: str = "--name") -> str:
    """`name` if it can be a folder's. Raises `UserError`, which names the flag it was given by."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{flag} {name!r}: use letters, digits, dots, dashes and underscores, 100 at most, "
            "beginning with a letter or digit"
        )
    return name


def find_experiment(root: Path, name: str | None) -> Path:
    """The folder of experiment `name`, or of the newest. Raises `UserError` if there is none."""
    home = root / "experiments"
    if name is not None:
        folder = home / check_name(name, "experiment")
        if not (folder / "experiment.json").is_file():
            there = ", ".join(sorted(p.parent.name for p in home.glob("*/experiment.json")))
            there = there or f"none; {ANOTHER_ROOT}"
            raise UserError(f"no experiment {name!r} in {home}; there are: {there}")
        return folder
    folders = [path.parent for path in home.glob("*/experiment.json")]
    if not folders:
        begin = command_line("search/run.py", "--grid", "lr", root=root)
        raise UserError(f"no experiment in {home}: begin with `{begin}`, or {ANOTHER_ROOT}")
    return max(folders, key=lambda folder: ((folder / "experiment.json").stat().st_mtime, folder))


@contextmanager
def only_driver(folder: Path) -> Iterator[None]:
    """Hold the experiment's lock: the ledger has one writer. Raises `UserError` if it is held."""

    def busy() -> NoReturn:
        raise UserError(f"{folder.name} is running in another process; wait for it")

    with ExitStack() as held:
        try:
            held.enter_context(only_process(folder / LOCK_FILE, busy))
        except OSError as error:
            raise UserError(f"{folder}: can't be written to ({error.strerror})") from None
        yield

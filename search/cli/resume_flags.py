"""What `--resume NAME` may change: the trials' share of the machine, how often they
are saved, the limit on disk, a sampler's number of trials, and whether a ladder is verified.

Nothing of it makes another configuration or another seed. Threads on a CPU alter the last bits of a
loss, since sums are taken in another order: each trial's record has those that it was trained with.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.formatting import storage
from minigpt_search.search.cli.ladder_flags import WHOLE, parse_verify
from minigpt_search.search.cli.parser import RESOURCES
from minigpt_search.search.cli.search_flags import loggers
from minigpt_search.search.ladder.layout import on_its_text
from minigpt_search.search.machines.gpu_share import gpus_of_trial
from minigpt_search.search.machines.machines import Machines
from minigpt_search.search.planning.disk import check_limit, parse_size
from minigpt_search.search.records.experiment import (
    Experiment,
    read_experiment,
    replace_experiment,
)
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.trial_folder import read_started
from minigpt_search.search.space.axes import AXES
from minigpt_search.search.trials.feasible import limited

_WORDS = {
    "max_concurrent": "{} at a time",
    "threads_per_trial": "{} threads a trial",
    "gpus_per_trial": "{} GPUs a trial",
    "checkpoint_every_seconds": "a checkpoint every {} s",
    "max_disk_bytes": "{} on disk",
    "samples": "{} configurations",
    "loggers": "logged by {}",
}
"""How each field is said."""
_TIMED = ("max_concurrent", "threads_per_trial", "gpus_per_trial", "samples")
"""What a prediction depends on."""


def changes_of(
    args: argparse.Namespace, experiment: Experiment, machines: Machines
) -> dict[str, Any]:
    """The fields, by their names in `Experiment.replace`, that these options change; none that are
    as they were. Raises `UserError` for what can't be."""
    changes: dict[str, Any] = {}
    if args.trials is not None:
        _check_sampler(args.trials, experiment)
        changes["samples"] = args.trials
    if any(getattr(args, name) is not None for name in RESOURCES):
        changes |= _resources(args, experiment, machines)
    if args.checkpoint_every is not None:
        changes["checkpoint_every_seconds"] = args.checkpoint_every
    if args.max_disk is not None:
        if experiment.storage.uri is not None:
            raise UserError(
                f"--max-disk {args.max_disk}: the weights of {experiment.name} are in "
                f"{experiment.storage.uri}; leave it out"
            )
        changes["max_disk_bytes"] = parse_size(args.max_disk)
    if args.log is not None:
        changes["loggers"] = loggers(args)
    if args.verify is not None:
        changes |= _verification(args.verify, experiment)
    changed = experiment.replace(**changes)
    check_limit(changed)
    changes = {k: value for k, value in changes.items() if value != _field(experiment, k)}
    return changes | ({"predicted_seconds": None} if set(_TIMED) & set(changes) else {})


def keep_changes(changes: Mapping[str, Any], folder: Path, ledger: Ledger) -> None:
    """Write them into the `experiment.json` in `folder`, whose lock is held, and say so. Raises
    `UserError` if there are more trials already."""
    before = read_experiment(folder)
    if "samples" in changes:
        begun = _begun(before, folder, ledger)
        if changes["samples"] < begun:
            raise UserError(
                f"--trials {changes['samples']}: {begun} of {before.name} have begun; give that "
                "many or more"
            )
    after = before.replace(**changes)
    command = (before.command[0], *_changed_command(before.command[1:], changes, after))
    replace_experiment(folder, after.replace(command=command))
    said = [
        f"{_WORDS[name].format(_shown(value))} ({_shown(_field(before, name))} before)"
        for name, value in changes.items()
        if name in _WORDS
    ]
    if not said:
        return
    notes = ""
    if "threads_per_trial" in changes and before.machine.device == "cpu":
        notes += "; threads alter the last bits of losses, each trial's record has its own"
    if before.plan.predicted_seconds != after.plan.predicted_seconds:
        notes += "; the predicted time no longer holds"
    print(f"Changed    {', '.join(said)}{notes}", flush=True)


def _shown(value: Any) -> Any:
    """A value of `_WORDS` for the screen: only a limit on disk is as large as that, or none."""
    if value is None:
        return "no limit"
    if isinstance(value, tuple):
        return " and ".join(value) or "none"
    return storage(value) if value > 10_000_000 else value


def _begun(experiment: Experiment, folder: Path, ledger: Ledger) -> int:
    """Configurations that ended or were started."""
    axes = experiment.space.axes
    ended = {tuple(AXES[name].value(record.config) for name in axes) for record in ledger.trials}
    folders = (path.parent for path in (folder / "checkpoints").glob("*/trial.json"))
    started = (known for each in folders if (known := read_started(each)) is not None)
    return len(ended | {tuple(known.values[name] for name in axes) for known in started})


def _verification(text: str, experiment: Experiment) -> dict[str, Any]:
    """The ladder with runs that put its prediction to the test. Raises `UserError`."""
    if experiment.ladder is None:
        raise UserError(f"--verify {text}: {experiment.name} is no ladder, it predicts nothing")
    spec = experiment.ladder.verifying(parse_verify(text))
    changed = on_its_text(experiment, spec)
    return {"ladder": changed.ladder, "space": changed.space}


def _check_sampler(trials: int, experiment: Experiment) -> None:
    """Raise `UserError` where the number of trials is not for the user to change."""
    if experiment.plan.sampler is None:
        raise UserError(
            f"--trials {trials}: {experiment.name} is a grid, which tries all its cells; add "
            f"values with --extend {experiment.name}"
        )
    if experiment.plan.budget_seconds is not None:
        raise UserError(
            f"--trials {trials}: the budget of {experiment.name} decides how many; begin another "
            f"with --extend {experiment.name} --trials {trials}"
        )
    limited(experiment.replace(samples=trials))  # raises where there are not so many


def _resources(
    args: argparse.Namespace, experiment: Experiment, machines: Machines
) -> dict[str, Any]:
    """Threads and GPUs as given, else as they were; and as many trials at a time as were asked for,
    else as find room."""
    use = experiment.machine
    if args.trials_per_gpu == "auto":
        raise UserError("--trials-per-gpu auto measures for a new search: give a number")
    gpus = use.gpus_per_trial
    if args.trials_per_gpu is not None or args.gpus_per_trial is not None:
        gpus = gpus_of_trial(args.trials_per_gpu, args.gpus_per_trial, use.device)
    threads = args.cpus_per_trial or use.threads_per_trial
    room = machines.slots(threads, gpus)
    if room < (args.max_concurrent or 1):
        raise UserError(
            f"--resume {experiment.name}: {args.max_concurrent or 1} at a time with {threads} "
            f"threads{f' and {gpus:g} GPUs' if gpus else ''} each find no room here; there is room "
            f"for {room}"
        )
    fewer = use.max_concurrent if use.is_capped else experiment.planned_trials
    return {
        "threads_per_trial": threads,
        "gpus_per_trial": gpus,
        "max_concurrent": args.max_concurrent or min(room, fewer),
        "is_capped": use.is_capped or args.max_concurrent is not None,
    }


def _field(experiment: Experiment, name: str) -> Any:
    if name in ("ladder", "space"):
        return getattr(experiment, name)
    for section in (experiment.machine, experiment.storage, experiment.plan):
        if hasattr(section, name):
            return getattr(section, name)
    raise AssertionError(name)


_FLAGS = {
    "max_concurrent": "--max-concurrent",
    "threads_per_trial": "--cpus-per-trial",
    "gpus_per_trial": "--gpus-per-trial",
    "checkpoint_every_seconds": "--checkpoint-every",
    "max_disk_bytes": "--max-disk",
    "samples": "--trials",
    "loggers": "--log",
}


def _changed_command(
    words: Sequence[str], changes: Mapping[str, Any], after: Experiment
) -> list[str]:
    """The experiment's command with these values, so that `--extend` and whoever types it again
    get them."""
    given = {_FLAGS[name]: value for name, value in changes.items() if name in _FLAGS}
    if "is_capped" in changes:
        given["--max-concurrent"] = after.machine.max_concurrent
    elif not after.machine.is_capped:
        given.pop("--max-concurrent", None)
    dropped = [*given, *(["--trials-per-gpu"] if "--gpus-per-trial" in given else [])]
    text = shlex.join(words)
    for flag in dropped:
        text = re.sub(rf"(^| ){flag}[ =]\S+", "", text)
    ladder = changes.get("ladder")
    if ladder is not None:
        text = re.sub(r"(^| )--verify(?:[ =](?!-)\S+)?", "", text)
    added = [word for flag, value in given.items() for word in (flag, _word(flag, value))]
    verify = [] if ladder is None else ["--verify", str(ladder.verify or WHOLE)]
    return [*shlex.split(text), *added, *verify]


def _word(flag: str, value: Any) -> str:
    """A value as its flag takes it."""
    if flag == "--log":
        return ",".join(value)
    return f"{value / 1000:.12g}KB" if flag == "--max-disk" else f"{value:.12g}"

"""`search/run.py` with a clock in it: what `overhead.py` starts and reads.

    python tests/benchmarks/search/overhead_search.py STAMPS.json '{"epochs": 2}' --grid lr ...

Changes fields of the preset, notes when each part of the start-up began and ended, and has each
trial leave `overhead.json` in its folder. Everything else is the command's own doing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a file: import from the checkout, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3] / "src")
    sys.path.append(str(Path(__file__).parent))

from alternation import with_descendants

STAMPS: dict[str, Any] = {}


def stamped(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, noting when its first call began and ended, in seconds since 1970."""

    def call(*args: Any, **kwargs: Any) -> Any:
        began = time.time()
        try:
            return function(*args, **kwargs)
        finally:
            STAMPS.setdefault(name, [began, time.time()])

    return call


def timed_trial(tune_config: dict[str, Any], experiment_folder: Path, **options: Any) -> None:
    """Runs in a worker: `run_trials`, noting its parts and what each report cost it."""
    from minigpt_search.search.records.experiment import read_experiment
    from minigpt_search.search.records.trial_folder import trial_folder
    from minigpt_search.search.trials.trial import trials_of
    from minigpt_search.search.worker import trainable as room

    noted: dict[str, Any] = {"worker": os.getpid(), "entered": time.time(), "reports": []}
    plain_report, plain_train = room.tune.report, room.train

    def report(metrics: dict[str, Any]) -> None:
        start = time.perf_counter()
        plain_report(metrics)
        noted["reports"].append(time.perf_counter() - start)

    def train(*args: Any, **kwargs: Any) -> Any:
        noted["began"] = time.time()
        (folder / "began").touch()
        result = plain_train(*args, **kwargs)
        noted["trained"] = time.time()
        return result

    (trial,) = trials_of(read_experiment(experiment_folder), tune_config)
    folder = trial_folder(experiment_folder, trial.trial_id)
    room.tune.report, room.train = report, train  # type: ignore[assignment]
    try:
        room.run_trials(tune_config, experiment_folder, **options)
    finally:
        room.tune.report, room.train = plain_report, plain_train
        noted["left"] = time.time()
        (folder / "overhead.json").write_text(json.dumps(noted))


def cpu_seconds_besides_workers() -> float:
    """Processor time so far of this process and of Ray's, the workers' not counted (Linux)."""
    total = 0.0
    for pid in with_descendants([os.getpid()]):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text()
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:  # it ended meanwhile
            continue
        if not command.startswith("ray::") or "Agent" in command:
            total += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")  # user and system
    return total


def put_clocks_into_the_search() -> None:
    """Wrap what `search.run` calls. Ray may only be imported once the environment is set."""
    from minigpt_search.search.cli import plan_search as begin
    from minigpt_search.search.machines import local

    prepare_environment = local.prepare_environment

    def prepare_and_wrap(threads: int) -> None:
        prepare_environment(threads)
        began = time.time()
        from minigpt_search.search.driver import tuner

        STAMPS["import_ray"] = [began, time.time()]
        import ray

        from minigpt_search.search.answer import print_results as shown

        shown.print_results = stamped("table", shown.print_results)

        ray.init = stamped("ray_init", ray.init)
        ray.shutdown = stamped("ray_shutdown", ray.shutdown)
        tuner.Search.run = stamped("run_search", tuner.Search.run)  # type: ignore[method-assign]
        tuner.run_trials = timed_trial
        on_complete = tuner.Recorder.on_trial_complete

        def note_and_record(self: Any, *args: Any, **info: Any) -> None:
            on_complete(self, *args, **info)
            STAMPS.setdefault("trial_ends", []).append([time.time(), cpu_seconds_besides_workers()])

        tuner.Recorder.on_trial_complete = note_and_record  # type: ignore[method-assign]

    local.prepare_environment = prepare_and_wrap
    begin.corpus_if_prepared = stamped("verify_corpus", begin.corpus_if_prepared)
    begin.make_estimator = stamped("measure_cost", begin.make_estimator)


def main() -> int:
    stamps, fields = Path(sys.argv[1]), json.loads(sys.argv[2])
    sys.argv[1:] = sys.argv[3:]
    from minigpt_search.search.space.presets import PRESETS

    put_clocks_into_the_search()
    from minigpt_search.search import run

    PRESETS["quick"] = PRESETS["quick"].replace(**fields)
    STAMPS["imported"] = time.time()
    status = run.main()
    STAMPS["returned"] = time.time()
    stamps.write_text(json.dumps(STAMPS))
    return status


if __name__ == "__main__":
    from minigpt_search.data.common.errors import run_command

    run_command(main)

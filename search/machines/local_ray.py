"""A Ray of our own on this machine: silent, on loopback, and gone without a trace at the end.

After a kill of the driver Ray's processes live on for seconds, its agents for a minute, and its
folder for ever (ray 2.60); the next run of the same experiment removes them first. They are known
by a variable of their environment, and the folder by a file in it that names the experiment.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import ray

from minigpt_search.data.ray.connection import outside_working_folder, silence_prints
from minigpt_search.data.ray.own_ray import make_scratch, own_token, remove_scratches
from minigpt_search.search.machines.machines import Node, RayNotStarted
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.storage.uri import experiment_uri

MARK = "MINIGPT_EXPERIMENT"
"""In the environment of each process of a search: the experiment's folder."""
NEEDED = ("gcs_server", "raylet")
"""Ray's processes without which nothing goes on."""
END_SECONDS = 10.0
"""How long a killed process is waited for; it takes milliseconds."""


@dataclass(frozen=True, kw_only=True)
class LocalRay:
    """A running Ray."""

    scratch: Path
    processes: dict[str, int]
    """Process ids of what it needs, by name."""

    def find_lost(self) -> str | None:
        """The name of a needed process that is gone, if one is."""
        return next((name for name, pid in self.processes.items() if not _lives(pid)), None)

    def on_new_nodes(self, callback: Callable[[Sequence[Node]], None]) -> None:
        """There are never any."""


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def local_ray(experiment: Experiment, folder: Path) -> Iterator[LocalRay]:
    """Start a Ray for the experiment in `folder`, whose lock must be held; end it at the end."""
    owner = folder if experiment.storage.uri is None else _stored(experiment)
    end_left_overs(owner)
    root = folder.parents[1]
    remove_scratches(str(owner), root)
    scratch = make_scratch(str(owner), root)
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    os.environ[MARK] = str(owner)
    try:
        with own_token():
            try:
                _start(experiment, scratch)
                children = psutil.Process().children()
                needed = {p.name(): p.pid for p in children if p.name() in NEEDED}
                yield LocalRay(scratch=scratch / "tune", processes=needed)
            finally:
                ray.shutdown()
    finally:
        del os.environ[MARK]
        end_left_overs(owner)
        remove_scratches(str(owner), root)


def _start(experiment: Experiment, scratch: Path) -> None:
    """Raises `RayNotStarted` where the raylet does not answer within the 30 s that Ray (2.60) gives
    it, for example since a package is missing that one of its processes needs."""
    machine = experiment.machine
    with warnings.catch_warnings(), few_processes(), outside_working_folder():
        warnings.simplefilter("ignore", FutureWarning)
        silence_prints()
        try:
            ray.init(
                address="local",  # never a cluster that happens to run here
                num_cpus=machine.max_concurrent * machine.threads_per_trial,
                num_gpus=len(machine.hardware["gpus"]) if machine.device == "cuda" else 0,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                _temp_dir=str(scratch / "ray"),
            )
        except OSError:  # no room, no permission: said as any other
            raise
        except Exception as error:  # Ray raises a plain one
            raise RayNotStarted(f"Ray did not start ({str(error).partition('. ')[0]})") from error


def _stored(experiment: Experiment) -> str:
    """Its place in the storage, the same for whichever folder a driver on this machine has."""
    assert experiment.storage.uri is not None
    return experiment_uri(experiment.storage.uri, experiment.name)


def end_left_overs(folder: Path | str) -> None:
    """Kill what runs of an earlier search of the experiment in `folder`, whose lock must be held:
    a worker of a killed driver would write beside that of the new one."""
    left = [process for process in psutil.process_iter() if _belongs(process, folder)]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + END_SECONDS
    while any(_lives(process.pid) for process in left) and time.monotonic() < deadline:
        time.sleep(0.01)


def _belongs(process: psutil.Process, folder: Path | str) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get(MARK) == str(folder)
    except (psutil.Error, OSError):  # it ended meanwhile, or is somebody else's
        return False


@contextmanager
def few_processes() -> Iterator[None]:
    """While this lasts, `ray.init` starts GCS and raylet alone, and what the raylet starts.

    The three others are Python processes that a search never uses: 2.2 s of processor time of its
    start, a second of its end, and 0.9% of a core in between (docs/performance.md). Ray has no
    options for them. What a release lacks of the methods that are replaced here is left alone: a
    search then costs that much, and its numbers are the same.
    """
    cls = getattr(sys.modules.get("ray._private.node"), "Node", None)

    def start_nothing(node: Any, **_: Any) -> None:
        """Start no process."""

    def start_no_dashboard(node: Any, **_: Any) -> None:
        node._webui_url = ""

    with ExitStack() as stack:
        for name, instead in [
            ("start_monitor", start_nothing),  # it would ask a cloud for machines
            ("start_log_monitor", start_nothing),  # nobody reads: `log_to_driver` is off
            ("start_api_server", start_no_dashboard),
        ]:
            if hasattr(cls, name):
                stack.enter_context(mock.patch.object(cls, name, instead))
        yield

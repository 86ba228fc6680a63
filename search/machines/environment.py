"""What Ray and its workers read from the environment; set before Ray is imported."""

from __future__ import annotations

import os

from minigpt_search.data.common.package import package_folder
from minigpt_search.data.ray.address import token_variables

_OF_TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the old output prints nothing at verbosity 0
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger is the log
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the driver; the ledger is whole
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Ray's snapshots are never read
    "RAY_USAGE_STATS_ENABLED": "0",
}
WORKER_VARIABLES = {
    # Tune trains in a thread. glibc gives threads arenas that hold no block above 64 MB, so that
    # each step would map its buffers anew (`model/hardware/allocator.py`).
    "MALLOC_ARENA_MAX": "1",
    # A task without a GPU of its own sees all; and it silences a notice of a coming change.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Inductor would start a process for each core, 32 at most, in each trial's; a block's dozen
    # kernels take seconds without.
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
}
_OF_A_RAY_OF_OUR_OWN = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # listen on loopback only
    # Tune ends when it kills a worker (search/worker/faults.py)
    "RAY_memory_monitor_refresh_ms": "0",
    # Nobody reads Ray's own metrics and events here (0.3% of a core, docs/performance.md).
    "RAY_enable_metrics_collection": "0",
    "RAY_event_stats": "0",
    "RAY_task_events_report_interval_ms": "0",  # none
    "RAY_io_context_monitor_probe_interval_ms": "5000",
    "RAY_raylet_report_resources_period_milliseconds": "1000",
    "RAY_worker_niceness": "0",  # at Ray's 15, trials yield to whatever else the machine does
}


def prepare_for_cluster() -> None:
    """Set the variables for a driver on a cluster; its Ray is the one that is there."""
    os.environ.update(_OF_TUNE)
    for name, value in token_variables().items():
        os.environ.setdefault(name, value)


def prepare_environment(threads_per_trial: int) -> None:
    """Set the variables for a search on this machine whose trials have `threads_per_trial` threads
    each."""
    os.environ.update(_OF_TUNE | WORKER_VARIABLES | _OF_A_RAY_OF_OUR_OWN)
    # Ray gives a worker one thread; with all cores' threads, two trials would fight for them.
    os.environ["OMP_NUM_THREADS"] = str(threads_per_trial)
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = str(threads_per_trial)
    # Workers import this project from where the driver did.
    paths = [str(package_folder().parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)

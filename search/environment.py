"""What Ray and its workers read from the environment; set before Ray is imported."""

from __future__ import annotations

import os
from pathlib import Path

_VARIABLES = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the old output prints nothing at verbosity 0
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger is the log
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the driver; the ledger is whole
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Ray's snapshots are never read
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # listen on loopback only
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_events_report_interval_ms": "0",  # nobody reads them; kept, they grow
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a notice of a coming change
}


def prepare_environment(threads_per_trial: int) -> None:
    """Set the variables for a search whose trials have `threads_per_trial` threads each."""
    os.environ.update(_VARIABLES)
    # Ray gives a worker one thread; with all cores' threads, two trials would fight for them.
    os.environ["OMP_NUM_THREADS"] = str(threads_per_trial)
    # Workers import this project from where the driver did.
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)

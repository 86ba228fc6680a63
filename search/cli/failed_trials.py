"""What a search says at its end of trials that failed or diverged, and its exit status."""

from __future__ import annotations

from pathlib import Path

from minigpt_search.data.common.formatting import counted
from minigpt_search.model.records import FAILED
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.results.labels import trial_label
from minigpt_search.search.results.results import Results


def say_what_failed(experiment: Experiment, folder: Path, ledger: Ledger, again: str) -> int:
    """A line for each trial that failed and how to try it again, and one on those that diverged.
    The exit status: 0 if every trial ended, and those that diverged lie at an end of what was
    tried."""
    from minigpt_search.search.answer.endings import divergence  # imports pandas

    results = Results(experiment, ledger)
    failed = [record for record in ledger.trials if record.status == FAILED]
    for record in failed:
        label = trial_label(experiment, record.config, record.replicate)
        log = folder / "checkpoints" / record.trial_id / "error.log"
        see = f"; see {log}" if log.exists() else ""
        print(f"Failed     {label}: {record.error}{see}")
    lost = any("process was lost" in (record.error or "") for record in failed)
    at_a_time = experiment.machine.max_concurrent
    if any(record.is_out_of_memory for record in failed) or (lost and at_a_time > 1):
        share = "--trials-per-gpu" if experiment.machine.device == "cuda" else "--cpus-per-trial"
        if_short = "" if any(record.is_out_of_memory for record in failed) else "if it was short, "
        one = f"{again} --max-concurrent 1"
        print(f"Memory     {if_short}{one} has one at a time; {share} may change too")
    diverged = divergence(results)
    if diverged is not None:
        print(f"Diverged   {diverged[0]}")
    missing = results.missing_trials
    if missing > 0:
        are = "is" if missing == 1 else "are"
        print(f"{counted(missing, 'trial')} failed or {are} missing; try again with: {again}")
    return 1 if missing > 0 or failed or (diverged is not None and not diverged[1]) else 0

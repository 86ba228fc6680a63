"""What became of every trial: the screen's tables of those with a result and those without one.

No loss of a trial that did not finish stands among those of others that did: where it was stopped,
and with which loss there, is in its reason. No torch, no Ray.
"""

from __future__ import annotations

import pandas as pd

from minigpt_search.data.common.formatting import counted
from minigpt_search.model.records import COMPLETE, DIVERGED, FAILED, STATUSES, STOPPED
from minigpt_search.search.answer.text_table import as_text, trials_table
from minigpt_search.search.results.barriers import diverged_inside
from minigpt_search.search.results.results import Results

MANY, SHOWN = 30, 10
"""Of more trials than MANY the screen shows so many of each table; the report has them all."""
NO_REASON = {
    STOPPED: "ended early on purpose",
    DIVERGED: "a loss or gradient was not finite",
    FAILED: "no reason recorded",
}


def endings(results: Results) -> str:
    """Both tables as text with a line that counts; the one line where nothing has ended."""
    parts = []
    if results.complete:
        parts.append(as_text(_best_of(trials_table(results), results)))
    other = without_result(results)
    if not other.empty:
        shown = other.head(SHOWN) if len(results.trials) > MANY else other
        columns = ["trial", "status", "steps", "epochs_done", "reason"]
        title = "Without a result: their losses don't compare with those of whole runs"
        parts.append(f"{title}\n\n{as_text(shown[columns])}")
    if not parts or len(results.trials) > MANY or not other.empty or not_run_yet(results):
        more = "; the report shows all" if len(results.trials) > MANY else ""
        parts.append(f"{progress(results)}{more}.")
    return "\n\n".join(parts)


def _best_of(table: pd.DataFrame, results: Results) -> pd.DataFrame:
    """The table; of many trials the rows with the lowest losses, and the winner's in any case."""
    if len(results.trials) <= MANY:
        return table
    lowest = table.sort_values("val_loss_nats", kind="stable").head(SHOWN).index
    winners = table.index[table["notes"].str.startswith("best")]
    return table.loc[winners.union(lowest, sort=False)].sort_values("val_loss_nats", kind="stable")


def without_result(results: Results) -> pd.DataFrame:
    """The stopped, diverged and failed trials: how far they came and why, and no loss."""
    trials = results.trials_frame
    rows = [
        {
            "trial": trial["trial"],
            "status": trial["status"],
            "steps": trial["steps"],
            "epochs_done": f"{trial['epochs_done']} of {trial['epochs']}",
            "total_seconds": trial["total_seconds"],
            "flop": trial["flop"],
            "reason": NO_REASON[trial["status"]] if pd.isna(reason := trial["reason"]) else reason,
        }
        for trial in trials[trials["status"] != COMPLETE].to_dict("records")
    ]
    return pd.DataFrame(rows)


def progress(results: Results, begun: int = 0, begun_words: str = "training") -> str:
    """`3 of 4 trials finished; 1 not run yet`, with those that ended without a result; of those
    without a record so many have `begun`, for a reader who knows: `2 training; 1 not run yet`."""
    statuses = [trial.status for trial in results.trials]
    finished = statuses.count(COMPLETE)
    parts = [f"{finished} of {counted(results.trials_so_far, 'trial')} finished"]
    parts += [
        f"{statuses.count(status)} {status}"
        for status in STATUSES
        if status != COMPLETE and status in statuses
    ]
    if begun:
        parts.append(f"{begun} {begun_words}")
    if (missing := not_run_yet(results) - begun) > 0:
        parts.append(f"{missing} not run yet")
    return "; ".join(parts)


def not_run_yet(results: Results) -> int:
    """Planned trials without a record."""
    failed = sum(trial.status == FAILED for trial in results.trials)
    return max(0, results.missing_trials - failed)


def divergence(results: Results) -> tuple[str, bool] | None:
    """A line about the trials that diverged, and whether the search is whole all the same: it is if
    they lie at an end of what was tried, seen from the winner. None where none diverged."""
    count = sum(trial.status == DIVERGED for trial in results.trials)
    if count == 0:
        return None
    trials, best = counted(count, "trial"), results.winner
    if best is None:
        return f"{trials}, and there is no result", False
    inside = diverged_inside(best.configuration, results.configurations)
    if not inside:
        return f"{trials}, at an end of what was tried: recorded, and no failure", True
    labels = ", ".join(each.label for each in inside[:SHOWN])
    more = f" and {len(inside) - SHOWN} more" if len(inside) > SHOWN else ""
    return f"{trials}; not at an end of what was tried: {labels}{more}", False

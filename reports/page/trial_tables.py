"""The tables of trials as a page has them: a column for each axis, and one for the seed."""

from __future__ import annotations

import pandas as pd

from minigpt_search.model.records import COMPLETE
from minigpt_search.reports.page.parts import SHOWN_ROWS, Table
from minigpt_search.search.answer.endings import without_result
from minigpt_search.search.answer.text_table import trials_table
from minigpt_search.search.results.results import Results

FILE_ONLY = ("trial_id", "trial")
"""What names a trial in the files: on the page its values do."""


def finished_trials(results: Results) -> Table:
    """The complete trials in the order of the axes' values; more than a page shows at once in the
    order of their losses."""
    frame = _by_axis(results, trials_table(results, cost=True), complete=True)
    caption = (
        "Finished trials; losses in nats per token, perplexity and bits per byte on the "
        "validation split, FLOP of the training"
    )
    frame, order = lowest_first(frame)
    caption += order
    best = (row for row, notes in enumerate(frame["notes"]) if notes.startswith("best"))
    return Table(
        name="trials",
        caption=caption,
        frame=frame,
        marked_row=next(best, None),
        sortable=True,
        file_only=FILE_ONLY,
    )


def lowest_first(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """A `frame` of more rows than a page shows at once in the order of their losses, so that the
    best are not folded away, and the caption's words on that; a shorter one as it is."""
    if len(frame) <= SHOWN_ROWS:
        return frame, ""
    ordered = frame.sort_values("val_loss_nats", kind="stable", ignore_index=True)
    return ordered, "; the lowest loss first"


def trials_without_result(results: Results) -> Table | None:
    """The stopped, diverged and failed trials; None if there are none."""
    frame = without_result(results)
    if frame.empty:
        return None
    return Table(
        name="without_result",
        caption="Stopped, diverged and failed trials: they have no result to compare",
        frame=_by_axis(results, frame, complete=False),
        sortable=True,
        file_only=FILE_ONLY,
    )


def _by_axis(results: Results, table: pd.DataFrame, complete: bool) -> pd.DataFrame:
    """A `table` of the complete trials, or of the others, in the order of the trials' frame: with
    the trial's id, its axes' values and the number of its seed before what it says."""
    experiment, trials = results.experiment, results.trials_frame
    trials = trials[(trials["status"] == COMPLETE) == complete].reset_index(drop=True)
    axes = list(experiment.space.axes)
    found = trials[["trial_id", "trial", *axes]]
    if experiment.noise.seeds > 1 or (trials["replicate"] > 0).any():
        found = found.assign(seed=trials["replicate"] + 1)
    rest = table.drop(columns=["trial", *axes], errors="ignore")
    fresh = trials["replicate"] >= experiment.noise.seeds
    if fresh.any() and "notes" in rest:
        marks = fresh.map({True: "fresh seed", False: ""})
        notes = ["; ".join(filter(None, pair)) for pair in zip(rest["notes"], marks, strict=True)]
        rest = rest.assign(notes=notes)
    return pd.concat([found, rest], axis=1)

"""The table of finished trials, and any table as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from minigpt_search.model.records import COMPLETE
from minigpt_search.model.run_length import WARMUP_SHARE_LIMIT
from minigpt_search.search.answer.columns import show
from minigpt_search.search.results.results import Results

TERMINAL_WIDTH = 100


def trials_table(results: Results, cost: bool = False) -> pd.DataFrame:
    """The complete trials, as in the assignment: trial, epochs, losses, perplexity, time,
    notes. With `cost`, for a page with more room than a terminal, also floating-point
    operations."""
    trials, best = results.trials_frame, results.winner
    trials = trials[trials["status"] == COMPLETE].reset_index(drop=True)
    seeds = len(best.configuration.complete) if best else 0
    # Another seed may be lower: it is the mean that is the best.
    best_notes = ["best" if seeds < 2 else "best by the mean of its seeds"] + [
        f"{edge.axis.name} at the {'upper' if edge.upper else 'lower'} edge"
        for edge in results.edges
    ]
    trials["notes"] = [
        "; ".join((best_notes if trial["best"] else []) + _notes(trial))
        for trial in trials.to_dict("records")
    ]
    names = ["trial", "epochs", "train_loss_nats", "val_loss_nats", "val_perplexity"]
    names += ["val_bits_per_byte", "total_seconds"]
    return trials[[*names, *(["flop"] if cost else []), "notes"]]


def _notes(trial: Mapping[Hashable, Any]) -> list[str]:
    notes = []
    if trial["lowest_epoch"] < trial["epochs"]:
        notes.append(f"validation loss rose after epoch {trial['lowest_epoch']:.0f}")
    if trial["warmup_share"] > WARMUP_SHARE_LIMIT:
        notes.append(f"warm-up is {trial['warmup_share']:.0%} of the run")
    if trial["over_cost_limit"]:
        notes.append("above --max-cost")
    if trial["pack"] > 1:
        notes.append(f"time is of a pack of {trial['pack']}")
    if trial["attempts"] > 1:
        notes.append(f"started {trial['attempts']} times")
    if isinstance(trial["taken_from"], str):
        notes.append(f"from {trial['taken_from']}")
    return notes


def as_text(frame: pd.DataFrame) -> str:
    """`frame` in aligned columns, at most 100 characters wide; long cells are wrapped."""
    shown = show(frame)
    widths = _widths([shown.headings, *shown.rows])
    lines = []
    for number, row in enumerate([shown.headings, *shown.rows]):
        wrapped = [textwrap.wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
        for i in range(max([1, *map(len, wrapped)])):
            parts = [cell[i] if i < len(cell) else "" for cell in wrapped]
            aligned = [
                part.rjust(width) if numeric else part.ljust(width)
                for part, width, numeric in zip(parts, widths, shown.numeric, strict=True)
            ]
            lines.append("  ".join(aligned).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _widths(rows: list[list[str]]) -> list[int]:
    """Each column's width: as its longest cell while there is room, then narrowing the widest,
    down to its longest word if that is enough."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, cells)) for cells in columns]
    words = [max(len(word) for cell in cells for word in ["", *cell.split()]) for cells in columns]
    while sum(widths) + 2 * (len(widths) - 1) > TERMINAL_WIDTH and max(widths, default=0) > 1:
        can_wrap = [w if w > word else 0 for w, word in zip(widths, words, strict=True)]
        choice = can_wrap if any(can_wrap) else widths
        widths[choice.index(max(choice))] -= 1
    return widths

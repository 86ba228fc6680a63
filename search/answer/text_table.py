"""The table of finished trials, and any table as text for a terminal."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from minigpt_search.data.common.folding import table_columns
from minigpt_search.model.records import COMPLETE
from minigpt_search.model.run_length import WARMUP_SHARE_LIMIT
from minigpt_search.search.answer.columns import show
from minigpt_search.search.results.results import Results

NOTE = "    "
"""Before a note below its row."""
SPARE = ("val_bits_per_byte", "train_loss_nats", "epochs", "val_perplexity", "total_seconds")
"""Columns of the table of trials that a narrow terminal does without, the first ones first."""


def trials_table(results: Results, cost: bool = False) -> pd.DataFrame:
    """The complete trials, as in the report of the recipe: trial, epochs, losses, perplexity, time,
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


def as_text(frame: pd.DataFrame, spare: Sequence[str] = SPARE) -> str:
    """`frame` in aligned columns, no wider than the terminal, or than 100 characters where there is
    none; long cells are wrapped. Notes for which there is no room beside the other columns get a
    line below their row. Where not even words have room, `spare` columns are left out, the first
    ones first, and a line says which."""
    width = table_columns(sys.stdout)
    frame, left_out = _narrowed(frame, width, spare)
    shown = show(frame)
    rows = [shown.headings, *shown.rows]
    notes: list[str] = []
    if list(frame.columns)[-1:] == ["notes"]:
        beside = [row[:-1] for row in rows]
        needed = sum(_least_widths(rows)) + 2 * len(beside[0])
        if needed > width:
            notes, rows = [row[-1] for row in shown.rows], beside
    widths = _widths(rows, width)
    lines = []
    for number, row in enumerate(rows):
        lines += _row_lines(row, widths, shown.numeric)
        if number == 0:
            lines.append("  ".join("-" * each for each in widths))
        elif notes and notes[number - 1]:
            lines += textwrap.wrap(
                notes[number - 1], width, initial_indent=NOTE, subsequent_indent=NOTE
            )
    if left_out:
        lines += ["", *textwrap.wrap(f"No room here for: {', '.join(left_out)}", width)]
    return "\n".join(lines)


def _narrowed(
    frame: pd.DataFrame, width: int, spare: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """`frame` without so many of the `spare` columns that no word is broken, if that is enough; and
    the headings of those."""
    left, out = [name for name in spare if name in frame], list[str]()
    while left and _narrowest(frame) > width:
        out += show(frame[[left[0]]]).headings
        frame = frame.drop(columns=left.pop(0))
    return frame, out


def _narrowest(frame: pd.DataFrame) -> int:
    """How wide it is with every column as wide as its longest word; notes go below their rows."""
    shown = show(frame.drop(columns="notes", errors="ignore"))
    columns = list(zip(shown.headings, *shown.rows, strict=True))
    return sum(map(_longest_word, columns)) + 2 * (len(columns) - 1)


def _row_lines(row: list[str], widths: list[int], numeric: list[bool]) -> list[str]:
    wrapped = [textwrap.wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
    lines = []
    for i in range(max([1, *map(len, wrapped)])):
        parts = [cell[i] if i < len(cell) else "" for cell in wrapped]
        aligned = [
            part.rjust(width) if is_number else part.ljust(width)
            for part, width, is_number in zip(parts, widths, numeric, strict=False)
        ]
        lines.append("  ".join(aligned).rstrip())
    return lines


def _least_widths(rows: list[list[str]]) -> list[int]:
    """Each column's width with which nothing but its heading is wrapped, between words."""
    columns = zip(*rows, strict=True)
    return [max([_longest_word(cells[:1]), *map(len, cells[1:])]) for cells in columns]


def _longest_word(cells: Sequence[str]) -> int:
    return max(len(word) for cell in cells for word in ["", *cell.split()])


def _widths(rows: list[list[str]], most: int) -> list[int]:
    """Each column's width: as its longest cell while there is room. Then the widest is narrowed,
    first of those where only the heading is so wide, then of all, down to their longest words if
    that is enough."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, cells)) for cells in columns]
    for least in (
        _least_widths(rows),
        [_longest_word(cells) for cells in columns],
        [1] * len(widths),
    ):
        while sum(widths) + 2 * (len(widths) - 1) > most:
            can_wrap = [w if w > low else 0 for w, low in zip(widths, least, strict=True)]
            if not any(can_wrap):
                break
            widths[can_wrap.index(max(can_wrap))] -= 1
    return widths

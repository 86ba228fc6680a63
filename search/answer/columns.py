"""How each column of a report's table is headed and how its values are written.

Tables hold plain values under names with units (`val_loss_nats`), as their CSV files do; the page,
the Markdown and the terminal show them through `show`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from minigpt_search.data.common.formatting import (
    day_and_time,
    duration,
    improvement,
    one_line,
    p_value,
    perplexity,
    share,
    storage,
    yes_no,
)
from minigpt_search.search.space.axes import AXES
from minigpt_search.search.space.axis_words import axis_heading, axis_text

MISSING = "–"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column's look."""

    heading: str
    write: Callable[[Any], str] = one_line
    numeric: bool = False
    """Numbers are set flush right."""


def _number(heading: str, pattern: str) -> Column:
    return Column(heading=heading, write=pattern.format, numeric=True)


COLUMNS = {
    # architecture, settings
    "component": Column(heading="Component"),
    "specification": Column(heading="Specification"),
    "parameters": _number("Parameters", "{:,.0f}"),
    "share": Column(heading="Share", write=share, numeric=True),
    "setting": Column(heading="Setting"),
    "value": Column(heading="Value"),
    "metric": Column(heading="Metric"),
    # data set
    "source": Column(heading="Source"),
    "kind": Column(heading="Kind"),
    "licence": Column(heading="Licence"),
    "documents_in": _number("Documents in", "{:,.0f}"),
    "documents_kept": _number("Kept", "{:,.0f}"),
    "retention": _number("Retention", "{:.1%}"),
    "tokens": _number("Tokens", "{:,.0f}"),
    "split": Column(heading="Split"),
    "documents": _number("Documents", "{:,.0f}"),
    "text_bytes": Column(heading="Text", write=storage, numeric=True),
    "files": _number("Files", "{:,.0f}"),
    # results
    "trial": Column(heading="Trial"),
    "configuration": Column(heading="Configuration"),
    "trial_id": Column(heading="Id"),
    "seed": _number("Seed", "{:.0f}"),
    "epoch": _number("Epoch", "{:.0f}"),
    "epochs": _number("Epochs", "{:.0f}"),
    "train_loss_nats": _number("Train loss", "{:.4f}"),
    "val_loss_nats": _number("Validation loss", "{:.4f}"),
    "val_perplexity": Column(heading="Perplexity", write=perplexity, numeric=True),
    "val_bits_per_byte": _number("Bits per byte", "{:.4f}"),
    "improvement": Column(heading="Improvement", write=improvement, numeric=True),
    "lr_last": _number("Learning rate", "{:.3g}"),
    "grad_norm_mean": _number("Gradient norm", "{:.3f}"),
    "steps_per_second": _number("Steps/s", "{:.2f}"),
    "training_seconds": Column(heading="Training", write=duration, numeric=True),
    "total_seconds": Column(heading="Time", write=duration, numeric=True),
    "notes": Column(heading="Notes"),
    "model": Column(heading="Model"),
    "prompt": Column(heading="Prompt"),
    "continuation": Column(heading="It goes on"),
    # trials without a result
    "status": Column(heading="Status"),
    "steps": _number("Steps", "{:,.0f}"),
    "epochs_done": Column(heading="Epochs done"),
    "reason": Column(heading="Reason"),
    # configurations and their replicates
    "seeds": Column(heading="Seeds finished"),
    "val_loss_sd": _number("Spread (sd)", "{:.4f}"),
    "val_loss_interval": Column(heading="95% interval", numeric=True),
    "flop": _number("FLOP", "{:.2e}"),
    # counting, and other text
    "baseline": Column(heading="By counting"),
    "above": Column(heading="The best is above it by", numeric=True),
    "other_text_interval": Column(heading="On other text", numeric=True),
    "above_best": Column(heading="Above the best", numeric=True),
    "above_bigram": Column(heading="Above the bigram table", numeric=True),
    # claims
    "claim": Column(heading="Claim"),
    "test": Column(heading="Tested by"),
    "measured": Column(heading="Measured here, with 95% intervals"),
    "verdict": Column(heading="Verdict"),
    "p_adjusted": Column(heading="p, adjusted", write=p_value, numeric=True),
    "scope": Column(heading="Of what"),
    "from_ladder": Column(heading="Predicted from the ladder"),
    "settle": Column(heading="What would settle it"),
    "law": Column(heading="Law"),
    "formula": Column(heading="Loss in nats"),
    "counted": Column(heading="N counts"),
    "claim_loss_nats": _number("For the claim’s N and D", "{:.2f}"),
    "claim_loss_seen_nats": _number("D seen 10 times", "{:.2f}"),
    "here_loss_nats": _number("For this corpus, once", "{:.2f}"),
    # a ladder
    "run": Column(heading="Run"),
    "run_tokens": _number("Tokens", "{:,.0f}"),
    "width": _number("Width", "{:.0f}"),
    "best_rate": Column(heading="Best rate", numeric=True),
    "best_rate_interval": Column(heading="95% interval", numeric=True),
    "lowest_loss": _number("Lowest loss", "{:.3f}"),
    "lowest_loss_interval": Column(heading="95% interval", numeric=True),
    "beyond": _number("Times the largest rung", "{:,.3g}"),
    "rate_predicted": Column(heading="Best rate, predicted", numeric=True),
    "rate_found": Column(heading="Found", numeric=True),
    "rate_held": Column(heading="Held", write=yes_no),
    "loss_predicted": Column(heading="Loss, predicted", numeric=True),
    "loss_found": _number("Found", "{:.2f}"),
    "loss_held": Column(heading="Held", write=yes_no),
    # comparisons
    "search": Column(heading="Search"),
    "behind": Column(heading="Behind the best", numeric=True),
    "tokenizer": Column(heading="Tokenizer"),
    "vocab_size": _number("Vocabulary", "{:,.0f}"),
    "context": Column(heading="Context"),
    "val_bits_interval": Column(heading="95% interval", numeric=True),
    # the list of experiments
    "experiment": Column(heading="Experiment"),
    "state": Column(heading="State"),
    "age": Column(heading="Age", write=duration, numeric=True),
    "size": Column(heading="Size", write=storage, numeric=True),
    # reruns
    "command": Column(heading="Command"),
    "came_out": Column(heading="Came out the same"),
    "ledger_val_loss_nats": _number("Validation loss, ledger", "{:.6f}"),
    "rerun_val_loss_nats": _number("Rerun", "{:.6f}"),
    "same_bits": Column(heading="Same bits", write=yes_no),
    "same_machine": Column(heading="Same machine", write=yes_no),
    "test_loss_nats": _number("Test loss", "{:.4f}"),
    "test_perplexity": Column(heading="Test perplexity", write=perplexity, numeric=True),
    "test_bits_per_byte": _number("Test bits per byte", "{:.4f}"),
    "ended_at": Column(heading="When", write=day_and_time),
}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A table as text: what a reader sees."""

    headings: list[str]
    numeric: list[bool]
    rows: list[list[str]]


def _column(name: str) -> Column:
    if name.startswith("search:"):
        return Column(heading=one_line(name.removeprefix("search:")))
    if name not in COLUMNS and name in AXES:
        axis = AXES[name]
        heading = axis_heading(axis)
        return Column(
            heading=f"{heading[:1].upper()}{heading[1:]}",
            write=functools.partial(axis_text, axis),
            numeric=not axis.categorical,
        )
    return COLUMNS[name]


def show(frame: pd.DataFrame) -> Shown:
    """`frame` as text, by the columns' names; a missing value is a dash. A column `search:NAME`
    holds what is of the experiment called NAME; one named as an axis, that axis' values."""
    columns = [_column(str(name)) for name in frame.columns]
    rows = [
        [
            MISSING if pd.isna(value) else column.write(value)
            for column, value in zip(columns, row, strict=True)
        ]
        for row in frame.itertuples(index=False, name=None)
    ]
    return Shown(
        headings=[column.heading for column in columns],
        numeric=[column.numeric for column in columns],
        rows=rows,
    )

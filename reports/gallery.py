"""The report's figures with what a reader needs beside them: title, alternative text, caption."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from model.records import COMPLETE
from reports import figures
from reports.columns import counted
from reports.frames import epochs_frame, trials_frame
from search.axes import AXES
from search.experiment import Experiment
from search.ledger import Ledger

DOTS_PER_INCH = 160


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawn figure and its words."""

    name: str
    """Its file is figures/NAME.png."""
    title: str
    alt: str
    """What it shows, for those who can't see it."""
    caption: str
    """What to see in it."""
    png: bytes


def gallery(experiment: Experiment, ledger: Ledger) -> list[Picture]:
    """All figures that the finished trials allow; none without a finished trial."""
    trials = trials_frame(experiment, ledger)
    trials = trials[trials["status"] == COMPLETE].reset_index(drop=True)
    if trials.empty:
        return []
    epochs = epochs_frame(experiment, ledger)
    # In the tables' order, so that a trial has the same place in every legend.
    epochs = trials[["trial_id"]].merge(epochs, on="trial_id", how="left")
    pictures = [_loss(epochs), _perplexity(epochs)]
    pictures += [
        _against(trials, name, [other for other in experiment.axes if other != name])
        for name in experiment.axes
        if trials[name].nunique() >= 2
    ]
    timed = trials.dropna(subset=["tokens_per_second"])
    return pictures + ([_throughput(timed, experiment)] if len(timed) else [])


def _loss(epochs: pd.DataFrame) -> Picture:
    return Picture(
        name="loss_by_epoch",
        title="Loss by epoch",
        alt=f"Lines of training and validation loss by epoch for {_count(epochs)}. {_ends(epochs)}",
        caption=f"Lower is better. {_ends(epochs)} Training loss is a mean over the whole epoch, "
        "measured with dropout, so it may lie above validation loss; a validation line that "
        "turns up while training falls is overfitting.",
        png=_png(figures.loss_by_epoch(epochs)),
    )


def _perplexity(epochs: pd.DataFrame) -> Picture:
    best = epochs.sort_values("epoch").groupby("trial_id")["val_perplexity"].last().min()
    return Picture(
        name="perplexity_by_epoch",
        title="Perplexity by epoch",
        alt=f"Lines of validation perplexity by epoch for {_count(epochs)}; the lowest ends at "
        f"{best:,.1f}.",
        caption="Perplexity is the exponential of validation loss: among how many equally likely "
        f"tokens the model is undecided. The best trial ends at {best:,.1f}.",
        png=_png(figures.perplexity_by_epoch(epochs)),
    )


def _against(trials: pd.DataFrame, name: str, others: list[str]) -> Picture:
    axis = AXES[name]
    best = trials.sort_values("val_loss_nats", kind="stable").iloc[0]
    found = f"The lowest, {best['val_loss_nats']:.3f} nats, is at {axis.show(best[name])}."
    return Picture(
        name=f"loss_against_{name}",
        title=f"Validation loss against {axis.label}",
        alt=f"Final validation loss of {len(trials)} trials against {axis.label}. {found}",
        caption=found
        if axis.categorical
        else f"{found} A minimum inside the plot is a tuned {axis.label}; one at its edge "
        "asks for more values on that side.",
        png=_png(figures.loss_against(trials, axis, others)),
    )


def _throughput(trials: pd.DataFrame, experiment: Experiment) -> Picture:
    speed = trials["tokens_per_second"] / 1000
    slowest, fastest = f"{speed.min():.1f}", f"{speed.max():.1f}"
    spread = fastest if slowest == fastest else f"from {slowest} to {fastest}"
    spread += " thousand tokens per second"
    packed = (
        " Trials in a pack share their process: together they are faster by the size of the pack."
        if (trials["pack"] > 1).any()
        else ""
    )
    colour = "; the best trial is orange" if len(trials) <= figures.MANY_BARS else ""
    return Picture(
        name="throughput",
        title="Training speed",
        alt=f"Training speed of {counted(len(trials), 'trial')}, {spread}.",
        caption=f"Without evaluation and checkpoints, {spread}{colour}. "
        f"{counted(experiment.max_concurrent, 'trial')} ran at a time with "
        f"{counted(experiment.threads_per_trial, 'thread')} each: "
        f"speeds that differ can also mean a busy machine.{packed}",
        png=_png(figures.throughput(trials)),
    )


def _count(epochs: pd.DataFrame) -> str:
    return counted(epochs["trial_id"].nunique(), "trial")


def _ends(epochs: pd.DataFrame) -> str:
    last = epochs.sort_values("epoch").groupby("trial_id")["val_loss_nats"].last()
    if len(last) == 1:
        return f"Validation loss ends at {last.iloc[0]:.3f} nats."
    return f"Validation loss ends between {last.min():.3f} and {last.max():.3f} nats."


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without the version of matplotlib in the file, the same ledger gives the same bytes.
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()

"""The learning curves with their words."""

from __future__ import annotations

import pandas as pd

from reports import curves
from reports.columns import counted, perplexity
from reports.drawing import MANY
from reports.picture import Picture, png_of


def learning_pictures(epochs: pd.DataFrame) -> list[Picture]:
    """Training and validation loss against tokens and against seconds."""
    words = (
        f"Lower is better. {_ends(epochs)} Training loss (dashed) is a mean over the whole epoch, "
        "measured with dropout, so it may lie above validation loss; a validation line that turns "
        "up while training falls is overfitting."
    )
    if epochs["trial_id"].nunique() > MANY:
        words += (
            " Grey are validation losses; in colour the trials that end lowest, one of a setting."
        )
    against = (
        ("tokens_seen", "loss_by_tokens", "training tokens", words),
        (
            "wall_seconds",
            "loss_by_seconds",
            "time",
            f"The same against the clock. {_ends(epochs)} A line that is lower at the same time "
            "learns more a second; seconds depend on what else the machine did.",
        ),
    )
    return [
        Picture(
            name=name,
            title=f"Loss against {title}",
            alt=f"Lines of training and validation loss against {title} for {_count(epochs)}. "
            f"{_ends(epochs)}",
            caption=caption,
            png=png_of(curves.learning_curves(epochs, column)),
        )
        for column, name, title, caption in against
    ]


def perplexity_picture(epochs: pd.DataFrame) -> Picture:
    best = epochs.sort_values("epoch").groupby("trial_id")["val_perplexity"].last().min()
    return Picture(
        name="perplexity_by_epoch",
        title="Perplexity by epoch",
        alt=f"Lines of validation perplexity by epoch for {_count(epochs)}; the lowest ends at "
        f"{perplexity(best)}.",
        caption="Perplexity is the exponential of validation loss: among how many equally likely "
        f"tokens the model is undecided. The lowest ends at {perplexity(best)}.",
        png=png_of(curves.perplexity_by_epoch(epochs)),
    )


def gap_picture(epochs: pd.DataFrame) -> Picture:
    last = epochs.sort_values("epoch").groupby("trial_id").last()
    gap = last["val_loss_nats"] - last["train_loss_nats"]
    ends = f"At the end it is between {gap.min():+.3f} and {gap.max():+.3f} nats."
    if len(gap) == 1:
        ends = f"At the end it is {gap.iloc[0]:+.3f} nats."
    return Picture(
        name="generalisation_gap",
        title="Generalisation gap",
        alt=f"Validation less training loss by epoch for {_count(epochs)}. {ends}",
        caption=f"Validation less training loss. {ends} Above zero the training text is fitted "
        "better than unseen text. Below zero is usual in the first epochs: training loss is a mean "
        "over the epoch, with dropout.",
        png=png_of(curves.generalisation_gap(epochs)),
    )


def _count(epochs: pd.DataFrame) -> str:
    return counted(epochs["trial_id"].nunique(), "trial")


def _ends(epochs: pd.DataFrame) -> str:
    last = epochs.sort_values("epoch").groupby("trial_id")["val_loss_nats"].last()
    if len(last) == 1:
        return f"Validation loss ends at {last.iloc[0]:.3f} nats."
    return f"Validation loss ends between {last.min():.3f} and {last.max():.3f} nats."

"""The loss on text that a run was trained on, scored as validation is: without dropout, by the
weights of the end.

An epoch's training loss is a mean over its steps, of weights that still change and with dropout: it
lies above what the last weights make of the same text, so its distance to the validation loss says
little of overfitting.

Shapes: N sequences that are scored.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minigpt_search.data.corpus.dataset import SegmentedTextDataset
from minigpt_search.model.batching.order import spread_evenly
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.scoring.evaluate import evaluate, scored_windows


def trained_windows(count: int, *, trained: int, available: int) -> Tensor:
    """The indices (N,) of `count` sequences, at most all, spread evenly over the `trained` ones
    that an epoch takes out of `available`, ascending."""
    count = max(1, min(count, trained))
    # The i-th of an epoch's own is i * available // trained (`spread_evenly`).
    return spread_evenly(torch.arange(count), trained).mul_(available).floor_divide_(trained)


def training_loss(
    model: GPT,
    train_set: SegmentedTextDataset,
    val_set: SegmentedTextDataset,
    *,
    trained: int,
    val_tokens: int | None,
) -> float:
    """The model's mean cross-entropy a token, in nats, without dropout, on as many sequences of its
    training text as validation has. Leaves the model as it was, and draws no random numbers.

    Args:
        trained: the sequences of an epoch.
        val_tokens: about so many tokens of validation are scored; None is the whole split.
    """
    count = len(scored_windows(val_set, val_tokens))
    windows = trained_windows(count, trained=trained, available=len(train_set))
    return evaluate(model, train_set, windows=windows)

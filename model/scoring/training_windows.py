"""The loss on text that a run was trained on, scored as validation is: without dropout, by the
weights of the end.

An epoch's training loss is a mean over its steps, of weights that still change and with dropout: it
lies above what the last weights make of the same text, so its distance to the validation loss says
little of overfitting.

Shapes: N sequences that are scored.
"""

from __future__ import annotations

from torch import Tensor

from minigpt_search.data.corpus.dataset import SegmentedTextDataset
from minigpt_search.model.batching.order import evenly_spaced
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.scoring.evaluate import evaluate, scored_windows


def trained_windows(count: int, text: Tensor) -> Tensor:
    """The indices (N,) of `count` sequences, at most all, spread evenly over those of `text`, which
    is a run's (`model/batching/order.py`)."""
    return text[evenly_spaced(max(1, min(count, len(text))), len(text))]


def training_loss(
    model: GPT,
    train_set: SegmentedTextDataset,
    val_set: SegmentedTextDataset,
    *,
    text: Tensor,
    val_tokens: int | None,
) -> float:
    """The model's mean cross-entropy a token, in nats, without dropout, on as many sequences of its
    training text as validation has. Leaves the model as it was, and draws no random numbers.

    Args:
        text: the indices of the sequences that it was trained on.
        val_tokens: about so many tokens of validation are scored; None is the whole split.
    """
    count = len(scored_windows(val_set, val_tokens))
    return evaluate(model, train_set, windows=trained_windows(count, text))

"""The loss on a split: with fp32 products whatever the training used, so that precisions can be
compared, and never all logits at once.

Shapes: B sequences of a batch, T tokens of one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from minigpt_search.data.corpus.dataset import SegmentedTextDataset
from minigpt_search.model.batching.order import evenly_spaced
from minigpt_search.model.network.gpt import GPT

SEQUENCES_PER_BATCH = 64
"""Sequences scored at a time, whatever `batch_size` is: the loss must not depend on it."""


@torch.no_grad()
def evaluate(
    model: GPT,
    dataset: SegmentedTextDataset,
    *,
    tokens: int | None = None,
    windows: Tensor | None = None,
    token_losses: list[Tensor] | None = None,
) -> float:
    """The model's mean cross-entropy a token on this split, in nats, without dropout.

    `tokens` scores about that many, those of `scored_windows`; `windows` (N,) are other sequences
    to score. Leaves the model in the mode
    (training or not) it was in, and draws no random numbers. `token_losses` gets each token's loss,
    a tensor (B, T) for each batch, if it is given.
    """
    indices = scored_windows(dataset, tokens) if windows is None else windows
    device = next(model.parameters()).device
    total = torch.zeros((), dtype=torch.float64, device=device)  # there: one wait, at the end
    was_training = model.training
    model.eval()
    for chunk in indices.split(SEQUENCES_PER_BATCH):
        x, y = dataset.batch(chunk)  # (B, T) each
        x, y = x.to(device), y.to(device)
        if token_losses is None:
            mean = model.loss(x, y)
        else:
            mean, own = model.token_losses(x, y)
            token_losses.append(own)
        total += mean.double() * len(chunk)
    model.train(was_training)
    return total.item() / len(indices)


def scored_windows(dataset: SegmentedTextDataset, tokens: int | None) -> Tensor:
    """The indices (N,) of the sequences that are scored: about so many tokens of them, at least
    one, spread evenly over the split; None: all."""
    available = len(dataset)
    n = available if tokens is None else max(1, min(available, tokens // dataset.seq_len))
    return evenly_spaced(n, available)


def perplexity(loss_nats: float) -> float:
    """exp(loss); infinite from 700 nats on, just before a float overflows (at 709.8)."""
    return math.exp(loss_nats) if loss_nats < 700 else math.inf


def bits_per_byte(loss_nats: float, bytes_per_token: float) -> float:
    """A loss a token in nats as bits a byte of the text, which don't depend on the tokenizer."""
    return loss_nats / math.log(2) / bytes_per_token

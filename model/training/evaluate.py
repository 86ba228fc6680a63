"""The loss on a split: with fp32 products whatever the training used, so that precisions can be
compared, and never all logits at once.

Shapes: B sequences of a batch, T tokens of one.
"""

from __future__ import annotations

import math

import torch

from minigpt_search.data.corpus.dataset import SegmentedTextDataset
from minigpt_search.model.batching.order import evenly_spaced
from minigpt_search.model.network.gpt import GPT

SEQUENCES_PER_BATCH = 64
"""Sequences scored at a time, whatever `batch_size` is: the loss must not depend on it."""


@torch.no_grad()
def evaluate(model: GPT, dataset: SegmentedTextDataset, *, tokens: int | None = None) -> float:
    """The model's mean cross-entropy a token on this split, in nats, without dropout.

    `tokens` scores about that many, at least one sequence, spread evenly over the split; None
    scores all. Leaves the model in the mode (training or not) it was in, and draws no random
    numbers.
    """
    available = len(dataset)
    n = available if tokens is None else max(1, min(available, tokens // dataset.seq_len))
    indices = evenly_spaced(n, available)
    device = next(model.parameters()).device
    total = torch.zeros((), dtype=torch.float64, device=device)  # there: one wait, at the end
    was_training = model.training
    model.eval()
    for chunk in indices.split(SEQUENCES_PER_BATCH):
        x, y = dataset.batch(chunk)  # (B, T) each
        total += model.loss(x.to(device), y.to(device)).double() * len(chunk)
    model.train(was_training)
    return total.item() / n


def perplexity(loss_nats: float) -> float:
    """exp(loss); infinite from 700 nats on, just before a float overflows (at 709.8)."""
    return math.exp(loss_nats) if loss_nats < 700 else math.inf


def bits_per_byte(loss_nats: float, bytes_per_token: float) -> float:
    """A loss a token in nats as bits a byte of the text, which don't depend on the tokenizer."""
    return loss_nats / math.log(2) / bytes_per_token

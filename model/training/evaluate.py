"""Loss on a split: fp32 products whatever the training used, never all logits at once."""

from __future__ import annotations

import math

import torch

from minigpt_search.data.corpus.dataset import SegmentedTextDataset
from minigpt_search.model.batching.order import evenly_spaced
from minigpt_search.model.network.gpt import GPT

SEQUENCES_PER_BATCH = 64


@torch.no_grad()
def evaluate(model: GPT, dataset: SegmentedTextDataset, *, tokens: int | None = None) -> float:
    """Mean cross-entropy a token in nats, without dropout.

    `tokens` scores about that many, spread evenly over the split; None scores all. Leaves the
    model in the mode (training or not) it was in, and draws no random numbers.
    """
    available = len(dataset)
    n = available if tokens is None else max(1, min(available, tokens // dataset.seq_len))
    indices = evenly_spaced(n, available)
    device = next(model.parameters()).device
    total = torch.zeros((), dtype=torch.float64, device=device)
    was_training = model.training
    model.eval()
    for chunk in indices.split(SEQUENCES_PER_BATCH):
        x, y = dataset.batch(chunk)  # (B, T) each
        total += model.loss(x.to(device), y.to(device)).double() * len(chunk)
    model.train(was_training)
    return total.item() / n


def perplexity(loss_nats: float) -> float:
    """exp(loss), infinite where that overflows."""
    return math.exp(loss_nats) if loss_nats < 700 else math.inf


def bits_per_byte(loss_nats: float, bytes_per_token: float) -> float:
    """A loss a token in nats as bits a byte of the text."""
    return loss_nats / math.log(2) / bytes_per_token

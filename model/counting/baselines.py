"""What counting alone makes of a text: the losses that a network must beat to have learnt more.

Shapes: N windows that are counted, M that are scored, T tokens that each predicts, T + 1 of one.
"""

from __future__ import annotations

import math

import numpy as np

from minigpt_search.model.counting.kneser_ney import LARGEST_VOCABULARY, Floats, Ints, KneserNey

UNIFORM, UNIGRAM, BIGRAM, TRIGRAM = "uniform", "unigram", "bigram", "trigram"
ORDERS = {UNIGRAM: 1, BIGRAM: 2, TRIGRAM: 3}
BYTES_PER_TOKEN = 64
"""Of memory while a text is counted, its windows included: 470 MB were seen for 10 million tokens
(2026-11-29)."""


def counting_losses(counted: Ints, scored: Ints, vocab_size: int) -> dict[str, Floats]:
    """Each scored token's cross-entropy in nats (M, T) under each model, the best context it has.

    The first token of a window has one before it, so there the trigram is a bigram; of windows
    with T = 1 it is one everywhere.

    Args:
        counted: (N, T + 1) the windows that a network trains on.
        scored: (M, T + 1) those that it is scored on.
        vocab_size: entries of the tokenizer, at most `LARGEST_VOCABULARY`.
    """
    assert vocab_size <= LARGEST_VOCABULARY
    shape = (len(scored), scored.shape[1] - 1)
    found = {UNIFORM: np.full(shape, math.log(vocab_size))}
    for name, order in ORDERS.items():
        if order > scored.shape[1]:
            found[name] = found[BIGRAM].copy()
            continue
        table = KneserNey(counted, vocab_size, order)
        first = max(0, order - 2)  # tokens with too short a context
        grams = np.lib.stride_tricks.sliding_window_view(scored[:, order == 1 :], order, axis=1)
        own = -np.log(table.probabilities(grams.reshape(-1, order)))
        own = own.reshape(len(scored), shape[1] - first)
        found[name] = np.concatenate([found[BIGRAM][:, :first], own], axis=1) if first else own
    return found

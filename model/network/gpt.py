"""A decoder-only transformer in GPT-2's layout: pre-norm blocks, learned positions, GELU.

Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; GELU in its
tanh form, as GPT-2 has it. The weights' names are this project's; `model/export.py` maps them to
those of `transformers`.

Shapes: B sequences, T tokens, D width, H heads, V vocabulary.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt_search.model.config import ModelConfig
from minigpt_search.model.loss.cross_entropy import linear_cross_entropy, row_cross_entropies
from minigpt_search.model.network import embedding, mup
from minigpt_search.model.network.dropout import Dropout

INIT_STD = 0.02
"""Standard deviation of every matrix at the start (GPT-2's `initializer_range`)."""

SHORT_CONTEXT = 256
"""Tokens up to which attention keeps its weights in memory: at 64, forward and backward take a
fifth of `scaled_dot_product_attention`'s time on a CPU (3.7 against 19 ms for 32 sequences and 4
heads of width 32 in bf16, one core of an AMD EPYC, 2026-11-22). With dropout it is so at any
length, since its random stream is our own."""


class Attention(nn.Module):
    """Causal multi-head self-attention with dropout on its weights."""

    def __init__(self, config: ModelConfig, width_ratio: float = 1.0) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.scale = 1 / math.sqrt(config.embed_dim // config.n_heads) / math.sqrt(width_ratio)
        """What attention's logits are multiplied by; under muP it falls with the width."""
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.out = nn.Linear(config.embed_dim, config.embed_dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, drawn: Tensor | None = None) -> Tensor:
        """Attend within each sequence: x (B, T, D) to (B, T, D). `drawn` is as for `Dropout`."""
        b, t, d = x.shape
        q, k, v = (
            part.view(b, t, self.n_heads, d // self.n_heads).transpose(1, 2)  # (B, H, T, D/H)
            for part in self.qkv(x).split(d, dim=2)
        )
        if t <= SHORT_CONTEXT or (self.training and self.dropout.p):
            y = self._attend(q, k, v, drawn)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)
        return self.out(y.transpose(1, 2).reshape(b, t, d))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, drawn: Tensor | None) -> Tensor:
        """Attention with all its weights in memory, (B·H, T, T): queries, keys and values
        (B, H, T, D/H) to (B, H, T, D/H)."""
        t = q.shape[2]
        # Added to the logits in the product itself: a mask afterwards would be one more pass.
        future = torch.full((t, t), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
        queries, keys = q.flatten(0, 1), k.flatten(0, 1)
        scores = torch.baddbmm(future, queries, keys.transpose(1, 2), alpha=self.scale)
        weights = self.dropout(scores.softmax(dim=2), drawn)
        return torch.bmm(weights, v.flatten(0, 1)).view_as(q)


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a residual."""

    def __init__(self, config: ModelConfig, width_ratio: float = 1.0) -> None:
        super().__init__()
        d = config.embed_dim
        self.norm_attention, self.attention = nn.LayerNorm(d), Attention(config, width_ratio)
        self.norm_feed_forward = nn.LayerNorm(d)
        self.expand, self.contract = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, drawn: tuple[Tensor | None, ...] = (None, None, None)) -> Tensor:
        """Both parts, x (B, T, D) to (B, T, D). `drawn` is as for `Dropout`, for the attention's
        weights, its output and the feed-forward's output."""
        weights, first, second = drawn
        x = x + self.dropout(self.attention(self.norm_attention(x), weights), first)
        hidden = F.gelu(self.expand(self.norm_feed_forward(x)), approximate="tanh")
        return x + self.dropout(self.contract(hidden), second)


class GPT(nn.Module):
    """The model, whose weights are drawn from torch's global random state.

    `width_ratio` is `RunConfig.width_ratio`: 1 but under muP (`model/network/mup.py`).
    """

    def __init__(self, config: ModelConfig, width_ratio: float = 1.0) -> None:
        super().__init__()
        self.config, self.width_ratio = config, width_ratio
        self.token_embedding = nn.Embedding(config.vocab_size, config.embed_dim)
        self.position_embedding = nn.Embedding(config.seq_len, config.embed_dim)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, width_ratio) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.embed_dim)
        self.head = nn.Linear(config.embed_dim, config.vocab_size, bias=False)
        if config.tie_head:
            self.head.weight = self.token_embedding.weight
        self._initialise()

    def draw_dropout_from(self, generator: torch.Generator) -> None:
        """Have all dropout draw from this random stream, which is of the model's device."""
        for module in self.modules():
            if isinstance(module, Dropout):
                module.generators = (generator,)

    def _initialise(self) -> None:
        """Draw the matrices and set the biases to 0; norms begin as torch has them, 1 and 0."""
        # GPT-2 scales the projections into the residual stream by the root of their number, so
        # that its variance doesn't grow with depth.
        into_residual = INIT_STD / math.sqrt(2 * self.config.n_layers)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                scaled = name.endswith(("attention.out.weight", "contract.weight"))
                std = into_residual if scaled else INIT_STD
                std = mup.init_std(std, name, parameter, self.width_ratio)
                nn.init.normal_(parameter, std=std)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor) -> Tensor:
        """The head's input for tokens (B, T), T ≤ seq_len: hidden states (B, T, D) after the final
        norm, under muP divided by `width_ratio`."""
        return self._hidden_and_head(tokens)[0]

    def _hidden_and_head(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and the head's matrix (V, D) as `embed` has it."""
        embedded, head = self.embed(tokens, sparse=self.config.tie_head)
        positions = self.position_embedding.weight[: tokens.shape[1]]  # (T, D)
        x = self.dropout(embedded + positions)
        for block in self.blocks:
            x = block(x)
        return self.for_head(self.norm(x)), head

    def embed(self, tokens: Tensor, *, sparse: bool = False) -> tuple[Tensor, Tensor]:
        """The embeddings of tokens (B, T), (B, T, D), and the head's matrix (V, D) for the loss of
        the same tokens: on a GPU the embedding's gradient is added to the one that it gets there.

        With `sparse` the embedding's gradient on a CPU is sparse: a tied head's is dense, and its
        few rows are added to that in place, where a dense one would be another matrix of V x D to
        fill and add.
        """
        weight = self.token_embedding.weight
        if not embedding.is_needed(tokens):
            return F.embedding(tokens, weight, sparse=sparse), self.head.weight
        rows, handed_on = embedding.look_up(tokens, weight)
        return rows, handed_on if self.config.tie_head else self.head.weight

    def for_head(self, x: Tensor) -> Tensor:
        """The final norm's output, of any shape, times muP's multiplier of the head."""
        return x if self.width_ratio == 1 else x / self.width_ratio

    def logits(self, tokens: Tensor) -> Tensor:
        """All logits (B, T, V): for sampling and comparisons. Training uses `loss`."""
        return self.head(self.forward(tokens))

    def loss(self, tokens: Tensor, targets: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """The mean cross-entropy a token in nats, a scalar, of tokens and targets (B, T) int64.

        `dtype` is the type of the matrix products: bf16 or fp16 run the blocks under autocast.
        """
        with torch.autocast(tokens.device.type, dtype=dtype, enabled=dtype.itemsize < 4):
            hidden, head = self._hidden_and_head(tokens)
        rows = hidden.flatten(0, 1)  # (B·T, D)
        return linear_cross_entropy(rows, head, targets.flatten(), dtype=dtype)

    def token_losses(self, tokens: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """`loss` in fp32, to the bit, and each token's cross-entropy in nats, (B, T); without
        gradients."""
        rows = self.forward(tokens).flatten(0, 1)  # (B·T, D)
        mean, losses = row_cross_entropies(rows, self.head.weight, targets.flatten())
        return mean, losses.view_as(targets)

"""How large a model is and what it computes, counted from its shape. No torch here.

Shapes: D width, T context length, V vocabulary.
"""

from __future__ import annotations

from minigpt_search.model.config import ModelConfig


def parameter_table(config: ModelConfig) -> list[tuple[str, str, int]]:
    """The model's parts as rows (component, specification, parameters), whose counts add up to the
    model's."""
    d, t, v = config.embed_dim, config.seq_len, config.vocab_size
    # A linear layer has a bias for each output, a norm a weight and a bias for each element; the
    # head alone has no bias.
    attention = (3 * d * d + 3 * d) + (d * d + d)  # queries, keys and values; output
    feed_forward = (4 * d * d + 4 * d) + (4 * d * d + d)
    norms = 2 * 2 * d
    n = config.n_layers
    head = "shared with the token embedding" if config.tie_head else f"{d} × {v:,}"
    return [
        ("Token embedding", f"{v:,} × {d}", v * d),
        ("Position embedding", f"{t} × {d}", t * d),
        (
            "Attention",
            f"{n} × ({config.n_heads} heads, {d // config.n_heads} dimensions each)",
            n * attention,
        ),
        ("Feed-forward", f"{n} × ({d} → {4 * d} → {d}, GELU)", n * feed_forward),
        ("Block norms", f"{n} × 2 × LayerNorm({d})", n * norms),
        ("Final norm", f"LayerNorm({d})", 2 * d),
        ("Output head", head, 0 if config.tie_head else v * d),
    ]


def parameter_count(config: ModelConfig) -> int:
    """The number of trainable parameters, a tied head's once; 6,837,888 by default."""
    return sum(count for _, _, count in parameter_table(config))


def flops_per_token(config: ModelConfig) -> int:
    """Floating-point operations of one token's forward and backward pass.

    They are 6 for each weight in a matrix product, and 12·layers·T·D for attention's products of
    full (unmasked) width. Sources: Kaplan et al. 2020 (arXiv 2001.08361), section 2.1; Chowdhery et
    al. 2022 (arXiv 2204.02311), appendix B.
    """
    d = config.embed_dim
    weights = config.n_layers * 12 * d * d + config.vocab_size * d  # blocks and head
    return 6 * weights + 12 * config.n_layers * config.seq_len * d

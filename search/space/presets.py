"""The two presets: `full`, the recipe, and `quick`, its model on a laptop's budget."""

from __future__ import annotations

import argparse

from minigpt_search.model.config import RunConfig, TrainConfig

FULL = RunConfig()
"""The recipe's baseline: the whole corpus, 3 epochs, batches of 32 sequences."""
QUICK = FULL.replace(
    epochs=1,
    # Few tokens are better fresh and in small batches. At 2e-3 (2026-11-22, fp32): 150,000 tokens
    # of four of the built-in sources came to 7.35 nats in batches of 4 and to 7.45 in batches of 8;
    # 40,000 tokens of the whole corpus came to 7.67 when seen once and to 7.71 after three times.
    batch_size=4,
    tokens_per_epoch=110_000,
    val_tokens=16_384,
    warmup_steps=None,
    warmup_fraction=0.1,
)
"""Sized so that the four learning rates and the corpus take less than 8 minutes on two cores."""
PRESETS = {"quick": QUICK, "full": FULL}


def default_preset(device: str) -> tuple[str, str]:
    """The preset for a device, and why."""
    if device == "cuda":
        return "full", "there is a GPU (another with --preset)"
    return "quick", "there is no GPU (another with --preset)"


RECIPE_FIELDS = ("schedule", "decay_fraction", "parametrization", "tokens_per_epoch", "val_tokens")
"""Those with a flag of their own."""


def with_recipe(args: argparse.Namespace, base: RunConfig) -> RunConfig:
    """`base` with what these flags give. Raises `UserError`."""
    given = {name: getattr(args, name) for name in RECIPE_FIELDS}
    return base.replace(**{name: value for name, value in given.items() if value is not None})


def recipe_words(recipe: TrainConfig, preset: TrainConfig) -> str:
    """The flags that make the fields of `preset` those of `recipe`, each after a space."""
    return "".join(
        f" --{name.replace('_', '-')} {value}"
        for name in RECIPE_FIELDS
        if (value := getattr(recipe, name)) != getattr(preset, name)
        and (name != "decay_fraction" or recipe.schedule == "wsd")
    )

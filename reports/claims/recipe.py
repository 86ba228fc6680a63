"""Whether an experiment has the recipe and size: only then its absolute numbers can be
compared. Its text nobody has: Wikipedia and OpenWebText in a choice of its own, so every number of
an experiment is one on other text."""

from __future__ import annotations

import dataclasses
from typing import Any

from minigpt_search.data.common.formatting import one_line
from minigpt_search.model.config import ModelConfig, RunConfig, TrainConfig
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.results.configurations import without_seed
from minigpt_search.search.space.objective import counted_length
from minigpt_search.search.space.presets import PRESETS

CLAIMED_TOKENS = 10_000_249
"""Training tokens of the recipe."""
TOLERANCE = 0.1
"""Share of a claimed number within which it holds, and of the claimed tokens within which a corpus
is as large: the recipe gives no interval of its own."""
TOKENIZER = "gpt2"
WARM_UP = ("warmup_steps", "warmup_fraction")
"""Of these a recipe has one."""


def training_tokens(experiment: Experiment) -> int:
    """Training tokens of the experiment's corpus."""
    return int(experiment.corpus.manifest["splits"]["train"]["tokens"])


def scored_tokens(experiment: Experiment) -> int:
    """Tokens of the validation split that its trials are scored on, at most."""
    asked = experiment.space.base.train.val_tokens
    split = int(experiment.corpus.manifest["splits"]["val"]["tokens"])
    return split if asked is None else min(asked, split)


def recipe_differences(experiment: Experiment) -> list[str]:
    """Where the baseline differs from the recipe, whatever the corpus' size."""
    baseline = without_seed(experiment.space.base)
    usual = PRESETS["full"].replace(precision=baseline.train.precision)
    found = settings_apart(baseline, usual)
    tokenizer = experiment.corpus.tokenizer
    if tokenizer != TOKENIZER:  # a loss a token of another is another quantity
        found.append(f"tokens of {one_line(tokenizer)} instead of {TOKENIZER}")
    return found


def settings_apart(mine: RunConfig, theirs: RunConfig) -> list[str]:
    """`batch_size 8 instead of 32`: what one configuration has otherwise than the other. A warm-up
    is one setting, in steps or as a share of them."""
    found = []
    for one, other in ((mine.model, theirs.model), (mine.train, theirs.train)):
        before, after = _settings(one), _settings(other)
        for name in (name for name in before if before[name] != after.get(name)):
            theirs_by = name if name in after else next(each for each in WARM_UP if each in after)
            again = "" if theirs_by == name else f"{theirs_by} "
            found.append(
                f"{name} {_shown(before[name])} instead of {again}{_shown(after[theirs_by])}"
            )
    return found


def _settings(section: ModelConfig | TrainConfig) -> dict[str, Any]:
    """The fields of a part of a configuration, without the one that gives no warm-up."""
    found = {field.name: getattr(section, field.name) for field in dataclasses.fields(section)}
    return {k: value for k, value in found.items() if k not in WARM_UP or value is not None}


def differences(experiment: Experiment) -> list[str]:
    """Where the baseline differs from the recipe on 10 million tokens."""
    tokens = training_tokens(experiment)
    found = recipe_differences(experiment)
    if not is_about(tokens, CLAIMED_TOKENS):
        found.append(f"a corpus of {tokens:,} training tokens")
    return found


def is_about(number: float, claimed: float) -> bool:
    """Whether a number without noise is within 10% of what was claimed."""
    low, high = about(claimed)
    return low <= number <= high


def about(claimed: float) -> tuple[float, float]:
    """From where to where a number is what was claimed."""
    return claimed * (1 - TOLERANCE), claimed * (1 + TOLERANCE)


def scope(experiment: Experiment) -> str:
    """`builtin, 109,952 tokens an epoch`: which text, and how much of it."""
    tokens = counted_length(experiment.space.base, experiment.corpus.manifest).tokens_per_epoch
    return f"{corpus_name(experiment)}, {tokens:,} tokens an epoch"


def corpus_name(experiment: Experiment) -> str:
    """The name of the experiment's corpus."""
    return one_line(str(experiment.corpus.manifest["name"]))


def _shown(value: object) -> str:
    if value is None:
        return "unset"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

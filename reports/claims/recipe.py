"""Whether an experiment has the assignment's recipe and size: only then its absolute numbers can be
compared. Its text nobody has: Wikipedia and OpenWebText in a choice of its own, so every number of
an experiment is one on other text."""

from __future__ import annotations

import dataclasses

from minigpt_search.data.common.formatting import one_line
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.results.configurations import without_seed
from minigpt_search.search.space.objective import counted_length
from minigpt_search.search.space.presets import PRESETS

CLAIMED_TOKENS = 10_000_249
"""Training tokens of the assignment."""
TOLERANCE = 0.1
"""Share of a claimed number within which it holds, and of the claimed tokens within which a corpus
is as large: the assignment gives no interval of its own."""
TOKENIZER = "gpt2"


def training_tokens(experiment: Experiment) -> int:
    """Training tokens of the experiment's corpus."""
    return int(experiment.corpus.manifest["splits"]["train"]["tokens"])


def scored_tokens(experiment: Experiment) -> int:
    """Tokens of the validation split that its trials are scored on, at most."""
    asked = experiment.space.base.train.val_tokens
    split = int(experiment.corpus.manifest["splits"]["val"]["tokens"])
    return split if asked is None else min(asked, split)


def recipe_differences(experiment: Experiment) -> list[str]:
    """Where the baseline differs from the assignment's recipe, whatever the corpus' size."""
    baseline = without_seed(experiment.space.base)
    usual = PRESETS["full"].replace(precision=baseline.train.precision)
    found = [
        f"{field.name} {_shown(getattr(mine, field.name))} instead of "
        f"{_shown(getattr(theirs, field.name))}"
        for mine, theirs in ((baseline.model, usual.model), (baseline.train, usual.train))
        for field in dataclasses.fields(mine)
        if getattr(mine, field.name) != getattr(theirs, field.name)
    ]
    tokenizer = experiment.corpus.tokenizer
    if tokenizer != TOKENIZER:  # a loss a token of another is another quantity
        found.append(f"tokens of {one_line(tokenizer)} instead of {TOKENIZER}")
    return found


def differences(experiment: Experiment) -> list[str]:
    """Where the baseline differs from the assignment's recipe on 10 million tokens."""
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
    return "unset" if value is None else f"{value:,}" if isinstance(value, int) else str(value)

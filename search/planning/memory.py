"""Which trial of a plan takes most of a GPU's memory, to measure that one.

Sources: activations as in Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1), in 16 bits.
Shapes: B sequences, T tokens, D width, H heads, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable

from minigpt_search.model.config import RunConfig
from minigpt_search.model.loss.gpu import CHUNK
from minigpt_search.model.model_size import parameter_count
from minigpt_search.model.network.gpt import SHORT_CONTEXT
from minigpt_search.search.planning.checks import BYTES_PER_PARAMETER, DRAWN
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.space.axes import apply_axes
from minigpt_search.search.trials.feasible import allowed, corners, drawn, with_range_ends
from minigpt_search.search.trials.trial import grid_trials


def reckoned_bytes(config: RunConfig) -> int:
    """About what training takes: good enough to put the trials of one plan in order, no more."""
    model, tokens = config.model, config.train.batch_size * config.model.seq_len  # B·T
    masked = model.dropout > 0  # then masks are kept, and what attention's weights are behind one
    of_token = (34 if masked else 32) * model.embed_dim
    if masked or model.seq_len <= SHORT_CONTEXT:  # attention's weights are kept
        of_token += (5 if masked else 2) * model.n_heads * model.seq_len
    logits = 2 * min(tokens, CHUNK) * model.vocab_size
    state = BYTES_PER_PARAMETER * parameter_count(model)
    return state + tokens * model.n_layers * of_token + logits


def takes_most_memory(configs: Iterable[RunConfig]) -> RunConfig:
    """The one of these that takes most; of those alike the longest, which may be compiled."""
    return max(
        configs,
        key=lambda c: (reckoned_bytes(c), c.train.epochs, c.train.tokens_per_epoch or 0),
    )


def possible_configs(experiment: Experiment) -> list[RunConfig]:
    """A grid's configurations; for a sampler the largest that it may suggest, and some others,
    since `--max-cost` may leave those out."""
    if experiment.plan.sampler is None:
        return [trial.config for trial in grid_trials(experiment)]
    largest = filter(allowed(experiment), with_range_ends(experiment, 1.0))
    values = [*largest, *corners(experiment), *drawn(experiment, DRAWN)]
    return [apply_axes(experiment.space.base, one) for one in values]

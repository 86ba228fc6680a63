"""How long a trial is, in steps, tokens and floating-point operations."""

from __future__ import annotations

import functools
from collections.abc import Callable

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import is_cuda
from minigpt_search.model.model_size import flops_per_token
from minigpt_search.model.network.compile_rule import is_compiled
from minigpt_search.model.run_length import RunLength, check_validation, run_length
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.space.objective import train_sequences
from minigpt_search.search.trials.trial import Trial


def steps_flops(config: RunConfig, steps: int) -> float:
    """Floating-point operations of `steps` full training steps."""
    tokens = steps * config.train.batch_size * config.model.seq_len
    return float(tokens * flops_per_token(config.model))


def length_in(corpus: Corpus | None) -> Callable[[Trial], RunLength]:
    """How long a trial is on this corpus; without one, on the built-in corpus' usual size.

    The function returned raises `UserError` if the corpus is too small for a trial or its warm-up
    too long.
    """

    @functools.cache
    def sequences(seq_len: int) -> int:
        if corpus is None:
            return train_sequences({}, seq_len)
        check_validation(len(corpus.dataset("val", seq_len)), seq_len)
        return len(corpus.dataset("train", seq_len))

    return lambda trial: run_length(trial.config, sequences(trial.config.model.seq_len))


def is_compiled_in(experiment: Experiment, config: RunConfig) -> bool:
    """Whether a trial of `config` has its blocks compiled, where Triton runs."""
    if not is_cuda(experiment.machine.device):  # without going through the corpus' files
        return False
    sequences = train_sequences(experiment.corpus.manifest, config.model.seq_len)
    steps = RunLength.of(config, sequences).total_steps
    return is_compiled(steps, experiment.machine.device, packed=experiment.machine.pack > 1)

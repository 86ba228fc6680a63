"""What a search will cost here, from a few measured training steps, said before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from model.batches import RunLength
from model.config import RunConfig, flops_per_token
from model.device import TORCH_TYPES
from model.gpt import GPT
from model.optim import make_optimizer
from reports.columns import duration
from search.axes import AXES
from search.experiment import Experiment
from search.plan import Trial, steps_flops, trial_tokens
from search.presets import PRESETS

MEASURED_SECONDS = 1.5
BUILTIN_TOKENS = 10_000_000
"""Training tokens of the built-in corpus, for a plan made before it is prepared."""
LONG_WARMUP = 0.2
"""A warm-up of more than this share of a run gets a warning."""


def measure_flops_per_second(config: RunConfig, device: str, threads: int) -> float:
    """Floating-point operations a second of training one trial of this shape, alone, on random
    tokens. Takes about three seconds; leaves torch with `threads` threads."""
    torch.set_num_threads(threads)
    model = GPT(config.model).to(device).train()
    optimizer = make_optimizer(model, config.train)
    shape = (config.train.batch_size, config.model.seq_len)
    tokens = torch.randint(config.model.vocab_size, shape, device=device)

    def step() -> None:
        loss = model.loss(tokens, tokens, TORCH_TYPES[config.train.precision])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.train.grad_clip_norm)
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    step()
    step()
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < MEASURED_SECONDS:
        step()
        steps += 1
    seconds = time.perf_counter() - started
    return steps * tokens.numel() * flops_per_token(config.model) / seconds


def plan_lines(
    experiment: Experiment, trials: list[Trial], length: Callable[[Trial], RunLength]
) -> list[str]:
    """What will be trained, on what machine, and how long it will take, a line each.

    A sampler's `trials` are a sample of its space; the plan is scaled from them.
    """
    machine, parallel = experiment.hardware, experiment.max_concurrent
    scale = experiment.planned_trials / len(trials)
    tokens = scale * sum(trial_tokens(t.config, length(t)) for t in trials)
    flops = scale * sum(steps_flops(t.config, length(t).total_steps) for t in trials)
    threads = experiment.threads_per_trial
    rate = parallel * measure_flops_per_second(experiment.base, experiment.device, threads)
    cost = f"Cost       about {duration(flops / rate)} here"
    if experiment.preset != "seed":
        cost += f"; with --preset seed about {duration(scale * _seed_flops(trials) / rate)}"
    sampler = f" by {experiment.sampler}" if experiment.sampler else ""
    lines = [
        f"Search     {_axes_text(experiment)}: {experiment.planned_trials} trials{sampler}, "
        f"{tokens:,.0f} training tokens, {flops:.2g} FLOP",
        f"Machine    {', '.join(machine['gpus']) or machine['processor']}: {parallel} at a time, "
        f"{threads} thread{'s' * (threads > 1)} each, {experiment.base.train.precision}",
        cost,
        f"Experiment {experiment.name}",
    ]
    for trial in trials if experiment.sampler is None else []:
        run = length(trial)
        if run.warmup_steps > LONG_WARMUP * run.total_steps:
            lines.append(
                f"Warning    {trial.label}: its warm-up is {run.warmup_steps} of "
                f"{run.total_steps} steps, more than {LONG_WARMUP:.0%}"
            )
    return lines


def _axes_text(experiment: Experiment) -> str:
    texts = []
    for name, values in experiment.axes.items():
        shown = [AXES[name].show(value) for value in values]
        texts.append(
            f"{name} in {'..'.join(shown)}"
            if experiment.sampler
            else f"{name} = {', '.join(shown)}"
        )
    return "; ".join(texts) or "one configuration"


def _seed_flops(trials: list[Trial]) -> float:
    """Floating-point operations of the same trials under the `seed` preset, whose epoch is the
    built-in corpus."""
    total = 0.0
    for trial in trials:
        config = PRESETS["seed"].replace(
            **{AXES[name].field: value for name, value in trial.values.items()}
        )
        total += float(config.train.epochs * BUILTIN_TOKENS * flops_per_token(config.model))
    return total

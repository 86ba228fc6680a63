"""What a search will cost here, from a few measured training steps, said before it starts."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable

import torch

from data.corpus import Corpus
from model.batches import RunLength
from model.config import RunConfig, flops_per_token
from model.gpt import GPT
from model.packed_step import PackedStep
from model.step import Step
from reports.columns import duration
from search.axes import AXES, apply_axes
from search.axis import CHOICES
from search.disk import disk_line
from search.experiment import Experiment
from search.limits import left_out_lines
from search.objective import BUILTIN_TOKENS
from search.plan import Trial, steps_flops, trial_tokens
from search.presets import PRESETS

MEASURED_SECONDS = 1.0
LONG_WARMUP = 0.2
"""A warm-up of more than this share of a run gets a warning."""


def measure_tokens_per_second(
    config: RunConfig, device: str, threads: int, pack: int = 1, seconds: float = MEASURED_SECONDS
) -> float:
    """Training tokens a second of `pack` trials of this shape in one process, all of them
    together, on random tokens. Leaves torch with `threads` threads."""
    torch.set_num_threads(threads)
    members = [
        Step(GPT(config.model).to(device).train(), config.train, device) for _ in range(pack)
    ]
    shape = (config.train.batch_size, config.model.seq_len)
    tokens, lr = torch.randint(config.model.vocab_size, shape), config.train.lr_peak
    packed = PackedStep(members) if pack > 1 else None

    def take(steps: int) -> None:
        for _ in range(steps):
            if packed is None:
                members[0](tokens, tokens, lr)
            else:
                packed([tokens] * pack, [tokens] * pack, [lr] * pack)
        members[-1].sums.read()  # waits for the device

    take(3)
    started, steps, at_once = time.perf_counter(), 0, 1
    while time.perf_counter() - started < seconds:
        take(at_once)
        steps += at_once
        at_once = min(2 * at_once, 32)  # as in training, a GPU must not be waited for at each step
    return steps * pack * tokens.numel() / (time.perf_counter() - started)


def plan_lines(
    experiment: Experiment,
    trials: list[Trial],
    corpus: Corpus | None,
    length: Callable[[Trial], RunLength],
) -> list[str]:
    """What will be trained, on what machine, and how long it will take, a line each.

    A sampler's `trials` are a sample of its space; the plan is scaled from them.
    """
    machine, parallel = experiment.hardware, experiment.max_concurrent
    scale, threads = experiment.planned_trials / len(trials), experiment.threads_per_trial
    tokens = scale * sum(trial_tokens(t.config, length(t)) for t in trials)
    # Trials that share a GPU may take turns there: counted as if they did.
    at_once = min(parallel, len(machine["gpus"])) if experiment.device == "cuda" else parallel
    flops = [steps_flops(t.config, length(t).total_steps) for t in trials]
    seconds = _seconds_per_flop(experiment, trials)
    here = scale / at_once * sum(map(operator.mul, flops, map(seconds, trials)))
    cost = f"Cost       about {duration(here)} here"
    if experiment.preset != "seed":
        in_split = corpus.manifest.splits["train"].tokens if corpus else BUILTIN_TOKENS
        seed_flops = [_seed_flops(experiment, trial, in_split) for trial in trials]
        there = scale / at_once * sum(map(operator.mul, seed_flops, map(seconds, trials)))
        cost += f"; with --preset seed about {duration(there)}"
    sampler = f" by {experiment.sampler}" if experiment.sampler else ""
    goal = "" if len(experiment.objectives) == 1 else f"; {' against '.join(experiment.objectives)}"
    goal += f"; at most {experiment.max_cost}" if experiment.max_cost else ""
    packs = f" packs of up to {experiment.pack}" if experiment.pack > 1 else ""
    lines = [
        f"Search     {_axes_text(experiment)}: {experiment.planned_trials} trials{sampler}, "
        f"{tokens:,.0f} training tokens, {scale * sum(flops):.2g} FLOP{goal}",
        f"Machine    {', '.join(machine['gpus']) or machine['processor']}: "
        f"{parallel}{packs} at a time, {threads} thread{'s' * (threads > 1)} each, "
        f"{experiment.base.train.precision}",
        cost,
        disk_line(experiment, [trial.config for trial in trials]),
        *left_out_lines(experiment),
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
        ranged = experiment.sampler and experiment.space.kind(name) != CHOICES
        listed = f"in {{{', '.join(shown)}}}" if experiment.sampler else f"= {', '.join(shown)}"
        texts.append(f"{name} in {'..'.join(shown)}" if ranged else f"{name} {listed}")
    return "; ".join(texts) or "one configuration"


def _seconds_per_flop(experiment: Experiment, trials: list[Trial]) -> Callable[[Trial], float]:
    """Seconds of one floating-point operation in a trial's training, measured at the narrowest,
    the middle and the widest of the trials; others take the nearest width's."""
    widths = sorted({t.config.model.embed_dim for t in trials})
    measured = {widths[0], widths[len(widths) // 2], widths[-1]}
    machine = experiment.device, experiment.threads_per_trial, experiment.pack
    rates = {}
    for width in sorted(measured):
        config = next(t.config for t in trials if t.config.model.embed_dim == width)
        tokens_per_second = measure_tokens_per_second(config, *machine)
        rates[width] = tokens_per_second * flops_per_token(config.model)
    return lambda trial: 1 / rates[min(rates, key=lambda w: abs(w - trial.config.model.embed_dim))]


def _seed_flops(experiment: Experiment, trial: Trial, tokens: int) -> float:
    """Floating-point operations of the same trial under the `seed` preset, whose epoch is the
    corpus; what the command line fixed stays fixed."""
    preset = PRESETS[experiment.preset]
    cell = {
        axis.name: axis.value(trial.config)
        for axis in AXES.values()
        if axis.name in trial.values
        or axis.value(experiment.base) not in (None, axis.value(preset))
    }
    config = apply_axes(PRESETS["seed"], cell)
    return float(config.train.epochs * tokens * flops_per_token(config.model))

"""What a search will cost here, said before it starts, and what it did cost."""

from __future__ import annotations

from collections.abc import Sequence

from minigpt_search.data.common.formatting import duration, storage
from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.data.tokenizers.record import GPT2
from minigpt_search.model.run_length import WARMUP_SHARE_LIMIT
from minigpt_search.search.planning.disk import disk_line
from minigpt_search.search.planning.estimate import WORKER_BYTES, Estimator
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.results.confirm import FIRST_ROUND
from minigpt_search.search.space.axes import AXES, CHOICES, apply_axes
from minigpt_search.search.space.objective import BUILTIN_TOKENS
from minigpt_search.search.space.presets import PRESETS
from minigpt_search.search.storage.uri import experiment_uri
from minigpt_search.search.trials.feasible import left_out_lines
from minigpt_search.search.trials.groups import price_line, shared_steps
from minigpt_search.search.trials.length import steps_flops
from minigpt_search.search.trials.trial import Trial

DRIVER_BYTES = 900e6
"""The driver with Ray's own processes (2026-11-24)."""


def plan_lines(
    experiment: Experiment,
    trials: list[Trial],
    corpus: Corpus | None,
    estimator: Estimator,
    seconds: float,
) -> list[str]:
    """What will be trained, on what machine, and how long it will take, a line each.

    A sampler's `trials` are a sample of its space; the plan is scaled from them. `seconds` is
    what all is predicted to take.
    """
    machine, parallel, length = (
        experiment.machine.hardware,
        experiment.machine.max_concurrent,
        estimator.length,
    )
    scale, threads = experiment.planned_trials / len(trials), experiment.machine.threads_per_trial
    shared = shared_steps(experiment, trials, length)
    trained = [1 - shared.get(t.trial_id, 0) / length(t).total_steps for t in trials]
    pairs = list(zip(trials, trained, strict=True))
    tokens = scale * sum(share * length(t).total_tokens for t, share in pairs)
    flops = scale * sum(share * steps_flops(t.config, length(t).total_steps) for t, share in pairs)
    most = (
        "at most " if experiment.plan.stopper in ("asha", "median") else ""
    )  # nobody knows who stops
    cost = f"Cost       {most}about {duration(seconds)} here"
    if experiment.preset != "full" and experiment.space.named_grid is None:
        in_split = corpus.manifest.splits["train"].tokens if corpus else BUILTIN_TOKENS
        there = sum(
            share * _seed_seconds(experiment, trial, in_split, estimator) for trial, share in pairs
        )
        cost += f"; with --preset full about {duration(scale * there / parallel)}"
    sampler = f" by {experiment.plan.sampler}" if experiment.plan.sampler else ""
    goal = (
        ""
        if len(experiment.plan.objectives) == 1
        else f"; {' against '.join(experiment.plan.objectives)}"
    )
    goal += f"; at most {experiment.plan.max_cost}" if experiment.plan.max_cost else ""
    packs = f" packs of up to {experiment.machine.pack}" if experiment.machine.pack > 1 else ""
    lines = [
        f"Search     {_axes_text(experiment)}: {experiment.planned_trials} trials{sampler}, "
        f"{tokens:,.0f} training tokens, {flops:.2g} FLOP{goal}",
        f"Machine    {', '.join(machine['gpus']) or machine['processor']}: "
        f"{parallel}{packs} at a time, {threads} thread{'s' * (threads > 1)} each, "
        f"{experiment.space.base.train.precision}",
        *_tokenizer_line(experiment),
        *price_line(experiment, trials, length),
        cost,
        *_memory_lines(experiment, estimator),
        disk_line(experiment, [trial.config for trial in trials]),
        *left_out_lines(experiment),
        f"Experiment {experiment.name}",
    ]
    if experiment.storage.uri is not None:
        lines.append(f"Storage    {experiment_uri(experiment.storage.uri, experiment.name)}")
    for trial in trials if experiment.plan.sampler is None else []:
        run = length(trial)
        if run.warmup_steps > WARMUP_SHARE_LIMIT * run.total_steps:
            lines.append(
                f"Warning    {trial.label}: its warm-up is {run.warmup_steps} of "
                f"{run.total_steps} steps, more than {WARMUP_SHARE_LIMIT:.0%}"
            )
    return lines


def _tokenizer_line(experiment: Experiment) -> list[str]:
    """How the corpus' text is cut, unless as GPT-2 does."""
    corpus = experiment.corpus
    if not corpus.manifest or corpus.tokenizer_kind == GPT2:
        return []
    return [
        f"Tokenizer  {corpus.tokenizer}: {corpus.vocab_size:,} entries, "
        f"{corpus.bytes_per_token('train'):.2f} bytes a token"
    ]


def _memory_lines(experiment: Experiment, estimator: Estimator) -> list[str]:
    """The peak of the processes measured, and what a worker and the driver add; a warning where
    that is more than there is."""
    each, trials = estimator.speed_of.memory_mb * 1e6, experiment.machine.max_concurrent
    if experiment.machine.device == "cuda":
        return [f"Memory     about {storage(each)} of a GPU for each of {trials} at a time"]
    each += WORKER_BYTES
    total = trials * each + DRIVER_BYTES
    lines = [f"Memory     about {storage(total)} at most, {storage(each)} for each trial at a time"]
    usable = experiment.machine.hardware["memory_gb"] * 1e9
    if total > usable:
        lines.append(
            f"Warning    that is more than the {storage(usable)} that this process may use"
            + ("; --max-concurrent 1 takes the least" if trials > 1 else "")
        )
    return lines


def _axes_text(experiment: Experiment) -> str:
    texts = []
    for name, values in experiment.space.axes.items():
        shown = [AXES[name].show(value) for value in values]
        ranged = experiment.plan.sampler and experiment.space.kind(name) != CHOICES
        listed = (
            f"in {{{', '.join(shown)}}}" if experiment.plan.sampler else f"= {', '.join(shown)}"
        )
        texts.append(f"{name} in {'..'.join(shown)}" if ranged else f"{name} {listed}")
    return "; ".join(texts) or "one configuration"


def _seed_seconds(experiment: Experiment, trial: Trial, tokens: int, estimator: Estimator) -> float:
    """Training time of the same trial under the `full` preset, whose epoch is the corpus of
    `tokens`; what the command line fixed stays fixed."""
    preset, base = PRESETS[experiment.preset], experiment.space.base
    cell = {
        axis.name: axis.value(trial.config)
        for axis in AXES.values()
        if axis.name in trial.values or axis.value(base) not in (None, axis.value(preset))
    }
    full = PRESETS["full"].replace(vocab_size=base.model.vocab_size)
    config = apply_axes(full, cell).replace(precision=base.train.precision)
    if base.train.tokens_per_epoch != preset.train.tokens_per_epoch:
        tokens = min(tokens, base.train.tokens_per_epoch or tokens)
    return config.train.epochs * tokens / estimator.speed_of(config).training


def end_line(experiment: Experiment, used: float) -> str:
    """The predicted time against the real one."""
    text = f"Time       {duration(used)}"
    if experiment.noise.confirm is not None and experiment.plan.predicted_seconds is not None:
        text += f"; {duration(experiment.plan.predicted_seconds)} were predicted without confirming"
    elif experiment.plan.predicted_seconds is not None:
        off = used / experiment.plan.predicted_seconds - 1
        most = "at most " if experiment.plan.stopper in ("asha", "median") else ""
        text += f"; predicted were {most}{duration(experiment.plan.predicted_seconds)} ({off:+.0%})"
    if experiment.plan.budget_seconds is not None:
        text += f"; the budget was {duration(experiment.plan.budget_seconds)}"
    return text


def confirm_line(experiment: Experiment, seconds: Sequence[float]) -> str:
    """The plan's line on `--confirm`: how many trials it may come to, and how long they take where
    those of the search take these `seconds`."""
    assert experiment.noise.confirm is not None
    more = experiment.most_trials - experiment.planned_trials
    most_expensive = sorted(seconds, reverse=True)[: experiment.noise.confirm]
    most = sum(most_expensive) * experiment.noise.confirm_seeds / experiment.machine.max_concurrent
    return (
        f"Confirm    the {more // experiment.noise.confirm_seeds} best get {FIRST_ROUND} to "
        f"{experiment.noise.confirm_seeds} fresh seeds each, until the winner is separated: up to "
        f"{more} more trials and {duration(most)}, not counted above"
    )

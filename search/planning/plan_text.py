"""What a search will cost here, said before it starts, and what it did cost."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from minigpt_search.data.common.formatting import counted, duration, storage
from minigpt_search.data.common.invocation import command_line
from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.data.tokenizers.record import GPT2
from minigpt_search.model.run_length import WARMUP_SHARE_LIMIT, RunLength
from minigpt_search.search.machines.gpu_share import CONTEXT_BYTES
from minigpt_search.search.planning.disk import disk_line
from minigpt_search.search.planning.estimate import WORKER_BYTES, Estimator
from minigpt_search.search.planning.prediction import rounds_seconds
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.results.confirm import FIRST_ROUND, interim_seed_counts
from minigpt_search.search.results.labels import trial_label
from minigpt_search.search.space.axes import AXES, CHOICES
from minigpt_search.search.space.presets import PRESETS
from minigpt_search.search.storage.uri import experiment_uri
from minigpt_search.search.trials.feasible import left_out_lines
from minigpt_search.search.trials.groups import price_line, shared_steps
from minigpt_search.search.trials.length import steps_flops
from minigpt_search.search.trials.trial import Trial

DRIVER_BYTES = 900e6
"""The driver with Ray's own processes (2026-11-24)."""
LEAST_BEFORE_SECONDS = 1.0
"""Before a search that is worth a word at its end."""


def plan_lines(
    experiment: Experiment,
    trials: list[Trial],
    corpus: Corpus | None,
    estimator: Estimator,
    seconds: float,
    full_seconds: float | None = None,
) -> list[str]:
    """What will be trained, on what machine, and how long it will take, a line each.

    A sampler's `trials` are a sample of its space; the plan is scaled from them. `seconds` is
    what all is predicted to take, `full_seconds` what it would with the preset `full`.
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
    cost += " without confirming" if experiment.noise.confirm is not None else ""
    cost += " and the time to prepare the corpus" if corpus is None else ""
    if full_seconds is not None:
        cost += f"; with --preset full about {duration(full_seconds)}"
    sampler = f" by {experiment.plan.sampler}" if experiment.plan.sampler else ""
    goal = (
        ""
        if len(experiment.plan.objectives) == 1
        else f"; {' against '.join(experiment.plan.objectives)}"
    )
    goal += f"; at most {experiment.plan.max_cost}" if experiment.plan.max_cost else ""
    packs = f" packs of up to {experiment.machine.pack}" if experiment.machine.pack > 1 else ""
    planned = counted(experiment.planned_trials, "trial")
    lines = [
        f"Search     {_axes_text(experiment)}: {planned}{sampler}, "
        f"{tokens:,.0f} training tokens, {flops:.2g} FLOP{goal}",
        f"Machine    {', '.join(machine['gpus']) or machine['processor']}: "
        f"{parallel}{packs} at a time, {threads} thread{'s' * (threads > 1)} each, "
        f"{experiment.space.base.train.precision}",
        *_tokenizer_line(experiment),
        *_seeds_line(experiment),
        *price_line(experiment, trials, length),
        cost,
        *_memory_lines(experiment, estimator),
        disk_line(experiment, [trial.config for trial in trials]),
        *left_out_lines(experiment),
        f"Experiment {experiment.name}",
    ]
    if experiment.storage.uri is not None:
        lines.append(f"Storage    {experiment_uri(experiment.storage.uri, experiment.name)}")
    if experiment.plan.sampler is None:
        lines += _warmup_lines(experiment, trials, length)
    asked, there = experiment.space.base.train.val_tokens, estimator.validation_tokens
    usual = PRESETS[experiment.preset].train.val_tokens  # which is at most so many
    if corpus is not None and asked not in (None, usual) and asked > there:
        lines.append(
            f"Warning    --val-tokens {asked:,}: the validation split has {there:,}, which are all "
            "scored"
        )
    return lines


def _warmup_lines(
    experiment: Experiment, trials: Sequence[Trial], length: Callable[[Trial], RunLength]
) -> list[str]:
    """A line for each length whose warm-up takes much of it, with the first of its trials."""
    alike: dict[tuple[int, int], list[Trial]] = {}
    for trial in trials:
        run = length(trial)
        if run.warmup_steps > WARMUP_SHARE_LIMIT * run.total_steps:
            alike.setdefault((run.warmup_steps, run.total_steps), []).append(trial)
    lines = []
    for (warmup, total), found in alike.items():
        label = trial_label(experiment, found[0].config, found[0].replicate)
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        lines.append(
            f"Warning    {label}{more}: a warm-up of {warmup} of {total} steps, more than "
            f"{WARMUP_SHARE_LIMIT:.0%}"
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


def _seeds_line(experiment: Experiment) -> list[str]:
    """What shared seeds give and cost, where there are several configurations to share them."""
    if not experiment.noise.paired or experiment.planned_trials == experiment.noise.seeds:
        return []
    return [
        "Seeds      the same for every configuration (paired): their luck drops out of differences "
        "and stays in all levels"
    ]


def _memory_lines(experiment: Experiment, estimator: Estimator) -> list[str]:
    """The peak of the processes measured, and what a worker and the driver add; a warning where
    that is more than there is."""
    each, trials = estimator.speed_of.memory_mb * 1e6, experiment.machine.max_concurrent
    if experiment.machine.device == "cuda":
        line = f"Memory     about {storage(each)} of a GPU for each of {trials} at a time"
        return [line, *_sharing_warning(experiment, each)]
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


def _sharing_warning(experiment: Experiment, each: float) -> list[str]:
    """Whether trials that share a GPU, of so many bytes each, are more than it holds. Ray lets them
    start, and each is held to its part of the memory, so all of them may fail."""
    use = experiment.machine
    memory, sharing = use.hardware.get("gpu_memory_gb"), 1 / (use.gpus_per_trial or 1)
    if memory is None or sharing <= 1:
        return []
    needed = sharing * (each + CONTEXT_BYTES)
    if needed <= memory * 1e9:
        return []
    return [
        f"Warning    {sharing:.3g} of them on a GPU take about {storage(needed)} with what CUDA "
        f"takes for each, and it has {storage(memory * 1e9)}; give fewer with --trials-per-gpu"
    ]


def _axes_text(experiment: Experiment) -> str:
    if experiment.ladder is not None:  # the rungs have lines of their own
        return "a ladder"
    texts = []
    for name, values in experiment.space.axes.items():
        shown = [AXES[name].show(value) for value in values]
        ranged = experiment.plan.sampler and experiment.space.kind(name) != CHOICES
        listed = (
            f"in {{{', '.join(shown)}}}" if experiment.plan.sampler else f"= {', '.join(shown)}"
        )
        texts.append(f"{name} in {'..'.join(shown)}" if ranged else f"{name} {listed}")
    return "; ".join(texts) or "one configuration"


def watch_lines(experiment: Experiment, folder: Path, page: str | None = None) -> list[str]:
    """How to look on while the search in `folder` runs, by what is installed here. `page` is where
    its live page is, if there is one."""
    root = folder.parents[1]
    commands = [page or command_line("reports/generate.py", experiment.name, "--watch", root=root)]
    if shutil.which("tensorboard") is not None:
        commands.append(shlex.join(["tensorboard", "--logdir", str(folder / "tensorboard")]))
    if shutil.which("optuna-dashboard") is not None:
        study = f"sqlite:///{(folder / 'study.db').absolute()}"
        commands.append(shlex.join(["optuna-dashboard", study]))
    return [f"{'' if n else 'Watch':<10} {command}" for n, command in enumerate(commands)]


def end_line(experiment: Experiment, searched: float, used: float) -> str:
    """The real time against the predicted one.

    Args:
        searched: seconds of what was predicted (`Clock.searched`).
        used: seconds from the commands' starts (`Clock.used`).
    """
    text, predicted = f"Time       {duration(searched)}", experiment.plan.predicted_seconds
    ladder = experiment.ladder
    more = "confirming" if experiment.noise.confirm is not None else ""
    more = "the runs of --verify" if ladder is not None and ladder.verify is not None else more
    if more and predicted is not None:
        text += f" with {more}; {duration(predicted)} were predicted without"
    elif predicted is not None:
        off = searched / predicted - 1
        most = "at most " if experiment.plan.stopper in ("asha", "median") else ""
        text += f"; predicted were {most}{duration(predicted)} ({off:+.0%})"
    if used - searched >= LEAST_BEFORE_SECONDS:
        text += f"; {duration(used - searched)} before it, to start, measure and prepare"
    if experiment.plan.budget_seconds is not None:
        budget = duration(experiment.plan.budget_seconds)
        text += f"; in all {duration(used)}, the budget was {budget}"
    return text


def confirm_line(experiment: Experiment, seconds: Sequence[float]) -> str:
    """The plan's line on `--confirm`: how many trials it may come to, and how long they take where
    those of the search take these `seconds`: the most expensive ones, in every round."""
    assert experiment.noise.confirm is not None
    more = experiment.most_trials - experiment.planned_trials
    most_expensive = sorted(seconds, reverse=True)[: experiment.noise.confirm]
    looks = interim_seed_counts(experiment.noise.confirm_seeds)
    rounds = [most_expensive * (now - before) for before, now in pairwise([0, *looks])]
    most = rounds_seconds(rounds, experiment.machine.max_concurrent)
    return (
        f"Confirm    the {more // experiment.noise.confirm_seeds} best get {FIRST_ROUND} to "
        f"{experiment.noise.confirm_seeds} fresh seeds each, until the winner is separated: up to "
        f"{more} more trials and {duration(most)}, not counted above"
    )

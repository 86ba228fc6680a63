"""A new search, from its options to its folder: checked, measured, planned and said."""

from __future__ import annotations

import argparse
import dataclasses
import time
from contextlib import suppress
from pathlib import Path

from minigpt_search.data.common.errors import UserError, one_line
from minigpt_search.data.common.formatting import duration
from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.search.cli.config_file import CONFIG_FILE, config_text
from minigpt_search.search.cli.make_experiment import (
    corpus_if_prepared,
    make_experiment,
    on_corpus,
    prepare_builtin,
    with_corpus,
    with_preset,
)
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.machines.machines import Machines
from minigpt_search.search.planning.budget import before_it_is_known, within_budget
from minigpt_search.search.planning.calibration import Speed, speeds_of_others, write_cache
from minigpt_search.search.planning.checks import check_trials
from minigpt_search.search.planning.choose_pack import choose_pack
from minigpt_search.search.planning.choose_sharing import choose_trials_per_gpu
from minigpt_search.search.planning.disk import check_limit, check_space
from minigpt_search.search.planning.estimate import Estimator, make_estimator
from minigpt_search.search.planning.ladder_size import check_rungs, fit_ladder
from minigpt_search.search.planning.plan_text import confirm_line, plan_lines
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.reuse.take_over import (
    extension_line,
    finished_trials,
    with_failed_points,
)
from minigpt_search.search.reuse.warm_start import (
    check_that_some_are_left,
    is_mixed,
    load_sources,
    with_known_points,
)
from minigpt_search.search.space.claims_grid import CLAIMS, claims_line
from minigpt_search.search.space.presets import default_preset
from minigpt_search.search.sync.resume_from import prepare_storage
from minigpt_search.search.trials.length import length_in


def begin(
    args: argparse.Namespace, root: Path, started: float, machines: Machines
) -> tuple[Experiment, Path, Corpus] | None:
    """Say what the search will be and make its folder; None for a dry run, which makes nothing.

    Args:
        started: when the command was, in seconds since 1970.
        machines: where its trials will run.
    """
    planned = make_experiment(args, machines.device(args.device), machines)
    if planned.storage.uri is not None and not args.dry_run:
        prepare_storage(planned.storage.uri, root, planned.name, args.corpus)
        machines.check_storage(planned.storage.uri)
    corpus = corpus_if_prepared(root, args.corpus)
    experiment = on_corpus(planned, corpus)
    folder = root / "experiments" / experiment.name
    if folder.exists():
        raise UserError(f"--name {experiment.name}: exists; --resume it, or take another name")
    _check(args, experiment, corpus, root)  # before anything is said, measured or made
    head = _head(args, experiment, corpus, root)
    if experiment.plan.budget_seconds is None:  # which may be refused once there are speeds
        print("\n".join(head), flush=True)
        head = []
    experiment = _shared(args, experiment, corpus, machines)
    if corpus is None and experiment.plan.budget_seconds is not None and not args.dry_run:
        corpus = _prepare(root)  # what that takes is a part of the budget
        experiment = on_corpus(experiment, corpus)
    experiment, lines, measured = _plan(args, experiment, corpus, root, started, machines)
    print("\n".join([*head, *lines]), flush=True)
    if args.dry_run:
        print("Dry run: nothing was downloaded or trained.")
        return None
    if corpus is None:
        corpus = _prepare(root)
        experiment = with_corpus(experiment, corpus)
    experiment = with_failed_points(root, with_known_points(root, experiment))
    experiment = experiment.replace(mixed=is_mixed(root, experiment))
    check_trials(experiment, length_in(corpus))
    repeat = config_text(args, experiment, root)
    experiment.write(folder, {CONFIG_FILE: repeat})
    write_cache(root, measured)  # ROOT may not have been there when they were measured
    return experiment, folder, corpus


def _prepare(root: Path) -> Corpus:
    """The built-in corpus, with what it took said: nobody can tell before what a download takes."""
    began = time.time()
    corpus = prepare_builtin(root)
    print(
        f"Corpus     prepared in {duration(time.time() - began)}, not a part of the cost",
        flush=True,
    )
    return corpus


def _check(
    args: argparse.Namespace, experiment: Experiment, corpus: Corpus | None, root: Path
) -> None:
    """Raise `UserError` for what can't run or finds no room."""
    pack = 1 if args.pack == "auto" else choose_pack(args.pack, experiment)[0]
    packed = before_it_is_known(experiment.replace(pack=pack))
    trials = check_trials(packed, length_in(corpus))
    check_rungs(experiment, trials, length_in(corpus))
    check_limit(packed)
    if corpus is not None:
        check_that_some_are_left(root, experiment)
    if not args.dry_run and experiment.storage.uri is None:
        check_space(packed, [trial.config for trial in trials], root)


def _head(
    args: argparse.Namespace, experiment: Experiment, corpus: Corpus | None, root: Path
) -> list[str]:
    """The preset and why, and what is taken from other experiments; first of all GPUs that can't
    be used, unless none are wanted."""
    lines = [f"Preset     {experiment.preset}: {_why_preset(args, experiment)}"]
    if args.device is None and (unused := experiment.machine.hardware.get("unused_gpus")):
        lines.insert(0, f"Warning    {one_line(unused)}")
    if experiment.reuse.extends is not None and corpus is not None:
        lines.append(extension_line(root, experiment))
    if experiment.reuse.warm_starts and corpus is not None:
        lines += [found.line for found in load_sources(root, experiment)]
    if experiment.space.named_grid == CLAIMS:
        lines.append(claims_line(experiment.space.base, experiment.preset))
    return lines


def _why_preset(args: argparse.Namespace, experiment: Experiment) -> str:
    """Whoever extends another experiment has its preset, unless they ask for one."""
    if experiment.ladder is not None and args.target is None:
        return "the target of a ladder (another with --target)"
    extended = experiment.reuse.extends
    if extended is not None and make_parser().parse_args(args.words).preset is None:
        return f"as in {extended}"
    return "as asked" if args.preset else default_preset(experiment.machine.device)[1]


def _shared(
    args: argparse.Namespace, experiment: Experiment, corpus: Corpus | None, machines: Machines
) -> Experiment:
    """With as many trials to a GPU and to a pack as were asked for, or as measured there pay."""
    if args.trials_per_gpu == "auto":
        chosen, why = machines.call(choose_trials_per_gpu, experiment)
        print(f"Sharing    {why}", flush=True)
        args.trials_per_gpu = str(chosen)
        again = on_corpus(make_experiment(args, experiment.machine.device, machines), corpus)
        experiment = dataclasses.replace(again, name=experiment.name)
    if args.pack == "auto":
        pack, reason = machines.call(choose_pack, args.pack, experiment)
    else:
        pack, reason = choose_pack(args.pack, experiment)
    if reason:
        print(f"Packing    {reason}", flush=True)
    return experiment.replace(pack=pack)


def _plan(
    args: argparse.Namespace,
    experiment: Experiment,
    corpus: Corpus | None,
    root: Path,
    started: float,
    machines: Machines,
) -> tuple[Experiment, list[str], dict[str, Speed]]:
    """The experiment as it fits into its budget, with what it will take; the lines that say so; and
    the speeds measured for it."""
    length = length_in(corpus)
    trials = check_trials(experiment, length)
    estimator = make_estimator(experiment, trials, corpus, length, root, machines)
    used = time.time() - started
    if experiment.ladder is not None:
        experiment, trials, lines = fit_ladder(experiment, estimator, used, args.seeds)
        expected = experiment
    else:
        experiment, expected, trials, lines = within_budget(experiment, trials, estimator, used)
    check_limit(expected)
    taken = _taken_over(experiment, corpus, root)
    seconds = estimator.search(expected, trials, taken)
    full = _full_seconds(args, expected, corpus, root, estimator)
    lines += plan_lines(expected, trials, corpus, estimator, seconds, full)
    if experiment.noise.confirm is not None:
        lines.append(confirm_line(experiment, [estimator.seconds(trial) for trial in trials]))
    planned = experiment.replace(predicted_seconds=seconds)
    return planned, lines, estimator.speed_of.new


def _full_seconds(
    args: argparse.Namespace,
    experiment: Experiment,
    corpus: Corpus | None,
    root: Path,
    estimator: Estimator,
) -> float | None:
    """What the same command takes with `--preset full`, as its own plan would say it with the
    speeds known by now; None where that is no other or impossible, or is made to fit a budget."""
    is_other = experiment.preset != "full" and experiment.space.named_grid is None
    if not is_other or experiment.plan.budget_seconds is not None:
        return None
    with suppress(UserError):
        full = on_corpus(with_preset(args, experiment, "full"), corpus)
        trials = check_trials(full, estimator.length)
        speed_of = speeds_of_others(full, [t.config for t in trials], root, estimator.speed_of)
        there = Estimator(full, speed_of, estimator.validation_tokens, estimator.length)
        return there.search(full, trials, _taken_over(full, corpus, root))
    return None


def _taken_over(experiment: Experiment, corpus: Corpus | None, root: Path) -> set[RunConfig]:
    """Configurations that other experiments have trained."""
    if corpus is None:
        return set()
    experiment = with_corpus(experiment, corpus)
    taken = {record.config for found in load_sources(root, experiment) for record in found.taken}
    if experiment.reuse.extends is not None:
        taken |= {record.config for record in finished_trials(root, experiment)}
    return taken

"""The main job: search a small GPT's hyperparameters and say which are best.

python search/run.py --grid lr                                  # quick on a CPU, full on a GPU
python search/run.py --grid lr --preset quick --device cpu      # a laptop's size anywhere
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a file: import from the checkout, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")

from minigpt_search.data.common.invocation import parse_first
from minigpt_search.search.cli.parser import check_options, make_parser

if __name__ == "__main__":  # --help needs nothing of what is imported below
    parse_first(make_parser().parse_args)

from minigpt_search.data.common.errors import UserError, run_command
from minigpt_search.data.common.formatting import counted
from minigpt_search.data.common.invocation import command_line
from minigpt_search.data.common.paths import artifacts_root, check_writable
from minigpt_search.data.common.screen import LOG, keep_going
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.run_length import RunLength
from minigpt_search.search.answer.ladder_answer import verify_line
from minigpt_search.search.answer.ladder_outcome import keep_predictions, prediction_text
from minigpt_search.search.cli.config_file import with_config
from minigpt_search.search.cli.extend import extended_arguments
from minigpt_search.search.cli.failed_trials import say_what_failed
from minigpt_search.search.cli.live_page import live_page
from minigpt_search.search.cli.make_experiment import corpus_if_prepared
from minigpt_search.search.cli.plan_search import begin
from minigpt_search.search.cli.resume_flags import changes_of, keep_changes
from minigpt_search.search.cli.search_flags import check_sampler
from minigpt_search.search.ladder.rounds import ladder_state
from minigpt_search.search.loggers.trial_logs import TrialLogs, installed_loggers
from minigpt_search.search.machines.connect import machines_at
from minigpt_search.search.machines.machines import Machines
from minigpt_search.search.planning.budget import freeze_plan
from minigpt_search.search.planning.checks import check_trials
from minigpt_search.search.planning.counting import count_what_is_missing
from minigpt_search.search.planning.estimate import keep_real_speeds, make_estimator
from minigpt_search.search.planning.plan_text import end_line, watch_lines
from minigpt_search.search.records import live
from minigpt_search.search.records.clock import Clock, process_start
from minigpt_search.search.records.experiment import (
    Experiment,
    find_experiment,
    only_driver,
    read_experiment,
)
from minigpt_search.search.records.ledger import Ledger, open_ledger
from minigpt_search.search.records.provenance import check_resume_compatible
from minigpt_search.search.results.baselines import counting_line
from minigpt_search.search.results.results import Results
from minigpt_search.search.reuse.take_over import take_over
from minigpt_search.search.reuse.warm_start import take_over_warm
from minigpt_search.search.storage.base import StorageError
from minigpt_search.search.sync.mirror import Mirror
from minigpt_search.search.sync.resume_from import mirror_of, place_of, resumed_name
from minigpt_search.search.trials.length import length_in
from minigpt_search.search.trials.trial import Trial, grid_trials


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser()
    words = with_config(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(words)
    root = artifacts_root(args.out)
    if args.extend is not None and args.resume is None:
        args = extended_arguments(parser, root, args.extend, words)
    args.words = tuple(words)
    check_options(args)
    if not args.dry_run:  # of which nothing is left but what it prints
        keep_going()
        check_writable(root)
    if args.resume is not None:
        name = resumed_name(root, args.resume, args.storage)
        return resume(root, name, args)
    started = process_start()
    with machines_at(args.address) as machines:
        begun = begin(args, root, started, machines)
        if begun is None:
            return 0
        experiment, folder, corpus = begun
        with live_page(args.open, experiment, folder) as page:
            return run(experiment, folder, length_in(corpus), started, machines, page=page)


def resume(root: Path, name: str, args: argparse.Namespace) -> int:
    """Finish the experiment called `name`, on this machine or on the cluster at `--address`, with
    what the options change of it."""
    address = args.address
    folder = find_experiment(root, name)
    experiment = read_experiment(folder)
    if address is not None and experiment.storage.uri is None:
        raise UserError(f"--address {address}: {name} has no storage that all nodes reach")
    check_sampler(experiment.plan.sampler, f"--resume {name}")
    corpus = corpus_if_prepared(root, experiment.corpus.name)
    check_resume_compatible(experiment, corpus.content_hash if corpus else None)
    assert corpus is not None
    started = process_start()
    with machines_at(address) as machines:
        changes = changes_of(args, experiment, machines)
        experiment = machines.fit(experiment.replace(**changes))
        if changes:
            check_trials(experiment, length_in(corpus))
        if experiment.storage.uri is not None:
            machines.check_storage(experiment.storage.uri)
        length = length_in(corpus)
        how = args.skip_damaged, changes
        with live_page(args.open, experiment, folder) as page:
            return run(experiment, folder, length, started, machines, *how, page=page)


def run(
    experiment: Experiment,
    folder: Path,
    length: Callable[[Trial], RunLength],
    started: float,
    machines: Machines,
    skip_damaged: bool = False,
    changes: Mapping[str, Any] | None = None,
    *,
    page: str | None = None,
) -> int:
    """Train what is missing, then print the table. 0 if every trial ended well.

    Args:
        started: when the command was, in seconds since 1970.
        changes: what a resume changes of the experiment as its folder has it.
        page: where its live page is, if there is one.
    """
    root = folder.parents[1]
    flags = ["--address", machines.address] if machines.address is not None else []
    flags += ["--skip-damaged"] if skip_damaged else []
    again = command_line("search/run.py", "--resume", place_of(experiment), *flags, root=root)
    with ExitStack() as held:
        held.enter_context(only_driver(folder))
        mirror = held.enter_context(mirror_of(experiment, folder, skip_damaged))
        keep_going(folder / LOG)
        live.forget(folder)
        ledger = open_ledger(folder, skip_damaged)
        has_ended = bool(ledger.trials) and Results(experiment, ledger).missing_trials == 0

        def say_how_to_go_on(reason: str) -> None:
            done = _done(experiment, ledger)
            print(f"\n{reason}; {done} are in the ledger. Go on with: {again}", flush=True)

        machines.when_lost = say_how_to_go_on
        try:
            said = _take_up(experiment, folder, ledger, changes or {})
            mirror.push_plan()
        except KeyboardInterrupt:
            say_how_to_go_on("Interrupted")
            return 1
        if not has_ended:
            print("\n".join(watch_lines(experiment, folder, page)), flush=True)
        clock = Clock(folder, started, counts=not has_ended)
        trained_before = {trial.trial_id for trial in ledger.trials}
        logs = held.enter_context(TrialLogs(installed_loggers(experiment), folder, ledger))
        reason = _search(experiment, folder, ledger, length, clock, mirror, machines, logs)
        if reason is None and _predicted(experiment, ledger):
            reason = _search(experiment, folder, ledger, length, clock, mirror, machines, logs)
        clock.note()
        reason = reason or _keep(mirror)
        if reason is not None:
            say_how_to_go_on(reason)
            return 1
        experiment = freeze_plan(experiment, folder, ledger)
        _count(experiment, folder, ledger, said)
        keep_real_speeds(experiment, ledger, root, trained_before)
        from minigpt_search.search.answer.print_results import print_results  # imports pandas
        from minigpt_search.search.samplers.study_db import write_study  # imports Ray

        print_results(experiment, root, ledger)

        try:
            write_study(experiment, folder, ledger)
        except OSError as error:
            print(f"{error}; every trial is in the ledger. Write it with: {again}")
            return 1
        clock.note()
        if (reason := _keep(mirror)) is not None:
            print(f"{reason}; every trial is in the ledger here. Keep it there with: {again}")
            return 1
        print(end_line(experiment, clock.searched(), clock.used()), flush=True)
    return say_what_failed(experiment, folder, ledger, again)


def _take_up(
    experiment: Experiment, folder: Path, ledger: Ledger, changes: Mapping[str, Any]
) -> str | None:
    """Bring folder and ledger to where the search begins or goes on. Returns what was said of
    texts that are not counted."""
    if ledger.trials:
        print(f"Resuming   {experiment.name}: {_done(experiment, ledger)} are in the ledger")
    if changes:
        keep_changes(changes, folder, ledger)
    if experiment.reuse.extends is not None:
        take_over(experiment, folder, ledger)
    take_over_warm(experiment, folder, ledger)
    said = _count(experiment, folder, ledger)
    _say_what_verifies(experiment, ledger)
    return said


def _say_what_verifies(experiment: Experiment, ledger: Ledger) -> None:
    if (line := verify_line(Results(experiment, ledger))) is not None:
        print(line, flush=True)


def _count(
    experiment: Experiment, folder: Path, ledger: Ledger, said: str | None = None
) -> str | None:
    """Score what counting makes of the trials' text, as far as it is known which that is. Returns
    why some is left out, which is printed unless it was `said` before."""
    if not ledger.trials and experiment.plan.sampler is not None:
        return None  # what lengths it will try is not known
    configs = [trial.config for trial in ledger.complete()]
    if experiment.plan.sampler is None:
        configs = [trial.config for trial in grid_trials(experiment)]
    if experiment.ladder is not None:
        configs.append(experiment.space.base)
    had_some = bool(ledger.baselines)
    left_out = count_what_is_missing(ledger, experiment.corpus_folder(folder), configs)
    if ledger.baselines and not had_some:
        print(counting_line(ledger.baselines), flush=True)
    if left_out not in (None, said):
        print(f"Note       {left_out}", flush=True)
    return left_out


def _search(
    experiment: Experiment,
    folder: Path,
    ledger: Ledger,
    length: Callable[[Trial], RunLength],
    clock: Clock,
    mirror: Mirror,
    machines: Machines,
    logs: TrialLogs,
) -> str | None:
    """Run what is missing. Returns why that ended early, if it did."""
    estimator = None
    if experiment.plan.budget_seconds is not None and experiment.plan.sampler is not None:
        corpus = open_corpus(experiment.corpus_folder(folder))
        drawn = check_trials(experiment, length)
        root = folder.parents[1]
        estimator = make_estimator(experiment, drawn, corpus, length, root, machines)
    try:
        machines.prepare(experiment)
        from minigpt_search.search.driver.tuner import (  # Ray reads the environment at import
            CANNOT_GO_ON,
            Search,
        )
    except KeyboardInterrupt:
        return "Interrupted"
    try:
        rest = estimator, mirror, machines, logs
        Search(experiment, folder, ledger, length, clock, *rest).run()
    except (KeyboardInterrupt, SystemExit):  # the latter by Ray's handler, while Ray starts
        return "Interrupted"
    except CANNOT_GO_ON as error:
        return f"The search can't go on: {str(error).strip().splitlines()[-1]}"
    return None


def _predicted(experiment: Experiment, ledger: Ledger) -> bool:
    """Write down what a ladder predicts, before any run of that length; whether such runs are to
    follow."""
    if experiment.ladder is None or ladder_state(experiment, ledger.trials, ledger.ended()).due:
        return False
    for record in keep_predictions(experiment, ledger):
        print(f"Predicted  {prediction_text(record)}", flush=True)
    _say_what_verifies(experiment, ledger)
    state = ladder_state(experiment, ledger.trials, ledger.ended(), ledger.predictions)
    return bool(state.due)


def _keep(mirror: Mirror) -> str | None:
    """Bring what the driver wrote into the storage; why that can't be, if it can't."""
    try:
        mirror.finish()
    except StorageError as error:
        return f"The storage can't be written to: {error}"
    return None


def _done(experiment: Experiment, ledger: Ledger) -> str:
    of_all = counted(Results(experiment, ledger).trials_so_far, "trial")
    return f"{len(ledger.ended())} of {of_all}"


if __name__ == "__main__":
    run_command(main)

"""The main job: search a small GPT's hyperparameters and say which are best.

python search/run.py --grid lr                                  # quick on a CPU, seed on a GPU
python search/run.py --grid lr --preset quick --device cpu      # a laptop's size anywhere
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":  # run as a file: import from the checkout, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data.errors import UserError, run_command
from data.paths import artifacts_root
from model.batches import RunLength
from reports.tables import as_text, experiments
from search.cost import plan_lines
from search.disk import check_limit
from search.environment import prepare_environment
from search.experiment import (
    Experiment,
    command_line,
    find_experiment,
    only_driver,
    read_experiment,
)
from search.ledger import Ledger
from search.options import check_options, make_parser
from search.packing import choose_pack
from search.plan import Trial
from search.presets import default_preset
from search.sharing import choose_trials_per_gpu
from search.start import (
    check_trials,
    choose_device,
    corpus_if_prepared,
    length_in,
    make_experiment,
    prepare_builtin,
    with_corpus,
)


def main() -> int:
    args = make_parser().parse_args()
    check_options(args)
    root = artifacts_root(args.out)
    if args.resume is not None:
        return resume(root, args.resume)
    device = choose_device(args.device)
    preset, why = (args.preset, "as asked") if args.preset else default_preset(device)
    print(f"Preset     {preset}: {why}", flush=True)
    corpus = corpus_if_prepared(root, args.corpus)
    experiment = make_experiment(args, device)
    if args.trials_per_gpu == "auto":
        chosen, why = choose_trials_per_gpu(experiment)
        print(f"Sharing    {why}", flush=True)
        args.trials_per_gpu = str(chosen)
        experiment = make_experiment(args, device)
    pack, reason = choose_pack(args.pack, experiment)
    if reason:
        print(f"Packing    {reason}", flush=True)
    experiment = dataclasses.replace(experiment, pack=pack)
    folder = root / "experiments" / experiment.name
    if folder.exists():
        raise UserError(f"--name {experiment.name}: exists; --resume it, or take another name")
    trials = check_trials(experiment, length_in(corpus))
    check_limit(experiment)
    print("\n".join(plan_lines(experiment, trials, corpus, length_in(corpus))), flush=True)
    if args.dry_run:
        print("Dry run: nothing was downloaded or trained.")
        return 0
    corpus = corpus or prepare_builtin(root)
    experiment = with_corpus(experiment, corpus)
    check_trials(experiment, length_in(corpus))
    experiment.write(folder)
    return run(experiment, folder, length_in(corpus))


def resume(root: Path, name: str) -> int:
    """Finish the experiment called `name`."""
    folder = find_experiment(root, name)
    experiment = read_experiment(folder)
    choose_device(experiment.device)
    corpus = corpus_if_prepared(root, experiment.corpus["name"])
    if corpus is None or corpus.content_hash != experiment.corpus_hash:
        raise UserError(
            f"--resume {name}: its corpus {experiment.corpus['name']!r} is missing or another one "
            f"by now (content hash {experiment.corpus_hash[:12]} is needed)"
        )
    return run(experiment, folder, length_in(corpus))


def run(experiment: Experiment, folder: Path, length: Callable[[Trial], RunLength]) -> int:
    """Train what is missing, then print the table. 0 if every trial ended well."""
    root = folder.parents[1]
    again = command_line("search/run.py", "--resume", experiment.name, root=root)
    with only_driver(folder):
        ledger = Ledger(folder / "ledger.jsonl")
        if ledger.trials:
            print(f"Resuming   {experiment.name}: {_done(experiment, ledger)} are in the ledger")
        reason = _search(experiment, folder, ledger, length)
        if reason is not None:
            print(f"\n{reason}; {_done(experiment, ledger)} are in the ledger. Go on with: {again}")
            return 1
        print_results(experiment, root, ledger)
        from search.study import write_study  # imports Ray

        write_study(experiment, folder, ledger)
    missing = experiment.planned_trials - len(ledger.ended())
    if missing > 0:
        print(f"{missing} trials failed or are missing; try them again with: {again}")
    return 1 if missing > 0 or len(ledger.complete()) < len(ledger.trials) else 0


def _search(
    experiment: Experiment, folder: Path, ledger: Ledger, length: Callable[[Trial], RunLength]
) -> str | None:
    """Run what is missing. Returns why that ended early, if it did."""
    try:
        prepare_environment(experiment.threads_per_trial)
        from search.tuner import RAY_FAILURES, run_search  # Ray reads the environment at import
    except KeyboardInterrupt:
        return "Interrupted"
    try:
        run_search(experiment, folder, ledger, length)
    except KeyboardInterrupt:
        return "Interrupted"
    except RAY_FAILURES as error:
        return f"Ray gave up ({str(error).strip().splitlines()[-1]})"
    return None


def _done(experiment: Experiment, ledger: Ledger) -> str:
    return f"{len(ledger.ended())} of {experiment.planned_trials} trials"


def print_results(experiment: Experiment, root: Path, ledger: Ledger) -> None:
    """The table, the best, where the ledger is and what to run next."""
    print()
    if ledger.complete():
        print(as_text(experiments(experiment, ledger)))
        print()
    name = experiment.name
    print(f"Ledger     {ledger.path}")
    print(f"Report     {command_line('reports/generate.py', name, root=root)}")
    print(f"Rerun      {command_line('search/rerun.py', name, root=root)}", flush=True)


if __name__ == "__main__":
    run_command(main)
